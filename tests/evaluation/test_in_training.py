"""Scores in the middle of a training run, the best checkpoint by one of them, several processes."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import portpicker
import pytest
import training_toy

from zv_jax.data.records import record as records
from zv_jax.data.sources import prepare
from zv_jax.errors import CheckpointError, ConfigError, DataError
from zv_jax.evaluation import config as config_lib
from zv_jax.evaluation import run as run_lib
from zv_jax.evaluation.in_training import Evaluation, best_checkpoint

METRIC = "eval/vqa/en/exact_match@3"


def test_the_best_saved_step_is_found_by_name(tmp_path):
    for step in (100, 200, 300):
        (tmp_path / "checkpoints" / str(step)).mkdir(parents=True)
    values = {50: 99.0, 100: 40.0, 200: 60.0, 300: 60.0, 400: 70.0}
    lost = {100: None, 200: float("nan"), 300: float("inf")}  # no number is never the best
    rows = [{"kind": "eval", "step": s, "scores": {METRIC: v}} for s, v in values.items()]
    rows += [{"kind": "eval", "step": s, "scores": {"eval/lost": v}} for s, v in lost.items()]
    rows.append({"kind": "save", "step": 300})
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "events.jsonl").write_text(text)
    assert best_checkpoint(tmp_path, METRIC).name == "300"  # 50 and 400 are not saved
    with pytest.raises(CheckpointError, match="no saved step was evaluated by 'eval/lost'"):
        best_checkpoint(tmp_path, "eval/lost")
    with pytest.raises(CheckpointError, match="did you mean 'eval/vqa/en/exact_match@3'"):
        best_checkpoint(tmp_path, "eval/vqa/en/exact_matches@3")


def test_what_cannot_be_evaluated_is_said_before_training(toy):
    config = training_toy.config(toy)

    other = dataclasses.replace(config.eval, tasks=("vqq",))
    with pytest.raises(ConfigError, match="did you mean 'vqa'"):
        Evaluation(dataclasses.replace(config, eval=other))


def with_source(config, **fields):
    """`config` with one more source, its own with other fields."""
    sources = (*config.data.sources, dataclasses.replace(config.data.sources[0], **fields))
    return dataclasses.replace(config, data=dataclasses.replace(config.data, sources=sources))


def with_split(config, split):
    return dataclasses.replace(config, eval=dataclasses.replace(config.eval, split=split))


def test_a_stage_without_tasks_is_refused_before_it_is_trained(toy):
    config = training_toy.config(toy)
    stage = dataclasses.replace(config.stage, name="language")
    config = dataclasses.replace(
        config, stage=stage, eval=dataclasses.replace(config.eval, tasks=())
    )
    with pytest.raises(ConfigError, match="no task fits a checkpoint of stage 'language'") as error:
        Evaluation(config)
    assert error.value.where == "config.eval.tasks"


def test_what_is_learned_is_not_evaluated(toy, tmp_path):
    config = training_toy.config(toy)
    Evaluation(config)
    with pytest.raises(ConfigError, match="all records of split 'train' are learned from") as error:
        Evaluation(with_split(config, "train"))
    assert error.value.where == "eval.split" and str(toy) in error.value.what
    with pytest.raises(ConfigError, match=r"all records .* from sources\[1\] jsonl .* test: "):
        Evaluation(with_source(config, split="test"))
    Evaluation(with_source(config, split="test", weight=0.0))  # nothing of it is drawn


def test_a_source_without_the_evaluated_split_names_the_fields_of_evaluation(toy):
    config = with_split(training_toy.config(toy), "val")
    (source,) = config.data.sources
    for path in (toy, toy / "train.jsonl"):
        one = dataclasses.replace(source, path=str(path))
        data = dataclasses.replace(config.data, sources=(one,))
        with pytest.raises(DataError, match="no record of split 'val'") as caught:
            Evaluation(dataclasses.replace(config, data=data))
        assert "eval.split" in caught.value.fix and "an empty one" not in caught.value.fix


def test_tasks_and_languages_without_records_are_left_out_and_named_ones_refused(
    toy, tmp_path, caplog
):
    """Own data often has one task or one language only."""
    for split in ("train", "test"):
        rows = map(json.loads, (toy / f"{split}.jsonl").read_text("utf-8").splitlines())
        kept = [row for row in rows if row["lang"] == "zh" and row["task"] != "conversation"]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
        (tmp_path / f"{split}.jsonl").write_text(text, "utf-8")
    config = training_toy.config(toy)
    (source,) = config.data.sources
    source = dataclasses.replace(source, path=str(tmp_path), image_root=str(toy))
    data = dataclasses.replace(config.data, sources=(source,))

    def evaluation(**fields):
        own = dataclasses.replace(config.eval, langs=("en", "zh"), **fields)
        return Evaluation(dataclasses.replace(config, data=data, eval=own))

    evaluation(tasks=())
    assert "conversation in zh: not evaluated: no record of task 'conversation'" in caplog.text
    assert "vqa in en: not evaluated" in caplog.text and "vqa in zh" not in caplog.text
    with pytest.raises(DataError, match="no record of task 'conversation'") as caught:
        evaluation(tasks=("conversation",))
    assert "--config.eval.tasks" in caught.value.fix and "--suite" not in caught.value.fix


def test_an_image_that_cannot_be_read_is_found_before_training(toy, tmp_path):
    config = training_toy.config(toy)
    for name in ("train", "test"):
        shutil.copy(toy / f"{name}.jsonl", tmp_path)
    (source,) = config.data.sources
    source = dataclasses.replace(source, path=str(tmp_path))  # where no images are
    data = dataclasses.replace(config.data, sources=(source,))
    with pytest.raises(DataError, match="image"):
        Evaluation(dataclasses.replace(config, data=data))


def test_some_records_or_some_images_are_enough(toy, tmp_path):
    config = training_toy.config(toy)
    lines = (toy / "test.jsonl").read_text("utf-8").splitlines()
    again = [json.loads(line) for line in lines[:2]]
    (tmp_path / "mixed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in again), "utf-8")
    with pytest.raises(ConfigError, match="2 records, as toy/test/0#en-caption-caption, of split"):
        mixed = str(tmp_path / "mixed.jsonl")
        Evaluation(with_source(config, path=mixed, split="test", image_root=str(toy)))
    renamed = [row | {"id": f"other {n}", "split": "train"} for n, row in enumerate(again)]
    (tmp_path / "mixed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in renamed))
    with pytest.raises(ConfigError, match="1 images, as .*test/red.png, of split 'test'"):
        Evaluation(with_source(config, path=mixed, image_root=str(toy)))
    elsewhere = tmp_path / "elsewhere"  # equal paths below another root are other images
    shutil.copytree(toy / "test", elsewhere / "test")
    Evaluation(with_source(config, path=mixed, image_root=str(elsewhere)))


def test_prepared_images_are_compared_by_their_content(toy, tmp_path):
    config = training_toy.config(toy)
    for split in ("train", "test"):
        rows = records.read_jsonl(toy / f"{split}.jsonl")
        prepare.prepare(rows, toy, tmp_path / "toy" / split)
    (source,) = config.data.sources
    source = dataclasses.replace(source, name="prepared", path=str(tmp_path / "toy"))
    data = dataclasses.replace(config.data, sources=(source,))
    with pytest.raises(ConfigError, match="images, as .* of split 'test' are learned"):
        Evaluation(dataclasses.replace(config, data=data))  # one green is the other


@pytest.mark.slow
def test_a_run_scores_itself_as_zv_eval_scores_its_checkpoint(toy, tmp_path):
    from zv_jax.training import trainer as loop

    config = training_toy.config(training_toy.prepare(toy))
    loop.run(config, tmp_path / "run", evaluate=Evaluation(config))
    lines = (tmp_path / "run/events.jsonl").read_text().splitlines()
    events = [e for e in map(json.loads, lines) if e["kind"] == "eval"]
    assert [e["step"] for e in events] == [2, 4]
    wanted = {k: training_toy.EVAL[k] for k in ("tasks", "langs", "limit", "batch_size")}
    longest = dict.fromkeys(wanted["tasks"], training_toy.EVAL["max_new_tokens"])
    source = {"name": "jsonl", "path": str(toy)}
    suite = config_lib.suite(
        controls=(), source=source, attention_images=0, max_new_tokens=longest, **wanted
    )
    results = run_lib.run(tmp_path / "run", suite, tmp_path / "out", progress=False)
    after = {f"eval/{s['task']}/{s['lang']}/{s['metric']}": s["value"] for s in results["scores"]}
    assert events[-1]["scores"] == after
    assert best_checkpoint(tmp_path / "run", METRIC).name in ("2", "4")


@pytest.mark.slow
def test_two_processes_give_the_scores_of_one(toy):
    training_toy.prepare(toy)
    root = Path(__file__).parents[2]
    program = [sys.executable, str(Path(training_toy.__file__)), str(toy)]
    env = os.environ | {"PYTHONPATH": str(root), "JAX_NUM_CPU_DEVICES": "1"}

    def start(process, count, port):
        words = [*program, str(process), str(count), str(port)]
        return subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True)

    def scores(running):
        out, _ = running.communicate(timeout=900)
        assert running.returncode == 0
        return json.loads(out.splitlines()[-1])

    alone = scores(start(0, 1, 0))
    port = portpicker.pick_unused_port()
    both = [scores(running) for running in [start(0, 2, port), start(1, 2, port)]]
    assert both[0] == both[1] == alone and alone
