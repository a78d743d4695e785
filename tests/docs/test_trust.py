"""The bounds that the pages on trust name are those of the code, in both languages."""

import re

import pytest
from pages import ROOT

from zv_jax import json_input, yaml_input
from zv_jax.config import checks as config_checks
from zv_jax.convert import gguf_header
from zv_jax.data.images import decode as images
from zv_jax.data.readers import tars
from zv_jax.data.text import tokenizer_checks
from zv_jax.llm import connection

BOUNDS = [
    f"{images.MAX_PIXELS:,}",
    f"{json_input.MAX_LINE >> 20} MiB",
    f"{connection.LARGEST_REPLY >> 20} MiB",
    f"{gguf_header.MAX_VALUES:,}",
    f"{config_checks.MAX_LAYERS:,}",
    f"{config_checks.MAX_SIDE:,}",
    f"{config_checks.MAX_SIZE:,}",
    f"{tokenizer_checks.MAX_IDS:,}",
    f"{tokenizer_checks.MAX_CHOICES:,}",
    f"{tokenizer_checks.MAX_WORD:,}",
    f"{tokenizer_checks.MAX_STEPPED_BACK}",
    f"{tokenizer_checks.MAX_PATTERN:,}",
    f"{yaml_input.LARGEST >> 20} MiB",
    f"{config_checks.MAX_WAYS:,}",
    f"{images.MAX_SCANS:,}",
    f"{tars.MAX_HEADER >> 20} MiB",
]


@pytest.mark.parametrize("page", ["docs/trust.md", "docs/zh/trust.md"])
def test_bounds_are_those_of_the_code(page):
    text = (ROOT / page).read_text("utf-8")
    for bound in BOUNDS:
        assert f"| {bound}" in text, bound
    for name in images.FORMATS:
        assert name.lower() in text.lower()


def test_the_two_lists_of_changes_have_the_same_entries():
    def shape(name: str) -> list[int]:
        sections = (ROOT / name).read_text("utf-8").split("\n### ")[1:]
        return [len(re.findall(r"^(?:- |\| )", part, re.M)) for part in sections]

    assert shape("CHANGELOG_zh.md") == shape("CHANGELOG.md")
