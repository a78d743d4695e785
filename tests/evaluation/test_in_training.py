"""Scores in the middle of a training run, the best checkpoint by one of them, several processes."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import portpicker
import pytest
import training_toy

from evaluation import config as config_lib
from evaluation import runner
from evaluation.in_training import Evaluation, best_checkpoint
from zv_jax.errors import CheckpointError, ConfigError

METRIC = "eval/vqa/en/exact_match"


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
    with pytest.raises(CheckpointError, match="did you mean 'eval/vqa/en/exact_match'"):
        best_checkpoint(tmp_path, "eval/vqa/en/exact_matches")


def test_what_cannot_be_evaluated_is_said_before_training(toy):
    config = training_toy.config(toy)

    other = dataclasses.replace(config.eval, tasks=("vqq",))
    with pytest.raises(ConfigError, match="did you mean 'vqa'"):
        Evaluation(dataclasses.replace(config, eval=other))


@pytest.mark.slow
def test_a_run_scores_itself_as_zv_eval_scores_its_checkpoint(toy, tmp_path):
    from zv_jax.training import loop

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
    results = runner.run(tmp_path / "run", suite, tmp_path / "out", progress=False)
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
