"""Intervals, the paired bootstrap, and `zv eval compare`."""

import json
from pathlib import Path

import numpy as np
import pytest

from zv_jax.cli import main as cli
from zv_jax.errors import DataError
from zv_jax.evaluation import compare, results, statistics


def test_an_interval_covers_the_true_mean_about_95_times_in_a_hundred():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        values = rng.random(60)
        low, high = statistics.interval(values, np.arange(60), seed=trial)
        covered += low <= 0.5 <= high
    assert 180 <= covered <= 198


def test_units_of_one_item_do_not_make_an_interval_narrower():
    values = np.random.default_rng(1).random(40)
    alone = statistics.interval(values, np.arange(40), seed=0)
    tenfold = statistics.interval(np.repeat(values, 10), np.repeat(np.arange(40), 10), seed=0)
    assert tenfold == pytest.approx(alone)


def test_the_interval_of_a_ratio_holds_the_ratio():
    rng = np.random.default_rng(2)
    below = rng.uniform(6, 10, 90)
    above = below * 0.8 + rng.normal(0, 0.5, 90)
    low, high = statistics.ratio_interval([(above, below)], seed=0)
    assert low < 100 * above.mean() / below.mean() < high
    assert high - low < 5
    # The mean over two halves drawn apart is about as sure as the whole.
    halves = [(above[:45], below[:45]), (above[45:], below[45:])]
    assert statistics.ratio_interval(halves, seed=0) == pytest.approx((low, high), abs=1)


def test_pairing_finds_a_small_difference_that_separate_intervals_hide():
    rng = np.random.default_rng(3)
    hard = rng.random(400)
    a = {str(i): [100 * h] for i, h in enumerate(hard)}
    b = {str(i): [100 * h + 1 + rng.normal(0, 2)] for i, h in enumerate(hard)}
    found = statistics.paired_difference(a, b)
    assert found.value == pytest.approx(1, abs=0.3)
    assert found.low > 0 and found.p < 0.01
    apart = statistics.interval(100 * hard, np.arange(400), 0)
    assert apart[1] - apart[0] > 5


def test_equal_runs_do_not_differ_and_exchanged_runs_differ_the_other_way():
    rng = np.random.default_rng(4)
    a = {str(i): list(rng.random(1 + i % 3)) for i in range(50)}
    b = {i: [v + rng.normal(0, 0.1) for v in values] for i, values in a.items()}
    same = statistics.paired_difference(a, a)
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)
    there, back = statistics.paired_difference(a, b), statistics.paired_difference(b, a)
    assert back.value == pytest.approx(-there.value)
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low))
    assert back.p == pytest.approx(there.p)


def test_only_common_items_count_and_none_is_an_error():
    a, b = {"1": [1.0], "2": [0.0]}, {"2": [1.0], "3": [1.0]}
    assert statistics.paired_difference(a, b).items == 1
    with pytest.raises(ValueError, match="no item in common"):
        statistics.paired_difference({"1": [1.0]}, {"2": [1.0]})


@pytest.fixture
def two_runs(evaluate, colours, tmp_path):
    """Folders of a model that sees and of one that takes every image for red."""
    folders = []
    for name, blind in (("sees", False), ("blind", True)):
        _, out = evaluate(colours(blind=blind), tasks=("vqa", "caption"), controls=())
        out.rename(tmp_path / name)
        folders.append(str(tmp_path / name))
    return folders


def test_two_evaluations_are_compared_item_by_item(two_runs, capsys):
    sees, blind = two_runs
    rows = {(r["task"], r["lang"], r["metric"]): r for r in compare.compare(blind, sees)}
    scores = json.loads(Path(sees, "results.json").read_text())["scores"]
    assert len(rows) == len(scores)
    for entry in scores:
        row = rows[entry["task"], entry["lang"], entry["metric"]]
        assert row["second"] == pytest.approx(entry["value"], abs=1e-4)
        assert row["value"] >= 0 and row["low"] <= row["value"] <= row["high"]
    assert cli.main(["eval", "compare", blind, sees]) == 0
    shown = capsys.readouterr().out
    assert "exact_match" in shown and "B - A" in shown
    assert cli.main(["eval", "compare", blind, sees, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == len(rows)


def test_what_does_not_mean_the_same_is_not_compared(two_runs, capsys):
    sees, blind = two_runs
    file = Path(blind, "results.json")
    results = json.loads(file.read_text())
    results["scores"][0]["protocol"] += "|other"
    file.write_text(json.dumps(results))
    with pytest.raises(DataError, match="measured in two ways: protocol differs"):
        compare.compare(sees, blind)
    assert cli.main(["eval", "compare", sees]) == 2
    assert "two folders" in capsys.readouterr().err
    assert cli.main(["eval", "compare", sees, sees + "/nothing"]) == 2
    assert "results.json is missing" in capsys.readouterr().err


@pytest.mark.parametrize("values", [[], [1.0, np.nan], [np.inf, 0.0]])
def test_no_interval_is_given_of_what_is_no_number(values):
    values = np.array(values)
    with pytest.raises(ValueError, match="finite"):
        statistics.interval(values, np.arange(len(values)), seed=0)
    with pytest.raises(ValueError, match="finite"):
        statistics.ratio_interval([(values, values)], seed=0)
    with pytest.raises(ValueError):
        statistics.paired_difference({"a": list(values)}, {"a": list(values)})


@pytest.mark.parametrize(
    "change,words",
    [
        (lambda row: row | {"values": [float("nan")]}, "not all finite"),
        (lambda row: row | {"values": []}, "not all finite"),
        (lambda row: row | {"id": "elsewhere"}, "has values of 3 items in A and of 4 in B"),
    ],
)
def test_a_value_that_is_missing_or_no_number_is_not_compared(tmp_path, change, words):
    score = {"task": "vqa", "lang": "en", "metric": "m", "protocol": "p", "ids_sha256": "i"}
    rows = [{"task": "vqa", "lang": "en", "metric": "m", "id": i, "values": [1]} for i in "abc"]
    for name, last in (("A", []), ("B", [change(rows[-1])])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps({"scores": [score]}))
        lines = "".join(json.dumps(row) + "\n" for row in [*rows, *last])
        (tmp_path / name / "items.jsonl").write_text(lines)
    with pytest.raises(DataError, match=words):
        compare.compare(tmp_path / "A", tmp_path / "B")


def test_a_sure_difference_is_never_surer_than_its_draws():
    below = {str(i): [0.0] for i in range(20)}
    above = {str(i): [1.0] for i in range(20)}
    assert statistics.paired_difference(below, above).p == 2 / (statistics.RESAMPLES + 1)


def test_groups_of_a_ratio_are_drawn_apart():
    rng = np.random.default_rng(5)
    group = rng.uniform(1, 10, 60), rng.uniform(5, 10, 60)
    alone = np.ptp(statistics.ratio_interval([group], seed=0))
    both = np.ptp(statistics.ratio_interval([group, group], seed=0))
    assert both == pytest.approx(alone / 2**0.5, rel=0.15)


def test_a_number_that_is_no_mean_over_items_is_not_compared_item_by_item(tmp_path):
    folders = [tmp_path / "A", tmp_path / "B"]
    for folder, value in zip(folders, (10.0, 90.0), strict=True):
        writer = results.Writer(folder)
        mean = results.per_item("accuracy", [1.0, value], "p")
        whole = results.Measure("ap", np.array([value]), np.zeros(1, int), "p", whole=(5.0, 95.0))
        facts = {"protocol": "p", "expected": 2, "ids": "ab", "controls": {}, "control_n": {}}
        scores = [results.entry("t", "en", m, seed=0, **facts) for m in (mean, whole)]
        for measure in (mean, whole):
            writer.items("t", "en", measure, "ab")
        writer.finish({"scores": scores})
        assert (scores[1]["interval"], scores[1]["n"]) == ([5.0, 95.0], 2)
    assert [row["metric"] for row in compare.compare(*folders)] == ["accuracy"]
