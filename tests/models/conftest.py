"""Tiny models whose every parameter is random: fresh ones hide mistakes behind zeros and ones."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zv_jax.models.axes import unboxed
from zv_jax.models.presets import preset
from zv_jax.models.ziya_visual import ZiyaVisual


def randomised(variables: dict, seed: int = 0, scale: float = 0.2) -> dict:
    """The same tree with numpy noise in every leaf; scales stay around 1."""
    rng = np.random.default_rng(seed)

    def noise(path, leaf):
        offset = 1.0 if path[-1].key == "scale" else 0.0
        values = offset + scale * rng.standard_normal(leaf.shape)
        return jnp.asarray(values, leaf.dtype)

    return jax.tree_util.tree_map_with_path(noise, variables)


def touch_all(model: ZiyaVisual, images, ids, mask) -> None:
    """Makes the parameters of every tower and head."""
    features = model.encode_images(images)
    queries, _ = model.caption(features, ids, mask)
    model.project_queries(queries)
    model.text_embed(ids, mask)
    model.match(features, ids, mask)
    model(images[:, None], ids, mask, ids, mask)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _run(model: ZiyaVisual, method: str, variables: dict, *arguments):
    return model.apply(variables, *arguments, method=method)


@dataclasses.dataclass(frozen=True)
class Tiny:
    """A model, its random variables, and methods by name under jit."""

    model: ZiyaVisual
    variables: dict

    def __call__(self, method: str, *arguments):
        return _run(self.model, method, self.variables, *arguments)


def build(name: str, lora_scale: float = 0.2, **changes) -> Tiny:
    """`changes` replace fields of the preset `name`."""
    model = ZiyaVisual(dataclasses.replace(preset(name), **changes))
    size = model.cfg.vision.image_size
    images, ids = jnp.zeros((1, size, size, 3)), jnp.zeros((1, 2), jnp.int32)
    shapes = unboxed(
        jax.eval_shape(
            lambda: model.init(
                jax.random.key(0), images, ids, jnp.ones_like(ids, bool), method=touch_all
            )
        )
    )
    variables = randomised({"params": shapes["params"]})
    if "lora" in shapes:
        variables["lora"] = randomised(shapes["lora"], 1, lora_scale)
    return Tiny(model, variables)


@pytest.fixture(scope="session")
def make_tiny():
    """`make_tiny(preset, **changes)`: a `Tiny` with random weights, the same for the same tree."""
    return build


@pytest.fixture(scope="session")
def tiny_base() -> Tiny:
    return build("tiny_base")


@pytest.fixture(scope="session")
def tiny_chat() -> Tiny:
    return build("tiny_chat")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def shown(rng) -> jax.Array:
    """Three images [3, 28, 28, 3]."""
    return jnp.asarray(rng.standard_normal((3, 28, 28, 3)), jnp.float32)
