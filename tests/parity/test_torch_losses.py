"""Losses and interpolation against PyTorch's own."""

import jax.numpy as jnp
import numpy as np
import pytest

from zv_jax.models.vit import resize_positions
from zv_jax.objectives import itg, lm_loss
from zv_jax.objectives.language import cross_entropy

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
F = torch.nn.functional
RNG = np.random.default_rng(6)
LOGITS = RNG.standard_normal((3, 7, 13)).astype(np.float32)
TARGETS = RNG.integers(0, 13, (3, 7))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy(smoothing):
    expected = F.cross_entropy(
        torch.from_numpy(LOGITS).reshape(-1, 13), torch.from_numpy(TARGETS).reshape(-1),
        label_smoothing=smoothing,
    )  # fmt: skip
    total, weight = cross_entropy(LOGITS, jnp.asarray(TARGETS), jnp.ones((3, 7)), smoothing)
    np.testing.assert_allclose(total / weight, expected, rtol=2e-6)


def test_shifted_losses_with_ignored_tokens():
    mask = np.arange(7) < np.array([[7], [4], [2]])
    labels = np.where(mask, TARGETS, -100)
    logits = torch.from_numpy(LOGITS[:, :-1]).reshape(-1, 13)
    for smoothing, term in (
        (0.1, itg(LOGITS, jnp.asarray(TARGETS), jnp.asarray(mask), 0.1)),
        (0.0, lm_loss(LOGITS, jnp.asarray(labels))),
    ):
        expected = F.cross_entropy(
            logits, torch.from_numpy(labels[:, 1:]).reshape(-1), ignore_index=-100,
            label_smoothing=smoothing,
        )  # fmt: skip
        np.testing.assert_allclose(term[0] / term[1], expected, rtol=2e-6)


@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("side, grid", [(4, (6, 6)), (16, (26, 26)), (16, (35, 35)), (6, (4, 5))])
def test_position_table(side, grid, corners):
    table = RNG.standard_normal((1, 1 + side * side, 3)).astype(np.float32)
    square = torch.from_numpy(table[:, 1:]).reshape(1, side, side, 3).permute(0, 3, 1, 2)
    expected = F.interpolate(square, size=grid, mode="bicubic", align_corners=corners)
    expected = expected.permute(0, 2, 3, 1).reshape(1, -1, 3)
    got = resize_positions(jnp.asarray(table), grid, corners)
    np.testing.assert_array_equal(got[:, 0], table[:, 0])
    np.testing.assert_allclose(got[:, 1:], expected, atol=5e-6)
