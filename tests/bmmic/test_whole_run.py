"""A whole run against a scripted model: exactly the planted faults go, each for its reason."""

import dataclasses
import json
import shutil

import pytest
import scripted
from bmmic_server import Model

from zv_jax.bmmic import config as config_lib
from zv_jax.bmmic import run as run_lib
from zv_jax.bmmic.audit import run as audit
from zv_jax.bmmic.steps import filter as filter_step
from zv_jax.cli import main as cli
from zv_jax.data.public import catalogue
from zv_jax.data.records import record as R
from zv_jax.data.sources import prepare
from zv_jax.data.sources.open import open_source
from zv_jax.errors import ConfigError, DataError


def recipe(root, **sections):
    images = {"name": "records", "root": str(root / "data" / "scenes.jsonl")}
    questions = {"name": "vqav2", "root": str(root / "data" / "vqav2.jsonl"), "split": "train"}
    return config_lib.recipe(
        shard_size=4,
        symbols={"sources": (images,), "licence": "CC BY 4.0"},
        translate={"sources": (questions,), "batch": 3},
        rewrite={"share": 1.0},
        **{"export": {"title": "Test"}, **sections},
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("bmmic")
    scripted.write_images(root / "data")
    scripted.write_questions(root / "data")
    model = Model(scripted.Script())
    server = {"url": model.url, "model": "scripted", "price_in": 1.0, "price_out": 2.0, "tries": 2}
    config = config_lib.validate(recipe(root, server=server))
    said = []
    written = run_lib.run(config, root / "run", said.append)
    yield root / "run", config, model, written, said
    model.shutdown()


def test_exactly_the_planted_pairs_are_dropped_for_the_right_reason(world):
    workdir = world[0]
    found = {name: kind for name, kind, _ in scripted.dropped(workdir, "generated")}
    keys = {**scripted.PLANTED, **{key: kind for key, (_, kind) in scripted.BROKEN.items()}}
    expected = {
        f"records/train/{scene}#{kind}-{lang}": reason
        for (scene, kind, lang), reason in keys.items()
    }
    assert found == expected


def test_translations_that_lost_something_are_dropped(world):
    found = {name: kind for name, kind, _ in scripted.dropped(world[0], "translated")}
    assert found == {f"vqav2_t/train/{n}": kind for n, kind in scripted.TRANSLATION_FAULTS.items()}


def test_rewritings_that_changed_nothing_are_dropped_and_bad_parents_never_asked(world):
    workdir, _, model, _, _ = world
    found = list(scripted.dropped(workdir, "rewritten"))
    assert found and {kind for _, kind, _ in found} == {"rewriting"}
    bad = {name for name, _, _ in scripted.dropped(workdir, "generated")}
    assert not {name.rpartition("-")[0] for name, _, _ in found} & bad
    assert not (workdir / "kept" / "rewritten" / "00000.jsonl").read_text()


def test_every_request_is_in_the_ledger_once_and_the_card_says_what_was_paid(world):
    workdir, _, model, _, said = world
    keys = [json.loads(line)["key"] for line in (workdir / "ledger.jsonl").read_text().splitlines()
            if '"answered"' in line]  # fmt: skip
    assert len(keys) == len(set(keys)) == len(model.requests)
    card = (workdir / "export" / "README.md").read_text()
    assert f"{len(keys):,} requests" in card
    assert f"${len(keys) * (100 * 1.0 + 20 * 2.0) / 1e6:.6f}" in card
    assert "CC BY 4.0" in card and "scripted-1" in card and "meta_talk" in card
    assert "数量" in (workdir / "export" / "README_zh.md").read_text()
    assert any(line.startswith("generate: 54 requests") for line in said)


def test_a_second_run_asks_nothing_and_changes_nothing(world):
    workdir, config, model, _, _ = world
    before = {p: p.read_bytes() for p in workdir.rglob("*.jsonl") if p.parent.name != "tfds"}
    asked = len(model.requests)
    half = workdir / "export" / "bmmic" / ".train.jsonl.123"  # of an export that was killed
    half.write_text("{")
    own = workdir / "export" / ".gitattributes"  # of whoever hands the folder on
    own.write_text("*.parquet filter=lfs")
    run_lib.run(config, workdir, lambda text: None)
    assert own.exists()
    own.unlink()
    assert len(model.requests) == asked
    assert not half.exists()
    assert {p: p.read_bytes() for p in before} == before


def test_lost_shards_come_back_from_the_ledger(world):
    workdir, config, model, _, _ = world
    lost = workdir / "generated" / "00001.jsonl"
    before, asked = lost.read_bytes(), len(model.requests)
    lost.unlink()
    run_lib.asked("generate", config, workdir, (0, 1), lambda text: None)
    assert lost.read_bytes() == before and len(model.requests) == asked


def test_records_are_those_of_the_reader_and_say_where_they_come_from(world):
    out = world[0] / "export"
    found = list(catalogue.read("bmmic", out / "bmmic", "train"))
    planted = len(scripted.PLANTED) + len(scripted.BROKEN)
    assert len(found) == 9 * 3 * 2 - planted
    assert {r.task for r in found} == set(scripted.KINDS) and {r.lang for r in found} == {
        "en",
        "zh",
    }
    assert all(r.meta["model"] == "scripted-1" and r.meta["request"] for r in found)
    assert all(r.meta["pack"].startswith(f"{r.task}@1:") for r in found)
    (one,) = [r for r in catalogue.read("vqav2_t", out / "vqav2_t") if r.id.endswith("/0")]
    assert one.turns[0].text == "公交车是什么颜色的？"
    assert one.answers == ("红色",) * 9 + ("鲜红色",), "all ten, in order"
    assert (one.lang, one.translated_from, one.meta["original"]) == ("zh", "en", "vqav2/train/0")


def test_every_form_reads_back(world):
    out = world[0] / "export"
    ours = list(catalogue.read("bmmic", out / "bmmic"))
    for name, place in (("llava_json", out / "bmmic_train.llava.json"),
                        ("parquet", out / "parquet" / "bmmic"),
                        ("tfds", next((out / "tfds").rglob("features.json")).parent)):  # fmt: skip
        found = list(catalogue.read(name, place))
        if name == "tfds":
            found = [r for r in found if r.source in ("bmmic", "vqav2_t")]
        assert len(found) in (len(ours), 2), name
    shards = prepare.check(out / "shards" / "bmmic" / "train")
    assert shards["records"] == len(ours)
    source = open_source("prepared", str(out / "shards" / "bmmic"), "train")
    record = source.record(0)
    assert record.turns == ours[0].turns
    assert source.image(record.images[0]).size == (64, 48)


def test_boxes_in_texts_become_objects_of_the_record(world):
    found = {r.id: r for r in R.read_jsonl(world[0] / "export" / "bmmic" / "train.jsonl")}
    for record in found.values():
        assert not any("[0." in turn.text for turn in record.turns)


@pytest.mark.slow
def test_stage_two_of_the_quickstart_trains_on_the_set_with_one_override(world, tmp_path):
    shards = world[0] / "export" / "shards" / "bmmic"
    source = {"name": "prepared", "path": str(shards), "split": "train"}
    words = ["train", "--config=configs/quickstart.py:stage2_chat", f"--workdir={tmp_path / 'run'}",
             f"--config.data.sources=({source!r},)"]  # fmt: skip
    # Short, and without the stages before it: what is tried is the data.
    short = ["--config.init_from=()", "--config.train.steps=2", "--config.train.batch_size=2"]
    assert cli.main([*words, *short, "--config.optimizer.warmup_steps=1"]) == 0
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) >= 1


def test_a_run_of_which_nothing_is_kept_says_so_and_goes_on_with_other_thresholds(tmp_path, world):
    workdir, config, model, _, _ = world
    run = tmp_path / "run"
    shutil.copytree(workdir, run, ignore=shutil.ignore_patterns(*filter_step.JUDGED))
    ledger, asked = (run / "ledger.jsonl").read_bytes(), len(model.requests)
    length = dataclasses.replace(config.filters.length, min_answer_en=400, min_answer_zh=400)
    strict = dataclasses.replace(config, filters=dataclasses.replace(config.filters, length=length))
    for _ in range(2):
        with pytest.raises(DataError, match=r"no pair was kept of 59[^0-9]") as caught:
            run_lib.run(strict, run, lambda text: None)
    assert "zv bmmic audit" in str(caught.value) and not (run / "export").exists()
    page, shown = audit.run(strict, run, 10)
    assert shown == 10 and page.exists()
    with pytest.raises(ConfigError, match=r"min_answer_en: 400 then, \d+ now") as caught:
        run_lib.run(config, run, lambda text: None)
    for name in filter_step.JUDGED:
        assert name in str(caught.value)
        shutil.rmtree(run / name, ignore_errors=True)
    run_lib.run(config, run, lambda text: None)
    for step in ("rewritten", "kept/generated", "kept/translated", "dropped/rewritten"):
        for file in (workdir / step).glob("*.json*"):
            assert (run / step / file.name).read_bytes() == file.read_bytes()
    assert (run / "ledger.jsonl").read_bytes() == ledger and len(model.requests) == asked
