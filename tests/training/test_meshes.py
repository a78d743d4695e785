"""The same step on other meshes and in other parts: losses and updated parameters stay the same.

Eight CPU devices; the second step's loss tells of every gradient of the first.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import synthetic

from zv_jax.errors import ConfigError
from zv_jax.models.axes import check_heads
from zv_jax.training.checks import check_batch

MESHES = ("1x1x1", "8x1x1", "1x8x1", "2x2x2")


def agree(fresh_python, name: str, variant: str, *ways: str) -> dict:
    """Runs the step in all `ways` in one process and compares them with the first."""
    done = fresh_python(
        synthetic.__file__, name, variant, *ways,
        devices=8, timeout=900, JAX_DISABLE_MOST_OPTIMIZATIONS="1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout.splitlines()[-1])
    losses, _ = report[ways[0]]
    assert losses[0] != losses[2]
    for way in ways[1:]:
        np.testing.assert_allclose(report[way][0], losses, 1e-5, err_msg=way)
        assert report[way][1] < 1e-5, way
    return report


@pytest.mark.parametrize(
    "name, variant, ways",
    [
        # ITC and its negatives span the batch, however it is split.
        ("stage0", "base", ("1x1x1", "2x2x2")),
        pytest.param("stage0", "base", ("1x1x1", "1x1x1,microbatches=4"), marks=pytest.mark.slow),
        # Rows have different numbers of labelled tokens: a mean of means would differ.
        ("stage2", "chat", ("1x1x1", "1x1x1,microbatches=8")),
        pytest.param("stage2", "chat", ("1x1x1", "2x2x2"), marks=pytest.mark.slow),
    ],
)
def test_the_step_is_the_same_on_other_meshes_and_in_parts(fresh_python, name, variant, ways):
    agree(fresh_python, name, variant, *ways)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, variant",
    [
        ("language", "base"),
        ("stage0", "base"),
        ("stage0", "chat"),
        ("stage1", "base"),
        ("stage1", "chat"),
        ("stage2", "base"),
        ("stage2", "chat"),
    ],
)
def test_every_stage_on_every_mesh(fresh_python, name, variant):
    agree(fresh_python, name, variant, *MESHES)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, variant, ways",
    [
        ("stage0", "base", ("1x1x1,itc_gather_grad=false", "2x4x1,itc_gather_grad=false")),
        ("stage0", "chat", ("1x1x1,itm_group=4", "2x2x2,itm_group=4", "8x1x1,itm_group=4")),
        ("stage0", "base", ("1x1x1", "2x2x1,microbatches=2")),
        ("stage2", "chat", ("1x1x1", "2x2x1,microbatches=2", "1x1x1,loss_chunks=2")),
    ],
)
def test_parts_agree(fresh_python, name, variant, ways):
    agree(fresh_python, name, variant, *ways)


def abstract(data: int = 2, fsdp: int = 2, tensor: int = 2):
    from jax.sharding import AbstractMesh

    return AbstractMesh((data, fsdp, tensor), ("data", "fsdp", "tensor"))


@pytest.mark.parametrize(
    "changes, field",
    [
        ({"microbatches": 3}, "train.batch_size"),
        ({"itm_group": 3}, "stage.itm_group"),
        ({"loss_chunks": 7}, "train.loss_chunks"),
    ],
)
def test_a_batch_that_does_not_divide_is_refused_with_the_nearest_that_does(changes, field):
    check_batch(synthetic.tiny("stage0", "base"), abstract())
    with pytest.raises(ConfigError) as caught:
        check_batch(synthetic.tiny("stage0", "base", **changes), abstract())
    assert caught.value.where == field and "--config." + field in caught.value.fix


@pytest.mark.parametrize("stage, refused", [("stage0", False), ("stage2", True)])
def test_no_row_is_longer_than_the_language_model_has_positions(stage, refused):
    """Beyond them it would be trained on angles that it never saw, without a word."""
    config = synthetic.tiny(stage, "base")
    longer = replace(config.data, max_length=config.model.llm.max_positions + 1)
    config = replace(config, data=longer)
    if not refused:
        check_batch(config, abstract())
        return
    with pytest.raises(ConfigError, match="positions of the language model") as caught:
        check_batch(config, abstract())
    assert caught.value.where == "data.max_length"


def test_the_vision_warm_up_takes_no_microbatches():
    """Its two terms have different weights, so the parts' sums cannot be divided once."""
    with pytest.raises(ConfigError, match="train.microbatches"):
        check_batch(synthetic.tiny("vision", "base", microbatches=2), abstract())


def test_tensor_parallelism_cuts_no_head():
    model = synthetic.tiny("stage0", "base").model
    check_heads(model, abstract(tensor=2))
    with pytest.raises(ConfigError, match="2 heads cannot be spread over tensor=4") as caught:
        check_heads(model, abstract(tensor=4))
    assert caught.value.where == "model.llm.kv_heads"


def test_batches_of_synthetic_rows_weigh_parts_differently():
    """Guards the test of microbatches above: equal weights would let a mean of means pass."""
    labels = synthetic.batch("dialogues")["labels"]
    assert len({int((row >= 0).sum()) for row in labels}) > 1
