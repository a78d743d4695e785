"""Benchmarks without torch: batches, comparison, figures and the command line."""

import numpy as np
import pytest

from benchmarks import steps
from benchmarks.cases import CASES, case_config, make_batch
from benchmarks.report import summarise, table
from benchmarks.worker import DifferentError, compare
from zv_jax.errors import ConfigError

SMALL_ENOUGH = [name for name in CASES if not name.startswith("small/")]


@pytest.mark.parametrize("name", SMALL_ENOUGH)
def test_batches_are_those_of_the_pipeline(name):
    config = case_config(name)
    batch, data, model = make_batch(config), config.data, config.model
    again = make_batch(config)
    for key, value in batch.items():
        np.testing.assert_array_equal(value, again[key])
    assert batch["images"].dtype == np.uint8
    if "labels" not in batch:
        assert batch["text_ids"].shape == (config.train.batch_size, data.max_text)
        assert (batch["text_ids"][~batch["text_mask"]] == 0).all()
        return
    mask, labels = batch["attention_mask"], batch["labels"]
    placeholders = (batch["input_ids"] == model.image_token_id).sum(1)
    assert (placeholders == data.max_images * model.qformer.num_queries).all()
    assert (np.diff(mask.astype(int), axis=1) <= 0).all()  # padded on the right
    labelled = labels != -100
    assert (labelled.sum(1) >= 1).all() and (labelled.sum(1) <= data.max_answer).all()
    assert (labels[labelled] == batch["input_ids"][labelled]).all() and mask[labelled].all()


@pytest.mark.parametrize("name", CASES)
def test_cases_are_float32_without_dropout(name):
    model = case_config(name).model
    assert (model.dtype, model.param_dtype) == ("float32", "float32")
    assert model.qformer.dropout == model.lora.dropout == model.vision.drop_path == 0


def test_comparison():
    ours = {"loss": 2.0, "lm": 2.0, "token_accuracy": 0.1, "grad_norm": 5.0, "lr": 1.0}
    theirs = {"loss": 2.00005, "lm": 2.0, "token_accuracy": 0.2, "grad_norm": 5.004}
    assert compare(ours, theirs, "here") == pytest.approx(5e-5, rel=1e-3)
    for name, value in (("lm", 2.001), ("grad_norm", 5.01), ("loss", float("nan"))):
        with pytest.raises(DifferentError, match=name):
            compare(ours, theirs | {name: value}, "here")


def test_figures_and_table():
    def part(*seconds, peak):
        median = float(np.median(seconds))
        return {
            "seconds": seconds, "median": median, "peak_rss_bytes": peak * 2**20,
            "until_first_step_seconds": 3.0 + peak,
        }  # fmt: skip

    rounds = {
        "jax": [part(0.1, 0.2, 0.2, peak=5), part(0.2, 0.2, 0.3, peak=6)],
        "torch": [part(0.4, 0.4, 0.4, peak=7), part(0.2, 0.4, 0.8, peak=1)],
    }
    found = summarise(rounds)
    assert found["torch"]["jax_over_row"] == pytest.approx(0.5)
    assert found["torch"]["jax_over_row_by_round"] == pytest.approx([0.5, 0.5])
    assert found["torch"]["ms_min"] == pytest.approx(200)
    assert found["jax"]["peak_rss_bytes"] == 6 * 2**20
    head, ours, theirs = table({"tiny/x": found}).splitlines()
    assert head.split()[0] == "case"
    assert ours.split() == ["tiny/x", "jax", "200.0", "100.0", "6", "8.0"]
    assert theirs.split() == ["tiny/x", "torch", "400.0", "200.0", "0.50", "0.50-0.50", "7", "4.0"]


def test_command_line():
    options = steps.parse(["--rows", "torch", "--cases", "tiny/stage0"])
    assert options.rows == ["jax", "torch"] and options.cases == ["tiny/stage0"]
    assert not any(name.startswith("tiny/") for name in steps.parse([]).cases)
    for wrong in (["--cases", "tiny/stage9"], ["--rows", "tprch"], ["--steps", "0"]):
        with pytest.raises(ConfigError, match="unknown|0 steps"):
            steps.parse(wrong)
