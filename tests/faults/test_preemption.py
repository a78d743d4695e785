"""SIGTERM: what is running saves the step it is at, ends well, and continues from there."""

import contextlib
import json
import os
import signal
import time

import pytest
import toy_run
from toy_run import at, events, finished_steps, ids, told_to_end, toy_config, train

from zv_jax.training.monitors import Preemption


@pytest.mark.slow
def test_a_process_told_to_end_saves_its_step_and_continues_from_it(compiled, corpus, tmp_path):
    config = toy_config(corpus, "stage1")
    train(config, tmp_path / "told", at(4, told_to_end))
    assert [e["step"] for e in events(tmp_path / "told", "preemption")] == [5]
    assert [e["checkpoint"] for e in events(tmp_path / "told", "save")] == [3, 5]
    assert not (tmp_path / "told/results.json").exists()
    train(config, tmp_path / "told")
    assert [e["step"] for e in events(tmp_path / "told", "restore")] == [5]
    assert json.loads((tmp_path / "told/results.json").read_text())["step"] == 10
    assert sorted(ids(tmp_path / "told")) == list(range(10)), "no batch is left out"


@pytest.fixture
def in_front():
    """As in a program in front of a terminal; shells have Ctrl-C ignored in one behind."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_first_ctrl_c_saves_and_the_second_ends_at_once(
    in_front, compiled, corpus, tmp_path, capfd
):
    def ctrl_c():
        os.kill(os.getpid(), signal.SIGINT)

    config = toy_config(corpus, "stage1")
    train(config, tmp_path / "once", at(4, ctrl_c))
    assert [e["checkpoint"] for e in events(tmp_path / "once", "save")] == [3, 5]
    said = capfd.readouterr().err
    assert "Ctrl-C again ends at once" in said and "step 5 is saved" in said

    def twice(step, batch):
        if step in (1, 2):
            ctrl_c()

    with pytest.raises(KeyboardInterrupt), Preemption(lambda step: False) as preemption:
        twice(1, None)
        assert preemption.reached(1)
        twice(2, None)


def test_who_ignores_ctrl_c_goes_on_ignoring_it(in_front):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Preemption(lambda step: False) as preemption:
        os.kill(os.getpid(), signal.SIGINT)
        assert not preemption.reached(1)


def test_a_run_told_to_end_before_its_first_step_claims_no_save(compiled, corpus, tmp_path, capfd):
    config = toy_config(corpus, "stage1")
    with told_at_once():
        train(config, tmp_path / "run")
    said = capfd.readouterr().err
    assert "before the first step; the same command begins anew" in said
    assert "is saved" not in said and finished_steps(tmp_path / "run") == []


@contextlib.contextmanager
def told_at_once():
    """SIGTERM arrives as soon as a run handles it."""
    plain = Preemption.__enter__

    def enter(self):
        plain(self)
        told_to_end()
        return self

    Preemption.__enter__ = enter
    try:
        yield
    finally:
        Preemption.__enter__ = plain


def test_the_signal_counts_inside_the_block_only():
    def agreed(step):
        raise AssertionError("one process has nobody to agree with")

    with Preemption(agreed) as preemption:
        assert not preemption.reached(1)
        told_to_end()
        assert preemption.reached(2)
    with Preemption(agreed) as preemption:
        assert not preemption.reached(3)


@pytest.mark.slow
def test_two_processes_save_the_same_step_when_one_is_told_to_end(
    compiled, corpus, tmp_path, processes
):
    config = toy_config(corpus, "stage1", train={"steps": 40}, mesh={"data": 2})
    path = toy_run.write_config(config, tmp_path / "config.json")
    run = [toy_run.__file__, str(tmp_path / "run"), str(path)]
    done = processes([[*run, "process=0"], [*run, "process=1", "term_at=20"]])
    passed = time.time() - float((tmp_path / "run/told").read_text())
    assert passed < 30, "schedulers wait for half a minute"
    for code, errors in done:
        assert code == 0, errors[-3000:]
    (ended,) = events(tmp_path / "run", "preemption")
    step = ended["step"]
    assert 20 <= step < 40
    assert events(tmp_path / "run", "save")[-1]["checkpoint"] == step
    for log in ("run.log", "run-1.log"):
        assert f"told to end; step {step} is saved" in (tmp_path / "run" / log).read_text()
    for code, errors in processes([[*run, "process=0"], [*run, "process=1"]]):
        assert code == 0, errors[-3000:]
    assert [e["step"] for e in events(tmp_path / "run", "restore")] == [step]
    assert json.loads((tmp_path / "run/results.json").read_text())["step"] == 40
