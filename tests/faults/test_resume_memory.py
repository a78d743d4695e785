"""Continuing a run, or starting from the weights of others, makes nothing that is replaced."""

import json

import jax
import pytest
import toy_run
from toy_run import at, told_to_end, toy_config, train

from zv_jax.checkpoints.manager import Checkpointer
from zv_jax.training import trainer

PROGRAM = """
import json, sys
from pathlib import Path
from zv_jax.checkpoints.manager import Checkpointer
from zv_jax.config.build import validate
from zv_jax.training import trainer
from zv_jax.training.metrics import peak_rss_bytes, rss_bytes

config = validate(json.loads(Path(sys.argv[2]).read_text()))
latest, seen = Checkpointer.latest_step, {}

def noted(self):
    seen.setdefault("before", rss_bytes())  # nothing has been made or read
    return latest(self)

class Enough(Exception): ...

def enough(config, stage, tx, schedule, mesh, state):
    seen["peak"] = peak_rss_bytes()
    raise Enough

Checkpointer.latest_step, trainer.make_step = noted, enough
try:
    trainer.run(config, Path(sys.argv[1]))
except Enough:
    print(json.dumps(seen))
"""


@pytest.fixture
def made(monkeypatch):
    """The parameters that runs make at random, by path; None stands for all of them."""
    found, plain = [], trainer.fresh_variables

    def noted(*given, only=None):
        found.append(only)
        return plain(*given, only=only)

    monkeypatch.setattr(trainer, "fresh_variables", noted)
    return found


def test_a_resume_makes_no_parameters(compiled, corpus, tmp_path, made, monkeypatch):
    config = toy_config(corpus, "stage1")
    train(config, tmp_path, at(2, told_to_end))
    assert made == [None]
    held, plain = [], Checkpointer.restore
    before = sum(array.nbytes for array in jax.live_arrays())

    def noted(self, like):
        held.append(sum(array.nbytes for array in jax.live_arrays()) - before)
        return plain(self, like)

    monkeypatch.setattr(Checkpointer, "restore", noted)
    train(config, tmp_path)
    assert made == [None] and held[0] <= 0, "nothing is on the devices when reading begins"


@pytest.mark.slow
def test_of_what_a_source_has_nothing_is_made(compiled, corpus, tmp_path, made):
    train(toy_config(corpus, "stage0", train={"steps": 1}), tmp_path / "stage0")
    config = toy_config(corpus, "stage1", train={"steps": 1}, init_from=(str(tmp_path / "stage0"),))
    train(config, tmp_path / "stage1")
    assert made[0] is None and made[1]
    assert {path.split("/")[1] for path in made[1]} == {"llm", "projector"}
    events = toy_run.events(tmp_path / "stage1", "finish")
    assert events[0]["compilations"] == 1


@pytest.mark.slow
def test_a_resume_needs_little_more_than_the_parameters(corpus, tmp_path, fresh_python):
    """Twice their size, since Orbax reads beside the arrays; it was 4.8 times."""
    wide = {"width": 512, "heads": 8, "kv_heads": 8, "layers": 10, "mlp_width": 2048}
    config = toy_config(
        corpus,
        "stage1",
        model={"llm": {"vocab_size": 1024, **wide}},
        train={"steps": 2, "batch_size": 4, "log_every": 1},
    )
    path = toy_run.write_config(config, tmp_path / "config.json")
    train(config, tmp_path / "run", at(0, told_to_end))
    table = json.loads((tmp_path / "run/stage_table.json").read_text())
    size = 4 * sum(row["trainable"] + row["frozen"] + row["adapter"] for row in table)
    assert size > 150e6
    shown = fresh_python("-c", PROGRAM, str(tmp_path / "run"), str(path), timeout=900).stdout
    seen = json.loads(shown.splitlines()[-1])
    assert seen["peak"] - seen["before"] < 2.5 * size
