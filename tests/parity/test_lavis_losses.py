"""The losses of stage 0 against LAVIS's five passes, restated in PyTorch with its names."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zv_jax import trees
from zv_jax.config import recipe, validate
from zv_jax.convert import lavis_names, stream
from zv_jax.models.axes import unboxed
from zv_jax.models.presets import ModelConfig, QFormerConfig, VisionConfig
from zv_jax.models.ziya_visual import ZiyaVisual
from zv_jax.stages import stage_model, stage_of
from zv_jax.training.losses.pairs import pretraining_terms
from zv_jax.training.state import abstract_variables

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")

import lavis_model as lavis  # noqa: E402

SIZES = lavis.Sizes()
LOSSES = ("itc", "itm", "itg")
RNG = np.random.default_rng(5)
BATCH, LENGTH = 6, 9
IMAGES = RNG.standard_normal((BATCH, 28, 28, 3)).astype(np.float32)
IDS = RNG.integers(3, SIZES.vocab - 1, (BATCH, LENGTH))
MASK = np.arange(LENGTH) < np.array([9, 5, 7, 2, 9, 3])[:, None]
BOS = SIZES.vocab - 1
NEGATIVES = np.array([1, 2, 0, 5, 3, 0]), np.array([4, 0, 5, 1, 2, 3])  # image, text


def config(gather_grad: bool):
    model = dataclasses.asdict(
        ModelConfig(
            vision=VisionConfig(
                image_size=28, width=SIZES.vision, layers=SIZES.blocks, heads=SIZES.vision_heads,
                mlp_width=SIZES.vision_mlp, ln_vision_eps=1e-5,
            ),
            qformer=QFormerConfig(
                num_queries=SIZES.queries, width=SIZES.width, layers=SIZES.layers,
                heads=SIZES.heads, mlp_width=SIZES.mlp, vocab_size=SIZES.vocab,
                max_positions=SIZES.positions, embed_dim=SIZES.embed, dropout=0.0,
            ),
            preset="tiny_chat", dtype="float32", remat="none",
        )
    )  # fmt: skip
    stage = {"name": "stage0", "variant": "chat", "itc_gather_grad": gather_grad}
    return validate(recipe("tiny_chat", model=model, stage=stage))


@pytest.fixture(scope="module")
def both():
    """A model with LAVIS's names, every parameter random, and our leaves of the same numbers."""
    model = lavis.Blip2Qformer(SIZES)
    lavis.randomise(model)
    run = config(True)
    table = lavis_names.family("eva", heads=True, text=True)
    shapes = trees.flatten(unboxed(abstract_variables(run, stage_of(run))))
    found, coverage = stream.plan(table, lavis.Memory(model.state_dict()), shapes)
    assert not coverage.missing and not coverage.unexpected
    assert len(coverage.unused) == 3  # position_ids, and the tied decoder's two
    return model, {path: leaf.value() for path, leaf in found.items()}


def theirs(model, gather_grad: bool) -> dict[str, tuple[float, float]]:
    """Loss and norm of its gradient, for each of the three."""
    losses = model.losses(
        torch.from_numpy(IMAGES.transpose(0, 3, 1, 2).copy()), torch.from_numpy(IDS),
        torch.from_numpy(MASK.astype(int)), tuple(map(torch.from_numpy, NEGATIVES)), BOS,
        gather_grad,
    )  # fmt: skip
    out = {}
    for name, loss in losses.items():
        gradient = torch.autograd.grad(
            loss, list(model.parameters()), retain_graph=True, allow_unused=True
        )
        squares = [g.double().square().sum() for g in gradient if g is not None]
        out[name] = float(loss.detach()), float(sum(squares).sqrt())
    return out


def ours(leaves, gather_grad: bool) -> dict[str, tuple[float, float]]:
    run = config(gather_grad)
    model = ZiyaVisual(stage_model(run))
    batch = {
        "images": IMAGES,
        "text_ids": jnp.asarray(IDS),
        "text_mask": jnp.asarray(MASK),
        "text_learned": jnp.asarray(MASK),
        "image_ids": jnp.arange(BATCH),
        "dec_id": jnp.asarray(BOS),
    }

    def loss(flat, chosen):
        terms = model.apply(
            trees.unflatten(flat), batch, jax.random.key(0), run,
            tuple(map(jnp.asarray, NEGATIVES)), method=pretraining_terms,
        )  # fmt: skip
        means = jnp.stack([terms[name][0] / terms[name][1] for name in LOSSES])
        return means @ chosen

    run_one = jax.jit(jax.value_and_grad(loss))  # compiled once for the three of them
    out = {}
    for name, chosen in zip(LOSSES, np.eye(3, dtype=np.float32), strict=True):
        value, gradient = run_one(leaves, chosen)
        squares = [np.square(g, dtype=np.float64).sum() for g in jax.tree.leaves(gradient)]
        out[name] = float(value), float(np.sqrt(np.sum(squares)))
    return out


@pytest.mark.parametrize("gather_grad", [True, False])
def test_losses_and_gradient_norms(both, gather_grad):
    """`gather_grad=False`: the other side of the contrast is constant, as on several GPUs."""
    model, leaves = both
    expected, got = theirs(model, gather_grad), ours(leaves, gather_grad)
    for name in LOSSES:
        assert min(expected[name]) > 1e-2
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-5, err_msg=name)
    other = theirs(model, not gather_grad)
    assert abs(other["itc"][1] / expected["itc"][1] - 1) > 1e-2  # the switch does something
