"""The pattern of adapted layers comes with checkpoints of others: it must end, whatever it says."""

import re

import pytest

from zv_jax.config import build
from zv_jax.errors import ConfigError
from zv_jax.models import presets

SOUND = [
    presets.CHAT_LORA,
    "",
    r".*/(attn|mlp)/(q|k|v|o|gate|up|down)",
    r"(?:vision|llm)/.*?/attn/.*",
    r"(vision|llm)/(blocks|layers)/.*(qkv|q|k|v|o|proj|fc1|fc2)",
    r"llm/layers/[^/]+/(q|v)?",
    "|".join(f"llm/layers/mlp/{name}" for name in "abcdefghijklmnopqrstuvwxyz"),
]
ENDLESS = [
    "(.|.)" * 30 + "!",
    "(?:.|.)" * 30 + "!",
    ".?" * 40 + "!",
    ".??" * 40 + "!",
    "(l|l(l|l(m|m)))" * 12 + "!",
    ".*.*.*.*.*(a|b|c|d|e|f|g)!",
    "(?#[)(.*)*!(?#])",
    "(a)|" * 1_000_000,
    "(.*)*!",
    ".*.*.*.*.*.*!",
]


def pattern(targets):
    recipe = build.recipe("tiny_chat")
    recipe.model.lora.targets = targets
    return build.validate(recipe).model.lora.targets


@pytest.mark.parametrize("targets", SOUND, ids=range(len(SOUND)))
def test_patterns_that_people_write_are_taken(targets):
    assert pattern(targets) == targets


@pytest.mark.parametrize("targets", ENDLESS, ids=range(len(ENDLESS)))
def test_a_pattern_that_may_never_end_is_refused(targets):
    with pytest.raises(ConfigError, match="for ever|comments|characters") as caught:
        pattern(targets)
    assert caught.value.where == "model.lora.targets" and len(str(caught.value)) < 1000


def test_the_slowest_pattern_that_is_taken_ends():
    targets = ".*.*.*.*.*(a|b|c|d|e|f)!"
    assert not re.fullmatch(pattern(targets), "llm/layers/attn/a_name_of_forty_letters!")
