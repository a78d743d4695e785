"""A run that hangs is ended, and its log says where."""

import json

import pytest
import toy_run

from zv_jax.training.monitors import EXIT_CODE, Watchdog

PROGRAM = """
import sys, threading, time
from pathlib import Path
from zv_jax.parallel.distributed import log_to_file
from zv_jax.training.monitors import Watchdog

def stuck_in_a_collective():
    threading.Event().wait()

workdir = Path(sys.argv[1])
told = lambda text: (workdir / "told").write_text(text)
with log_to_file(workdir), Watchdog(0.4, workdir, on_hang=told) as watchdog:
    for step in range(3):
        watchdog.beat(step)
        time.sleep(0.1)
    stuck_in_a_collective()
"""


def test_a_hang_leaves_the_stacks_of_all_threads_and_ends_the_process(fresh_python, tmp_path):
    done = fresh_python("-c", PROGRAM, str(tmp_path), timeout=200)
    assert done.returncode == EXIT_CODE
    assert "no step for" in done.stderr and "after step 2" in done.stderr
    log = (tmp_path / "run.log").read_text()
    assert "stuck_in_a_collective" in log and "Current thread" in log
    assert "after step 2" in (tmp_path / "told").read_text()


@pytest.mark.slow
def test_a_training_that_hangs_is_ended_and_continues(compiled, corpus, tmp_path, fresh_python):
    config = toy_run.toy_config(corpus, "stage1", guards={"hang_seconds": 20.0})
    path = str(toy_run.write_config(config, tmp_path / "config.json"))
    program = [toy_run.__file__, str(tmp_path / "run"), path]
    assert fresh_python(*program, "hang_at=7", timeout=900).returncode == EXIT_CODE
    (hang,) = toy_run.events(tmp_path / "run", "hang")
    assert "after step 7" in hang["what"]
    assert "wait_for_ever" in (tmp_path / "run/run.log").read_text()
    assert fresh_python(*program, timeout=900).returncode == 0
    assert [e["step"] for e in toy_run.events(tmp_path / "run", "restore")] == [6]
    assert json.loads((tmp_path / "run/results.json").read_text())["step"] == 10


@pytest.mark.slow
def test_when_one_of_two_processes_hangs_both_end_and_it_is_named(
    compiled, corpus, tmp_path, processes
):
    config = toy_run.toy_config(corpus, "stage1", mesh={"data": 2}, guards={"hang_seconds": 20.0})
    path = str(toy_run.write_config(config, tmp_path / "config.json"))
    run = [toy_run.__file__, str(tmp_path / "run"), path]
    codes = [code for code, _ in processes([[*run, "process=0"], [*run, "process=1", "hang_at=7"]])]
    assert codes[1] == EXIT_CODE and codes[0] != 0
    log = (tmp_path / "run/run-1.log").read_text()
    assert "after step 7; processes behind: 1 (step 7)" in log and "wait_for_ever" in log


def test_beats_keep_it_quiet_and_zero_switches_it_off(tmp_path):
    for seconds in (30.0, 0.0):
        with Watchdog(seconds, tmp_path) as watchdog:
            watchdog.beat(1)


def test_processes_that_are_behind_are_named(tmp_path):
    watchdog = Watchdog(60.0, tmp_path, process=0, processes=3)
    watchdog.begin(8)
    watchdog._leave_beat()
    (tmp_path / "beats/1.json").write_text(json.dumps({"begun": 7}))
    assert watchdog._behind() == "; processes behind: 1 (step 7), 2 (step -1)"
    for number in (1, 2):
        (tmp_path / f"beats/{number}.json").write_text(json.dumps({"begun": 8}))
    assert watchdog._behind() == "; no process is behind"
