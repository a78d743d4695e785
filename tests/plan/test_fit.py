"""`zv plan --fit` on the CPU: real compilations of a tiny recipe, made-up limits of memory."""

import dataclasses
import json
import os
import signal
import time

import pytest
from absl import flags

from zv_jax.cli import main as cli
from zv_jax.config import Config, recipe, validate
from zv_jax.config import flags as recipes
from zv_jax.errors import SetupError
from zv_jax.parallel import hardware
from zv_jax.plan import proposal, search
from zv_jax.plan.candidates import (
    Calculated,
    Machine,
    Need,
    Survey,
    compile_setting,
    run_setting,
    survey,
)
from zv_jax.plan.compiled import TooLarge
from zv_jax.plan.fit import Grid, Search, draws_dropout, fit
from zv_jax.plan.processes import Process
from zv_jax.plan.search import Setting

MIB = 1 << 20
TINY = """
from zv_jax.config import recipe
def get_config(stage="stage1"):
    return recipe(
        "tiny_chat",
        stage={"name": stage, "variant": "chat"},
        data={"max_text": 6, "max_length": 12, "max_answer": 4, "max_qformer_text": 5},
        train={"batch_size": 8, "steps": 100},
    )
"""


def tiny(stage: str = "stage1", variant: str = "chat", **model) -> Config:
    return validate(
        recipe(
            "tiny_chat",
            model=model,
            stage={"name": stage, "variant": variant},
            data={"max_text": 6, "max_length": 12, "max_answer": 4, "max_qformer_text": 5},
            train={"batch_size": 8, "steps": 100},
        )
    )


@pytest.mark.slow
def test_the_command_prints_every_setting_and_lines_that_training_takes(tmp_path, capsys):
    path, out, lines = tmp_path / "tiny.py", tmp_path / "fit.json", tmp_path / "fit.txt"
    path.write_text(TINY)
    code = cli.main(
        ["plan", f"--config={path}", "--fit", "--notimed", "--memory=4MiB", "--share=0.5,1",
         "--microbatches=1,2,3", "--remat=none", "--config.train.batch_size=16",
         f"--out={out}", f"--overrides={lines}"]
    )  # fmt: skip
    shown = capsys.readouterr()
    assert code == 0, shown.err
    assert "compiling microbatches=1 remat=none" in shown.err
    found = json.loads(out.read_text())
    rows = {row["microbatches"]: row for row in found["settings"]}
    assert rows.keys() == {1, 2, 3}
    assert "a multiple of 3" in rows[3]["why"] and rows[3]["why"] in shown.out
    for parts in (1, 2):
        need = rows[parts]["bytes"]
        assert rows[parts]["share"] == (0.5 if need <= 2 * MIB else 1 if need <= 4 * MIB else None)
        assert f"{need / MIB:,.1f}" in shown.out
    assert rows[2]["bytes"] < rows[1]["bytes"]
    assert found["chosen"] in found["settings"] and found["chosen"]["fits"]
    given = lines.read_text().split()
    assert given == found["overrides"] and all(line in shown.out for line in given)
    values = flags.FlagValues()
    recipes.parse(values, [f"--config={path}", *given], "config", "zv train")
    train = validate(values.config)
    assert train.train.batch_size == 16  # what was given here holds there, too
    assert train.train.microbatches == found["chosen"]["microbatches"]
    assert train.model.remat == found["chosen"]["remat"]


GRID = Grid()


def started(calculated: dict[Setting, Calculated], memory: float, kind: str = "gpu") -> Search:
    """A search of a machine that exists on paper, whose weights take 10 bytes and a batch 1."""
    machine = Machine("paper", kind, hardware.topology("h200"), memory)
    mesh = {"data": 1, "fsdp": 1, "tensor": 1}
    found = Survey(machine, mesh, 10.0, 1.0, calculated, {})
    return Search(tiny(), None, found, (0.5, 0.75, 1.0), memory, lambda line: None)


class Answers:
    """A process whose compiler says what it was given to say."""

    def __init__(self, said):
        self.said = said

    def call(self, function, config, topology, setting):
        if isinstance(self.said, Exception):
            raise self.said
        return self.said


ONE = Setting(1, "none")


@pytest.mark.parametrize(
    "temporaries, share",
    [(39, 0.5), (40, 0.75), (64, 0.75), (65, 1.0), (89, 1.0), (90, None)],
)
def test_a_program_takes_the_smallest_share_that_holds_it(temporaries, share):
    """10 for the weights, though the program reads 4 of them, and 1 for the next batch."""
    state = started({ONE: Calculated(1.0, 0.0)}, 100)
    state.tried[ONE] = state.attempt(Answers(Need(4, temporaries, None)), ONE)
    assert state.tried[ONE].need == 11 + temporaries
    assert state.share(ONE) == share and state.tried[ONE].too_large == (share is None)


@pytest.mark.parametrize(
    "error, words, too_large",
    [
        (TooLarge("the step does not fit: 3 G over"), "3 G over", True),
        (
            SetupError("INTERNAL: ptxas exited\nwith 1"),
            "cannot be compiled: INTERNAL: ptxas",
            False,
        ),
        (NotImplementedError("no such memory"), "cannot be compiled: no such memory", False),
    ],
)
def test_a_candidate_that_cannot_be_compiled_is_reported(error, words, too_large):
    state = started({ONE: Calculated(1.0, 0.0)}, 100)
    outcome = state.attempt(Answers(error), ONE)
    assert words in outcome.why and not outcome.fits and outcome.too_large == too_large


def test_a_process_that_dies_is_an_error_and_the_next_call_has_another():
    with Process(runs_here=False, environment={"GIVEN": "1"}, memory_fraction=0.9) as process:
        with pytest.raises(SetupError, match="ended without an answer"):
            process.call(os._exit, 1)
        assert process.call(os.getenv, "GIVEN") == "1"
        assert process.call(os.getenv, "XLA_CLIENT_MEM_FRACTION") == "0.9"
    assert "GIVEN" not in os.environ


def test_an_interrupt_does_not_wait_for_the_compiler():
    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt), Process(runs_here=False) as process:
            process.call(os.getpid)
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            process.call(time.sleep, 600)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - began < 300


def test_where_calculation_sees_no_difference_fewer_parts_and_less_recomputation_come_first():
    settings = [Setting(m, remat) for remat in ("full", "dots", "none") for m in (2, 1)]
    times = {s: Calculated(2.0 if s.remat == "full" else 1.0, 0.0) for s in settings}
    order = [str(s) for s in started(times, 100).order]
    assert order == [
        "microbatches=1 remat=none", "microbatches=1 remat=dots", "microbatches=2 remat=none",
        "microbatches=2 remat=dots", "microbatches=1 remat=full", "microbatches=2 remat=full",
    ]  # fmt: skip


def test_the_recipe_itself_is_always_among_the_settings():
    train = dataclasses.replace(tiny().train, microbatches=6)
    config = dataclasses.replace(tiny(remat="offload"), train=train)
    settings = Grid((1,), ("none",)).settings(config)
    assert Setting(6, "offload") in settings and Setting(1, "none") in settings


@pytest.mark.parametrize(
    "stage, model, drawn",
    [
        ("stage1", {}, False),
        ("stage1", {"qformer": {"dropout": 0.1}}, True),
        ("stage1", {"vision": {"drop_path": 0.1}}, False),  # frozen: no noise
        ("stage1", {"lora": {"dropout": 0.1}}, False),  # no adapters yet
        ("stage2", {"lora": {"dropout": 0.1}}, True),
        ("vision", {"vision": {"drop_path": 0.1}}, True),
        ("language", {"qformer": {"dropout": 0.1}}, False),
    ],
)
def test_dropout_is_told_where_it_is_drawn(stage, model, drawn):
    assert draws_dropout(tiny(stage, **model)) == drawn


CHOSEN = {"microbatches": 2, "remat": "names", "bytes": 5 * MIB, "limit": 6 * MIB}
CHOSEN |= {"calculated_seconds": 1.0, "compiled_seconds": None, "measured_seconds": 0.5}


@pytest.mark.parametrize(
    "kind, share, lines", [("gpu", 0.9, 3), ("gpu", 0.75, 2), ("tpu", 0.97, 2), ("cpu", 0.9, 2)]
)
def test_the_share_of_memory_is_a_flag_of_training_on_gpus_alone(kind, share, lines):
    found = {"chosen": {**CHOSEN, "share": share}, "machine": {"kind": kind}}
    given = proposal.overrides(found)
    assert given[:2] == ["--config.train.microbatches=2", "--config.model.remat=names"]
    assert given[2:] == ["--memory_fraction=0.9"][: lines - 2]


def told(**changes) -> str:
    """The page of a search of stage 0 with dropout that ended on another number of parts."""
    row = {**CHOSEN, "share": 0.9, "fits": True, "why": ""}
    recipe = {"stage": "stage0", "variant": "base", "preset": "tiny_base", "batch_size": 8}
    machine = {"name": "1 x H200", "kind": "gpu", "mesh": {"data": 1}, "memory": 8.0 * MIB}
    found = {
        "recipe": {**recipe, "microbatches": 1, "remat": "none"},
        "machine": {**machine, "shares": [0.75, 0.9], "figures_known": True},
        "held": 1.0 * MIB,
        "settings": [row],
        "chosen": row,
        "compares_rows": True,
        "draws_dropout": True,
    }
    return proposal.text(found | changes)


def test_the_page_says_what_another_number_of_parts_changes_and_what_not():
    page = told()
    assert "microbatches change no negatives" in page
    assert "dropout draws other random numbers than with microbatches=1" in page
    assert "proposed: microbatches=2 remat=names, 5.0 of 6.0 MiB, 0.5 s a step (measured" in page
    quiet = told(compares_rows=False, draws_dropout=False)
    assert "negatives" not in quiet and "dropout" not in quiet
    assert "nothing of this grid fits" in told(chosen=None)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--memory=16GiB", "--topology=v5e:4x4"], "--memory has no effect without --fit"),
        (["--fit", "--estimate"], "--estimate has no effect with --fit"),
        (["--fit", "--topology=h100:8"], "can be compiled only where it is"),
        (["--fit", "--memory=much"], "'much' is no size"),
        (["--fit", "--share=0.9,1.5"], "numbers up to 1"),
        (["--fit", "--microbatches=0,1"], "whole numbers"),
        (["--fit", "--remat=name"], "did you mean 'names'"),
    ],
)
def test_mistakes_of_fitting(arguments, words, capsys):
    code = cli.main(["plan", "--config=configs/stage2.py:chat", *arguments])
    assert code == 2 and words in capsys.readouterr().err


def test_a_limit_below_the_weights_compiles_nothing(tmp_path, capsys):
    path, out = tmp_path / "tiny.py", tmp_path / "fit.json"
    path.write_text(TINY)
    code = cli.main(["plan", f"--config={path}", "--fit", "--memory=100KB", f"--out={out}"])
    shown = capsys.readouterr()
    assert code == 2 and "no setting of the grid fits" in shown.err
    assert "compiling" not in shown.err and "batches alone are too large" in shown.out
    found = json.loads(out.read_text())
    assert found["chosen"] is None and not any(row["fits"] for row in found["settings"])


def test_a_file_of_figures_that_cannot_be_written_is_one_error(tmp_path, capsys):
    path = tmp_path / "tiny.py"
    path.write_text(TINY)
    words = ["plan", f"--config={path}", "--topology=h100", "--estimate"]
    assert cli.main([*words, f"--out={path / 'plan.json'}"]) == 2
    assert "the figures cannot be written" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["stage0", "stage1"])
def test_it_finds_the_optimum_of_a_grid_of_sixteen_compiled_programs(stage):
    """For limits between any two needs: what trying everything finds, never what is too large."""
    config = dataclasses.replace(
        tiny(stage), train=dataclasses.replace(tiny().train, batch_size=32)
    )
    settings = GRID.settings(config)
    assert len(settings) == 16
    with Process(runs_here=True) as process:
        found = process.call(survey, config, None, settings)
        needs = {s: process.call(compile_setting, config, None, s) for s in settings}
    held = found.held + found.batch
    total = {s: held + needs[s].temporaries for s in settings}
    for remat in GRID.remat:  # what the search takes for granted
        falling = [total[Setting(m, remat)] for m in (2, 4, 8)]
        assert falling == sorted(falling, reverse=True), remat
    seconds = found.calculated
    by_time = sorted(
        settings, key=lambda s: (seconds[s].seconds, s.microbatches, GRID.remat.index(s.remat))
    )
    for limit in total.values():
        state = Search(config, None, found, (1.0,), limit, lambda line: None)
        best = search.fitting(
            state.order,
            lambda s, state=state: state.attempt(Answers(needs[s]), s),
            state.guessed_too_large,
            state.tried,
        )
        assert best == [s for s in by_time if total[s] <= limit][:3]
    # The search as the command does it, at a limit that about half of them keep.
    limit = sorted(total.values())[8]
    chosen = fit(config, None, Grid(shares=(1.0,)), limit, timed=False)["chosen"]
    best = next(s for s in by_time if total[s] <= limit)
    assert Setting(chosen["microbatches"], chosen["remat"]) == best
    assert chosen["bytes"] == total[best] <= limit


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["language", "vision", "stage0", "stage1", "stage2"])
def test_steps_of_every_stage_run_on_random_rows(stage):
    found = run_setting(tiny(stage), Setting(1, "none"), 2)
    assert len(found["step_seconds"]) == 2 and found["median_seconds"] > 0
