"""The shapes that the paper names, at a small width: 256 x 768 to 64, 364 and 490 pixels."""

import jax
import numpy as np
import pytest
import synthetic

from zv_jax.config import recipe, validate
from zv_jax.config.schema import Config
from zv_jax.models import presets
from zv_jax.models.axes import on_mesh
from zv_jax.parallel.hardware import MeshConfig
from zv_jax.parallel.sharding import make_mesh
from zv_jax.stages import batch_spec, stage_of

PAPER = presets.preset("ziya_visual_chat_13b_256x768")


@pytest.fixture(autouse=True, scope="module")
def _quick_compilation():
    """Compilation is most of the time of these tests; the arithmetic is the same."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def config(stage: str, side: int, drop_cls: bool = False, qformer: dict | None = None) -> Config:
    """The tiny preset with the patches of a full-size image, two rows a batch."""
    queries = (qformer or {}).get("num_queries", 4)
    return validate(
        recipe(
            "tiny_chat",
            model={"vision": {"image_size": side, "drop_cls": drop_cls}, "qformer": qformer or {}},
            stage={"name": stage, "variant": "chat", "itm_pairs": "single"},
            data={"max_text": 6, "max_length": queries + 8, "max_qformer_text": 5},
            optimizer={"lr": 3e-3, "schedule": "constant"},
            train={"batch_size": 2, "steps": 10},
        )
    )


def rows(config: Config) -> dict[str, np.ndarray]:
    """A batch of random images and words, as `batch_spec` has it."""
    rng, found = np.random.default_rng(0), {}
    for name, (shape, dtype) in batch_spec(config).items():
        low, high = {"images": (0, 256)}.get(name, (1, 2) if dtype.kind == "b" else (4, 120))
        found[name] = rng.integers(low, high, shape).astype(dtype)
    if "image_ids" in found:
        return found | {"image_ids": np.arange(2, dtype=np.int32), "dec_id": np.int32(3)}
    queries = config.model.qformer.num_queries
    found["input_ids"][:, :queries] = config.model.image_token_id
    found["labels"][:, : queries + 4] = -100
    return found


def losses(config: Config, steps: int) -> tuple[list[float], dict, dict]:
    """Of some steps on one batch; the trained leaves before and after."""
    mesh = make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])
    with on_mesh(mesh):
        leaves, state, step = synthetic.start(config, mesh)
        before = {path: np.asarray(leaf) for path, leaf in state.trainable.items()}
        batch, found = synthetic.on_devices(rows(config), mesh), []
        for _ in range(steps):
            state, metrics = step(state, leaves.frozen, batch)
            found.append(float(metrics["loss"]))
    return found, before, {path: np.asarray(leaf) for path, leaf in state.trainable.items()}


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["stage0", "stage1"])
def test_256_patches_become_64_queries_through_a_linear_layer_that_is_trained(stage):
    paper, width = PAPER.qformer, 24  # 768 in the paper
    small = {"num_queries": paper.num_queries, "pre_proj_dim": width}
    of_paper = config(stage, PAPER.vision.image_size, PAPER.vision.drop_cls, small)
    assert (of_paper.model.vision.tokens, paper.num_queries) == (256, 64)
    assert (PAPER.vision.tokens, paper.pre_proj_dim) == (256, 768)
    found, before, after = losses(of_paper, 4)
    assert np.isfinite(found).all() and found[-1] < found[0]
    (layer,) = (path for path in after if "pre_proj" in path and path.endswith("kernel"))
    assert after[layer].shape == (of_paper.model.vision.width, width)
    assert (after[layer] != before[layer]).any()
    assert after["params/qformer/query_tokens"].shape[1] == 64


@pytest.mark.slow
@pytest.mark.parametrize("side, tokens", [(364, 26**2 + 1), (490, 35**2 + 1)])
def test_larger_images_are_trained(side, tokens):
    larger = config("stage0", side)
    assert larger.model.vision.tokens == tokens
    assert stage_of(larger).batch == "pairs"
    found, before, after = losses(larger, 1)
    assert np.isfinite(found).all()
    assert any((after[path] != before[path]).any() for path in after)
