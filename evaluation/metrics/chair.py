"""CHAIR: which objects does a caption name that are not in the image? English and Chinese.

Rohrbach et al., Object Hallucination in Image Captioning (EMNLP 2018), over the 80 categories of
COCO. Objects of an image are those annotated and those its reference captions name. The word
lists (`coco_objects.yaml`) are this project's own, so numbers compare only with numbers made by
the same `VERSION`; the Chinese ones match the longest word first, since nothing is cut into words.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources

import yaml

VERSION = "chair-1|words-1"

# Words that hold the name of an object and are none.
_NOT_OBJECTS = {
    "en": ("toilet paper", "horse shoe", "train track", "train station", "bus stop", "bus station",
           "car park", "cat fish", "dog house", "bird house", "bed room", "table cloth",
           "tennis match", "baseball game", "baseball field", "baseball cap", "football field",
           "basketball court", "soccer game", "sea horse", "orange juice", "bear hug", "wine list"),
    "zh": ("马路", "马上", "马桶圈", "斑马线", "人行道", "海马", "牛奶", "牛仔", "牛排", "书架",
           "书桌", "床单", "床头柜", "无人", "机器人", "雪人", "火车站", "公交站", "汽车站",
           "羊毛", "狗屋", "鸟笼", "船坞"),
}  # fmt: skip


def objects_named(caption: str, lang: str) -> list[str]:
    """Categories a caption names, one entry for each mention, in order."""
    text = unicodedata.normalize("NFKC", caption).lower()
    pattern, category = _words(lang)
    return [category[m.group()] for m in pattern.finditer(text) if m.group() in category]


def hallucinated(
    caption: str,
    objects: Iterable[str],
    references: Sequence[str],
    lang: str,
    reference_lang: str,
) -> list[bool]:
    """For each object that a caption names, whether it is neither annotated nor named in a
    reference caption; arguments as in `chair_scores`, the references in their own language."""
    there = set(objects)
    for reference in references:
        there.update(objects_named(reference, reference_lang))
    return [name not in there for name in objects_named(caption, lang)]


def chair_scores(
    captions: Mapping[str, str],
    objects: Mapping[str, Iterable[str]],
    references: Mapping[str, Sequence[str]],
    lang: str,
) -> dict[str, float | int | None]:
    """Hallucinated objects in captions.

    Args:
      captions: image id -> caption to judge.
      objects: image id -> COCO categories annotated in it.
      references: image id -> its reference captions; objects they name count as there.
      lang: ``"en"`` or ``"zh"``, of captions and references.

    Returns:
      ``chair_i``: percent of mentions that are hallucinated; ``chair_s``: percent of captions with
      at least one; ``mentions`` and ``captions``. `chair_i` is None where nothing is mentioned.

    Raises:
      KeyError: an image has no entry. ValueError: no caption.
    """
    if not captions:
        raise ValueError("no caption to judge")
    mentions = wrong = sentences = 0
    for image, caption in captions.items():
        made_up = hallucinated(caption, objects[image], references[image], lang, lang)
        bad = sum(made_up)
        mentions, wrong, sentences = mentions + len(made_up), wrong + bad, sentences + bool(bad)
    return {
        "chair_i": 100.0 * wrong / mentions if mentions else None,
        "chair_s": 100.0 * sentences / len(captions),
        "mentions": mentions,
        "captions": len(captions),
    }


@functools.cache
def _words(lang: str) -> tuple[re.Pattern[str], dict[str, str]]:
    """A pattern that finds the longest words first, and the category of every word."""
    text = (
        resources.files("zv_jax.evaluation.metrics")
        .joinpath("coco_objects.yaml")
        .read_text("utf-8")
    )
    category: dict[str, str] = {}
    for name, by_lang in yaml.safe_load(text).items():
        for word in by_lang[lang]:
            for form in (word, *(_plurals(word) if lang == "en" else ())):
                category.setdefault(form, name)
    ordered = sorted([*category, *_NOT_OBJECTS[lang]], key=len, reverse=True)
    body = "|".join(map(re.escape, ordered))
    return re.compile(rf"\b(?:{body})\b" if lang == "en" else body), category


def _plurals(word: str) -> tuple[str, ...]:
    if word.endswith(("s", "sh", "ch", "x")):
        return (word + "es",)
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return (word[:-1] + "ies",)
    if word.endswith("man"):
        return (word[:-3] + "men",)
    return (word + "s",)
