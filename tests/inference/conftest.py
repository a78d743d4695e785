"""Tiny models with random weights, loaded, and images to show them."""

import numpy as np
import pytest
from PIL import Image
from random_runs import TEXTS, random_runs

from zv_jax.data.text import tokenizers
from zv_jax.inference.model import from_pretrained


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
    return tokenizers.train_sentencepiece(TEXTS, 400, tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="session")
def workdir(tokenizer, tmp_path_factory):
    """`workdir("stage2", "chat")`: the folder of a run whose weights are random."""
    return random_runs(tokenizer, tmp_path_factory)


@pytest.fixture(scope="session")
def model(workdir):
    """`model("stage2", "chat")`: the same, loaded."""
    made = {}

    def make(stage, variant="chat"):
        if (stage, variant) not in made:
            made[stage, variant] = from_pretrained(workdir(stage, variant))
        return made[stage, variant]

    return make


@pytest.fixture(scope="session")
def shown():
    rng = np.random.default_rng(0)
    return [
        Image.fromarray(rng.integers(0, 256, (30 + i, 40, 3), np.uint8)).resize((28, 28))
        for i in range(3)
    ]
