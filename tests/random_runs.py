"""Tiny models with random weights, saved as a training run saves them."""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from zv_jax.checkpoints.manager import Checkpointer
from zv_jax.config.build import recipe, to_dict, validate
from zv_jax.config.schema import CheckpointConfig
from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.models.axes import on_mesh
from zv_jax.parallel.sharding import make_mesh
from zv_jax.stages import stage_of
from zv_jax.training.state import fresh_variables, partition

TEXTS = [
    "<human>:What is in the picture?\n<bot>: a red square and a blue circle",
    "<human>:图里有什么？\n<bot>: 一个红色的方块和一个蓝色的圆。",
    "Where is it? How many are there? Is it above the other one? two three left right",
]


def random_run(
    folder: Path,
    tokenizer: Tokenizer,
    stage: str,
    variant: str,
    positions: int = 128,
    head_dim: int = 0,
    *,
    step: int = 1,
) -> Path:
    """Makes `folder` the workdir of a run of that stage; `tokenizer` serves both towers.

    Called again with another `step`, it saves that one too, with other weights.
    """
    model = {
        "llm": {"vocab_size": 512, "max_positions": positions, "head_dim": head_dim},
        "qformer": {"vocab_size": 512},
        "image_token_id": 511,
    }
    data = {"max_length": 64, "max_text": 16, "max_qformer_text": 32}
    config = validate(
        recipe(f"tiny_{variant}", stage={"name": stage, "variant": variant}, data=data, model=model)
    )
    mesh = make_mesh(config.mesh)
    with on_mesh(mesh):
        flat, _ = fresh_variables(config, stage_of(config), mesh)
    # Larger than at the start of training, so that answers depend on all of the input.
    rng = np.random.default_rng(2 + step)
    flat = {
        name: leaf if leaf.ndim < 2 else leaf + 0.2 * rng.standard_normal(leaf.shape, "f4")
        for name, leaf in flat.items()
    }
    both = partition(flat, stage_of(config), config)
    meta = {"config": to_dict(config), "tokenizers": [tokenizer.fingerprint] * 2}
    with Checkpointer(folder, CheckpointConfig(every=1, keep=9)) as saver:
        saver.save(step, {"trainable": both.trainable}, both.frozen, meta, force=True)
    tokenizer.save(folder / "tokenizer")
    tokenizer.save(folder / "qformer_tokenizer")
    return folder


def random_runs(
    tokenizer: Tokenizer, factory: pytest.TempPathFactory
) -> Callable[[str, str], Path]:
    """`runs("stage2", "chat")`: the workdir of that random run, made when first asked for."""

    @functools.cache
    def make(stage: str, variant: str = "chat") -> Path:
        return random_run(factory.mktemp(f"{stage}_{variant}"), tokenizer, stage, variant)

    return make
