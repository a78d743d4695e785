"""Tiny models with random weights, servers of them, and images to show."""

import functools
import io

import numpy as np
import pytest
from asked import png
from PIL import Image
from random_runs import TEXTS, random_runs

from zv_jax.data.text import tokenizers
from zv_jax.inference.model import from_pretrained
from zv_jax.serving.engine import Engine


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """`folder("stage2", "chat")`: the workdir of a tiny random model."""
    tokenizer = tokenizers.train_sentencepiece(TEXTS, 400, tmp_path_factory.mktemp("tokenizer"))
    return random_runs(tokenizer, tmp_path_factory)


@pytest.fixture(scope="session")
def model(folder):
    """`model("stage2", "chat")`: the same, loaded."""
    made = {}

    def make(stage="stage2", variant="chat"):
        if (stage, variant) not in made:
            made[stage, variant] = from_pretrained(folder(stage, variant))
        return made[stage, variant]

    return make


@pytest.fixture(scope="package")
def running(model):
    """The server that users run: HTTP in front of the engine."""
    from running import serving

    with serving(model(), kind=functools.partial(Engine, beams=(3,))) as found:
        yield found


@pytest.fixture(scope="session")
def images():
    """Three files of noise."""
    rng = np.random.default_rng(0)
    return [png(rng.integers(0, 256, (30 + i, 40, 3), np.uint8)) for i in range(3)]


@pytest.fixture(scope="session")
def shown(images):
    """The same, opened."""
    return [Image.open(io.BytesIO(file)) for file in images]
