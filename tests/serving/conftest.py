"""A tiny model of each variant with random weights, loaded, and images to ask about."""

import jax
import numpy as np
import pytest
from PIL import Image
from random_runs import TEXTS, random_runs

from zv_jax.data.text import tokenizers
from zv_jax.inference.model import from_pretrained


@pytest.fixture(scope="module")
def quick_compilation():
    """Compilation is most of the time of these tests; the arithmetic is the same."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="session")
def workdir(tmp_path_factory):
    """`workdir("stage2", "chat")`: the folder of a run whose weights are random."""
    tokenizer = tokenizers.train_sentencepiece(TEXTS, 400, tmp_path_factory.mktemp("tokenizer"))
    return random_runs(tokenizer, tmp_path_factory)


@pytest.fixture(scope="session")
def talker(workdir):
    return from_pretrained(workdir("stage2", "chat"))


@pytest.fixture(scope="session")
def shown():
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (28, 28, 3), np.uint8)) for _ in range(3)]
