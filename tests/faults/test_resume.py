"""N + M steps are N steps, an end without warning, and M steps: the same bits."""

import dataclasses
import json

import pytest
import toy_run
from toy_run import (
    Stop,
    assert_same_run,
    at,
    events,
    finished_steps,
    losses,
    stop,
    toy_config,
    train,
    write_config,
)

from zv_jax.checkpoints import compatibility as resume
from zv_jax.checkpoints.manager import Checkpointer
from zv_jax.cli import main as cli
from zv_jax.config.build import recipe, to_dict, validate
from zv_jax.errors import CheckpointError, ConfigError

SHORT = ("stage1", 0)  # of the killed runs, the one among the default tests
PATIENCE = 1200  # seconds: stage 0 compiles for minutes on a busy machine
LORA = {"model": {"lora": {"dropout": 0.1}}}  # noise that must be drawn again alike


@pytest.mark.parametrize(
    "stage, more",
    [
        pytest.param("stage1", {}, marks=pytest.mark.slow),
        pytest.param("stage0", {}, marks=pytest.mark.slow),
        pytest.param("stage2", LORA, marks=pytest.mark.slow),
    ],
)
def test_a_run_that_broke_off_ends_with_the_same_bits(compiled, corpus, tmp_path, stage, more):
    config = toy_config(corpus, stage, **more)
    train(config, tmp_path / "straight")
    with pytest.raises(Stop):
        train(config, tmp_path / "broken", at(5, stop))
    assert len(losses(tmp_path / "broken")) == 5
    train(config, tmp_path / "broken")
    assert [e["step"] for e in events(tmp_path / "broken", "restore")] == [3]
    assert_same_run(tmp_path / "straight", tmp_path / "broken")


@pytest.fixture(scope="module")
def straight_runs(tmp_path_factory):
    """Holds the runs that nothing ended, one per stage."""
    return tmp_path_factory.mktemp("straight")


@pytest.mark.parametrize(
    "stage, workers",
    [
        pytest.param(stage, workers, marks=[] if (stage, workers) == SHORT else pytest.mark.slow)
        for stage in ("stage0", "stage1", "stage2")
        for workers in (0, 1, 4)
    ],
)
def test_a_killed_process_continues_with_the_same_bits(
    compiled, corpus, tmp_path, fresh_python, straight_runs, stage, workers
):
    """kill -9, whatever prepares the data. Both runs are programs of their own: flags of XLA that
    this process read when it started may round otherwise."""
    more = LORA if stage == "stage2" else {}
    config = toy_config(corpus, stage, data={"workers": workers}, **more)
    path = str(write_config(config, tmp_path / "config.json"))
    program = [toy_run.__file__, str(tmp_path / "run"), path]
    dead = fresh_python(*program, "die_at=8", timeout=PATIENCE)
    assert dead.returncode == -9, dead.stderr[-2000:]
    saved = finished_steps(tmp_path / "run")
    done = fresh_python(*program, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [e["step"] for e in events(tmp_path / "run", "restore")] == [saved[-1]]
    straight = straight_runs / stage
    if not straight.exists():
        path = str(write_config(toy_config(corpus, stage, **more), tmp_path / "plain.json"))
        whole = fresh_python(toy_run.__file__, str(straight), path, timeout=PATIENCE)
        assert whole.returncode == 0, whole.stderr[-2000:]
    assert_same_run(straight, tmp_path / "run")


@pytest.fixture
def stopped(compiled, corpus, tmp_path):
    """A run of stage 1 that broke off, and its configuration."""
    config = toy_config(corpus, "stage1")
    with pytest.raises(Stop):
        train(config, tmp_path / "run", at(4, stop))
    return config, tmp_path / "run"


def changed(config, **sections):
    return dataclasses.replace(
        config,
        **{
            name: dataclasses.replace(getattr(config, name), **values)
            for name, values in sections.items()
        },
    )


def test_a_changed_configuration_or_corpus_does_not_resume_unless_it_is_named(
    stopped, corpus, tmp_path
):
    config, workdir = stopped
    before = sorted(p.name for p in (workdir / "checkpoints").iterdir())
    faster = changed(config, optimizer={"lr": 5e-3, "b2": 0.95}, data={"box_decimals": 2})
    with pytest.raises(CheckpointError, match="started differently: 3 fields") as refused:
        train(faster, workdir)
    assert "- optimizer.lr: 0.001 in the checkpoint, 0.005 now" in refused.value.expected
    assert refused.value.fix.endswith("--allow_change=data.box_decimals,optimizer.lr,optimizer.b2")
    with pytest.raises(CheckpointError, match="1 field has changed"):
        train(faster, workdir, allow_change=["optimizer"] + ["data.max_text"])
    with pytest.raises(ConfigError, match="optimiser.*did you mean"):
        train(faster, workdir, allow_change=["optimiser.lr"])
    # Other content at the same place.
    words = (corpus / "train.jsonl").read_text("utf-8")
    other = tmp_path / "other.jsonl"
    (tmp_path / "images").symlink_to(corpus / "images")
    other.write_text(words.replace("square", "circle"), encoding="utf-8")
    (source,) = config.data.sources
    moved = changed(config, data={"sources": (dataclasses.replace(source, path=str(other)),)})
    with pytest.raises(CheckpointError, match="1 field") as refused:
        train(moved, workdir)
    assert "data.sources[0].records" in refused.value.fix
    assert sorted(p.name for p in (workdir / "checkpoints").iterdir()) == before

    train(faster, workdir, allow_change=["optimizer", "data.box_decimals"])
    (restored,) = events(workdir, "restore")
    assert len(restored["changes"]) == 3
    assert json.loads((workdir / "config.json").read_text())["optimizer"]["lr"] == 5e-3
    with Checkpointer(workdir, config.checkpoint) as checkpoints:
        history = checkpoints.meta()["changes"]
    assert {"step": 3, "field": "optimizer.lr", "before": 0.001, "now": 0.005} in history


# All that may change in a run that goes on; one field more would let it become another run.
MAY_CHANGE = {
    "mesh.data", "mesh.fsdp", "mesh.tensor", "mesh.slices", "guards.max_skipped",
    "guards.hang_seconds", "train.log_every", "train.microbatches", "train.loss_chunks",
    "data.max_bad", "data.workers", "data.cache_images", "data.sources[0].path",
    "data.sources[0].image_root", "data.tokenizer.path", "data.qformer_tokenizer.path",
    "model.remat",
}  # fmt: skip


def test_every_field_stops_a_resume_but_those_listed_here():
    config = resume.fields_of(to_dict(validate(recipe("tiny_chat"))), {"data.version": 1})
    whole = ("eval.", "checkpoint.")  # how a run is watched and kept
    free = {field for field in config if not resume.changes(config, {**config, field: "another"})}
    assert {field for field in free if not field.startswith(whole)} == MAY_CHANGE
    assert all(field in free for field in config if field.startswith(whole))


def test_fields_the_checkpoint_does_not_know_had_their_default():
    config = to_dict(validate(recipe("tiny_chat", data={"sources": ({"path": "a"},) * 2})))
    now = resume.fields_of(config, {"data.sources[1].records": "x"})
    older = {k: v for k, v in now.items() if not k.endswith(("itm_negatives", "[1].weight"))}
    assert resume.changes(older, now) == []
    assert resume.changes(older, {**now, "stage.itm_negatives": "random"}) == [
        ("stage.itm_negatives", "hard", "random")
    ]
    one = {k: v for k, v in now.items() if "[1]" not in k}
    assert ("data.sources[1].records", resume.ABSENT, "x") in resume.changes(one, now)
    assert ("data.sources[1].records", "x", resume.ABSENT) in resume.changes(now, one)
    with pytest.raises(CheckpointError, match="format 1 cannot be continued"):
        resume.check({"format": 1, "config": config, "fingerprint": "f"}, now, (), "runs/x")


@pytest.mark.slow
def test_how_a_run_is_carried_out_may_change(stopped, corpus, tmp_path):
    config, workdir = stopped
    same = tmp_path / "moved.jsonl"
    (tmp_path / "images").symlink_to(corpus / "images")
    same.write_bytes((corpus / "train.jsonl").read_bytes())
    (source,) = config.data.sources
    train(
        changed(
            config,
            data={
                "sources": (dataclasses.replace(source, path=str(same)),),
                "cache_images": True,
            },
            checkpoint={"every": 2, "keep": 1},
            train={"log_every": 2},
        ),
        workdir,
    )
    assert json.loads((workdir / "results.json").read_text())["step"] == 10


def test_the_command_takes_the_names_of_changes(tmp_path, monkeypatch):
    seen = {}

    def run(config, workdir, allowed, evaluate):
        seen["allowed"] = allowed
        return config.train.steps

    monkeypatch.setattr(toy_run.loop, "run", run)
    monkeypatch.setattr(toy_run.loop, "finished_at", lambda workdir: 10**9)
    line = ["train", "--config=configs/stage1.py:chat", f"--workdir={tmp_path}"]
    assert cli.main([*line, "--allow_change=optimizer.lr,data"]) == 0
    assert seen["allowed"] == ["optimizer.lr", "data"]
