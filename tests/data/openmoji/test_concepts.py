"""The lists of concepts: pictures, unique names and grammar in both languages."""

import re

import pytest

from zv_jax.data.openmoji import concepts as concepts_lib
from zv_jax.data.openmoji import render
from zv_jax.data.openmoji.concepts import CATEGORIES, COLOURS, PLACES, load_concepts
from zv_jax.data.openmoji.scene import PLACE_KEYS, SIZE_KEYS
from zv_jax.errors import ConfigError


def test_everyday_concepts_have_pictures_and_unique_names():
    everyday = load_concepts("everyday")
    assert 55 <= len(everyday) <= 70
    assert all(render.has_picture(c.hex) for c in everyday)
    for name in ("key", "hex", "en", "en_plural", "zh"):
        assert len({getattr(c, name) for c in everyday}) == len(everyday)
    for c in everyday:
        assert c.en_article == ("an" if c.en[0] in "aeiou" else "a")
        assert c.category in CATEGORIES and c.is_food == (c.category == "food")
        assert re.fullmatch(r"[一-龥T]+", c.zh) and len(c.zh_measure) == 1


def test_all_concepts_are_nouns_with_unique_names():
    every = load_concepts("all")
    assert every[: len(load_concepts("everyday"))] == load_concepts("everyday")
    assert sum(render.has_picture(c.hex) for c in every) > 1850
    for name in ("key", "hex", "en", "zh"):
        assert len({getattr(c, name) for c in every}) == len(every)
    for c in every:
        assert c.category in CATEGORIES
        assert not re.search(r"[_:]", c.en + c.zh), (c.en, c.zh)
    by_hex = {c.hex: c for c in every}
    assert by_hex["1F1E8-1F1F3"].en_plural == "flags of China"
    assert by_hex["1F1E8-1F1F3"].zh == "中国的旗帜"
    assert by_hex["0031-FE0F-20E3"].zh == "标着1的按键"
    bald = by_hex["1F468-200D-1F9B2"]
    assert (bald.en, bald.en_plural, bald.zh) == ("bald man", "bald men", "秃顶的男人")
    assert by_hex["1F984"].en_article == "a" and by_hex["1F347"].en_article == ""


def test_keys_agree_with_the_scene_module():
    assert tuple(PLACES) == PLACE_KEYS and tuple(concepts_lib.SIZES) == SIZE_KEYS
    assert len({rgb for rgb, _, _ in COLOURS.values()}) == len(COLOURS)
    with pytest.raises(ConfigError, match="everyday"):
        load_concepts("everydays")
