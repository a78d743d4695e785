"""The instructions: as many and as varied in Chinese as in English, each with its fields."""

import string
from importlib import resources

import pytest

from zv_jax.data.text import language
from zv_jax.data.text import templates as T

TASKS = sorted(f.name[:-5] for f in resources.files(T).iterdir() if f.name.endswith(".yaml"))
NEEDED = {
    "vqa": {"q"},
    "mc_vqa": {"q", "choices"},
    "ref_caption": {"box"},
    "ref_ground": {"expr"},
    "ground_all": {"text"},
    "match": {"text"},
    "translate": {"text"},
}


def fields(text):
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("task", TASKS)
def test_each_list_has_twenty_or_more_and_every_one_asks_for_what_it_needs(task, lang):
    texts = T.templates(task, lang)
    assert len(texts) == len(set(texts)) >= 20
    assert len(texts) == len(T.templates(task, "en"))
    assert all(fields(text) == NEEDED.get(task, set()) for text in texts)


@pytest.mark.parametrize("task", TASKS)
def test_each_list_is_in_its_own_language(task):
    for text in T.templates(task, "en"):
        assert language.counts(text)[0] == 0
    for text in T.templates(task, "zh"):
        bare = text.format(**dict.fromkeys(NEEDED.get(task, ()), ""))
        han, words = language.counts(bare.replace("[x1,y1,x2,y2]", ""))
        assert not bare.strip() or (han and not words), text


def test_the_choice_depends_on_record_epoch_and_seed_only():
    drawn = {T.seeded(0, "a/train/1", epoch, "template") % 22 for epoch in range(200)}
    assert drawn == set(range(22)), "all are used"
    assert T.seeded(0, "a/train/1", 3, "template") == 4294256682
