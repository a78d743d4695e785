"""Parts of a suite run apart from each other, each in its time, and leave what they have found."""

from pathlib import Path

import pytest

from benchmarks import bench, gpu_suite, rows, suite
from benchmarks.rows import Peaks, Row
from benchmarks.suite import Part, chosen, listed, page, run
from benchmarks.worker import rows_of
from zv_jax.errors import ConfigError
from zv_jax.files import read_jsonl

HERE = {"PYTHONPATH": f"{suite.ROOT}:{Path(__file__).parent}"}


def part(function: str, limit: int = 60, **given: str) -> Part:
    return Part(function, f"made_up_parts:{function}", "nothing", limit, given, HERE)


def running(process: int) -> bool:
    """Whether it runs: one that is dead may wait for somebody to ask how it ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_fails_or_hangs_is_a_row_and_the_rest_goes_on(tmp_path):
    out = tmp_path / "new" / "found.jsonl"
    parts = [part("peaks"), part("fails"), part("hangs", 6, folder=str(tmp_path)),
             part("works", name="this one")]  # fmt: skip
    found = run(parts, out)
    assert found == read_jsonl(out)
    half, failed, hung, worked = rows.rows(found)
    assert half.ours == (5.0,)
    assert failed.note == "failed: made_up_parts.py: there is no second half"
    assert hung.note == "out of time after 6 s"
    assert worked.ratios == [0.5, 1.0, 1.5]
    child = tmp_path / "child"
    for limit in (24, 96):  # where the machine was too busy to begin in time
        if not child.exists():
            run([part("hangs", limit, folder=str(tmp_path))], tmp_path / "again.jsonl")
    assert not running(int(child.read_text()))
    text = page(found)
    assert "measured peaks" in text and "there is no second half" in text
    *_, last, _ = text.splitlines()
    assert last.split("  ") and "this one" in last
    assert all(word in last for word in ("1.00", "0.50-1.50", "120", "60%", "50%"))


def test_no_part_begins_when_the_time_is_up(tmp_path):
    found = run([part("works", name="late")], tmp_path / "found.jsonl", seconds=1)
    (row,) = rows.rows(found)
    assert row.note == "not begun: 1 s are left"


def test_shares_and_ratios_of_a_row():
    row = Row("decode", "8 rows", "another", (0.5, 0.25), (1.0, 1.0, 2.0), counted=30.0, read=15.0)
    assert row.ratios == [0.5, 0.25]
    assert row.share(100.0, row.counted) == pytest.approx(0.8)
    assert Row("a", "b", note="failed").share(100.0, 30.0) is None
    cells = rows.cells(row, Peaks(flops=100.0))
    assert cells[3:7] == ["375 ms", "1 s", "0.38", "0.25-0.50"] and cells[9:11] == ["80%", ""]
    assert rows.amount(3 << 20, "bytes") == "3 MiB" and rows.amount(2e-5, "s") == "20 us"


def test_every_way_to_take_a_step_is_beside_ours_somewhere():
    asked = {}
    for one in bench.PARTS:
        if one.run == "benchmarks.steps:rows":
            asked.setdefault(one.given["case"], set()).update(one.given["others"])
    for case, others in asked.items():
        assert others | {"hf-compile"} >= set(rows_of(case)[1:]) and others <= set(rows_of(case))


def test_parts_are_chosen_by_name():
    assert {one.name for one in chosen(bench.PARTS, ["decode", "startup"])} == {"decode", "startup"}
    assert chosen(bench.PARTS, []) == list(bench.PARTS)
    with pytest.raises(ConfigError, match="dekode"):
        chosen(bench.PARTS, ["dekode"])
    assert "case=quickstart/stage0" in listed(bench.PARTS)


def test_every_part_is_a_function_that_takes_what_it_is_given():
    """Read from the sources: half of them import torch."""
    import ast

    for one in (*bench.PARTS, *gpu_suite.parts(gpu_suite.SMALL)):
        module, _, name = one.run.partition(":")
        source = (suite.ROOT / module.replace(".", "/")).with_suffix(".py").read_text()
        (function,) = [
            node for node in ast.parse(source).body
            if isinstance(node, ast.FunctionDef) and node.name == name
        ]  # fmt: skip
        given = {argument.arg for argument in function.args.args}
        assert function.args.kwarg or set(one.given) <= given, one.label
