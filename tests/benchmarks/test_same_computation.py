"""The PyTorch side of the benchmark computes what ours does, and a difference stops the timing."""

import dataclasses
import json

import numpy as np
import pytest

pytest.importorskip("torch")

from benchmarks import worker  # noqa: E402
from benchmarks.cases import CASES, case_config  # noqa: E402
from zv_jax.errors import CheckpointError  # noqa: E402

pytestmark = pytest.mark.parity
TINY = [name for name in CASES if name.startswith("tiny/")]


def changed(name: str, section: str, **fields):
    """The case with other fields in one part of its model, or of its stage."""
    config = case_config(name)
    if section == "stage":
        return dataclasses.replace(config, stage=dataclasses.replace(config.stage, **fields))
    part = dataclasses.replace(getattr(config.model, section), **fields)
    return dataclasses.replace(config, model=dataclasses.replace(config.model, **{section: part}))


@pytest.mark.parametrize("name", TINY)
def test_losses_and_gradients_agree(name, tmp_path):
    ours = worker.check_ours(name, tmp_path)
    found = worker.check_torch(name, tmp_path)
    assert found["largest_difference_of_losses"] < worker.LOSS_TOLERANCE
    first, second = (step["metrics"]["loss"] for step in ours["steps"])
    assert first != second  # the second step looks at trained parameters
    assert (ours["steps"][0]["negatives"] is not None) == name.endswith("stage0")


@pytest.mark.parametrize(
    "name, section, fields",
    [
        ("tiny/stage2_chat", "llm", {"tie_embeddings": True, "kv_heads": 4}),
        ("tiny/stage0", "stage", {"train_vision": True, "itm_pairs": "single"}),
    ],
)
def test_other_forms_of_the_model_agree(name, section, fields, tmp_path, monkeypatch):
    config = changed(name, section, **fields)
    monkeypatch.setitem(CASES, "tiny/other", lambda: config)
    worker.check_ours("tiny/other", tmp_path)
    worker.check_torch("tiny/other", tmp_path)


@pytest.mark.parametrize(
    "name, path",
    [
        ("tiny/stage0", "params/qformer/pairs/odd/ffn_text/fc1/kernel"),
        ("tiny/stage2_chat", "lora/llm/layers/attn/v/lora_b"),
    ],
)
def test_another_weight_is_refused(name, path, tmp_path):
    worker.check_ours(name, tmp_path)
    with np.load(tmp_path / worker.WEIGHTS) as stored:
        leaves = dict(stored)
    np.savez(tmp_path / worker.WEIGHTS, **leaves | {path: leaves[path] * 1.2})
    with pytest.raises(worker.DifferentError, match="in PyTorch"):
        worker.check_torch(name, tmp_path)
    del leaves[path]
    np.savez(tmp_path / worker.WEIGHTS, **leaves)
    with pytest.raises(CheckpointError, match=path):
        worker.check_torch(name, tmp_path)


def test_the_program_times_what_agrees(fresh_python, tmp_path):
    """Check, one round of every row, table and file."""
    out = tmp_path / "figures.json"
    done = fresh_python(
        str(worker.__file__).replace("worker.py", "steps.py"),
        "--cases", "tiny/stage2_base", "--rows", "torch,torch-malloc,hf", "--rounds", "1",
        "--steps", "1", "--threads", "1",
        "--out", str(out),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    case = json.loads(out.read_text("utf-8"))["cases"]["tiny/stage2_base"]
    rows = ["jax", "torch", "torch-malloc", "hf"]
    assert list(case["summary"]) == rows
    assert all(row["ms_min"] > 0 and row["peak_rss_bytes"] > 0 for row in case["summary"].values())
    assert [line.split()[1] for line in done.stdout.splitlines()[2:6]] == rows
