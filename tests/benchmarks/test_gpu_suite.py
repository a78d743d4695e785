"""The suite for GPUs, rehearsed on a CPU with a tiny model."""

import statistics
from dataclasses import replace

import pytest

from benchmarks import gpu_parts, gpu_suite, rows
from benchmarks.rows import Row
from benchmarks.suite import run
from zv_jax.errors import SetupError
from zv_jax.files import read_jsonl

QUICK = "benchmarks.peaks:measure", "benchmarks.gpu_parts:attention"


def rehearsed(parts, tmp_path):
    """What they found, with time enough on a busy machine."""
    out = tmp_path / "gpu.jsonl"
    found = run([replace(part, limit=600) for part in parts], out, name="gpu")
    assert found[0]["suite"] == "gpu" and found == read_jsonl(out)
    return found


def test_the_model_of_the_recipe_is_what_is_measured():
    stage2 = gpu_parts.config("stage2", "13b", 16)
    assert stage2.model.llm.layers == 40 and stage2.data.max_length == 1024
    assert (stage2.train.batch_size, stage2.train.microbatches) == (16, 1)
    stage0 = gpu_parts.config("stage0", "7b", 64)
    assert stage0.model.vision.width == 1408 and stage0.train.microbatches == 1
    for size in gpu_suite.SIZES:
        assert gpu_parts.PRESETS[size.model]


def test_parts_come_in_order_of_worth_and_within_the_time():
    parts = gpu_suite.parts(gpu_suite.SIZES[0])
    environment = parts[1].environment
    assert parts[1].given["remat"] == "names"
    assert environment["XLA_CLIENT_MEM_FRACTION"] == ".95"
    assert {"unsafe_rbg", "rbg"} <= {p.given.get("random_bits") for p in parts}
    # What comes first would fit into twelve minutes if all of it took as long as it may.
    assert sum(part.limit for part in parts[:7]) <= 12 * 60


def test_without_a_gpu_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match="no NVIDIA GPU"):
        gpu_suite.memory()


def test_ours_beside_which_others_stand_is_the_fastest(tmp_path):
    out = tmp_path / "found.jsonl"
    for seconds in ((2.0, 2.0), (1.0, 3.0, 1.0), ()):
        rows.write(out, "row", Row("steps", "a step", ours=seconds))
    assert gpu_parts.fastest(str(out), "steps", "a step") == (1.0, 3.0, 1.0)
    assert gpu_parts.fastest(str(out), "steps", "another") == ()


def test_a_rehearsal_of_the_quickest_parts(tmp_path):
    found = rehearsed([p for p in gpu_suite.parts(gpu_suite.SMALL) if p.run in QUICK], tmp_path)
    (row,) = rows.rows(found)
    assert not row.note and len(row.ours) == len(row.theirs) and min(row.ours) > 0
    assert row.share(rows.peaks(found).flops, row.counted) > 0


@pytest.mark.slow
def test_a_rehearsal_of_all_parts(tmp_path):
    found = rehearsed(gpu_suite.parts(gpu_suite.SMALL), tmp_path)
    wrong = [line["wrong"] for line in found if line["kind"] == "end" and line["wrong"]]
    assert all("is not installed" in text for text in wrong), wrong
    measured = [row for row in rows.rows(found) if row.ours]
    assert {"steps", "startup", "decode", "attention"} <= {row.part for row in measured}
    steps = [row for row in measured if row.part == "steps"]
    assert len({row.note for row in steps if not row.beside}) >= 6
    assert all(statistics.median(row.ours) > 0 for row in steps)
    for row in steps:
        if not row.beside:
            assert row.counted == pytest.approx(row.compiled, rel=0.25)
