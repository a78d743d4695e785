"""Which parts of a batch of pairs may move the terms of stage 0, and which may not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from synthetic import ROWS, batch, tiny, variables

from zv_jax.models.axes import on_mesh
from zv_jax.models.ziya_visual import ZiyaVisual
from zv_jax.parallel.hardware import MeshConfig
from zv_jax.parallel.sharding import make_mesh
from zv_jax.stages import stage_model
from zv_jax.training.losses.pairs import pretraining_terms
from zv_jax.training.state import merge


@pytest.fixture(scope="module")
def terms():
    """`terms(batch, image_of, text_of)`: every term as (sum, weight), with these negatives."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    config = tiny("stage0", "base")
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    with on_mesh(mesh):
        held = variables(config, mesh)
    # Larger than at the start of training, so that terms depend on what is read.
    scaled = {k: x * 10 if x.ndim > 1 else x for k, x in held.trainable.items()}
    leaves = merge(scaled, held.frozen)
    model = ZiyaVisual(stage_model(config))

    @jax.jit
    def run(leaves, rows, image_of, text_of):
        return model.apply(
            leaves, rows, jax.random.key(0), config, (image_of, text_of), method=pretraining_terms
        )

    yield lambda rows, *negatives: run(leaves, rows, *(jnp.array(n) for n in negatives))
    jax.config.update("jax_disable_most_optimizations", before)


NEXT = (np.arange(ROWS) + 1) % ROWS


def test_padding_of_a_negative_text_is_not_read(terms):
    rows = batch("pairs")
    lengths = rows["text_mask"].sum(1)
    assert (lengths[NEXT] < lengths).any(), "a negative that is shorter than the positive"
    other = {**rows, "text_ids": np.where(rows["text_mask"], rows["text_ids"], 77)}
    before, after = terms(rows, NEXT, NEXT), terms(other, NEXT, NEXT)
    jax.tree.map(np.testing.assert_array_equal, before, after)
    moved = terms(rows, NEXT, NEXT[::-1])["itm"][0] - before["itm"][0]
    assert abs(moved) > 1e-3, "what is read counts"


def test_rows_without_a_negative_teach_none(terms):
    """All rows show one image: what stands in for negatives has no weight."""
    rows = {**batch("pairs"), "image_ids": np.zeros(ROWS, np.int32)}
    one, other = terms(rows, NEXT, NEXT), terms(rows, NEXT[::-1], NEXT[::-1])
    assert float(one["itm"][1]) == float(one["itm_accuracy"][1]) == ROWS
    np.testing.assert_array_equal(one["itm"][0], other["itm"][0])
    mixed = terms(batch("pairs"), NEXT, NEXT)
    assert float(mixed["itm"][1]) == 3 * ROWS
