"""VQA accuracy: ten people's answers against one, as the official script counts, and its variants.

Antol et al., VQA: Visual Question Answering (ICCV 2015), in the form of the VQA team's evaluation
code since March 2021: an answer is right to the degree that three of the nine *other* people gave
it, averaged over the ten. Texts are only normalised where the ten answers are not all the same, and
that decides points: "Yes." scores 0 against ten "yes". Each protocol is a metric of its own:

  official    as above
  always      both sides normalised, whatever the ten answers are
  vizwiz      the prediction normalised, the answers as they are (Gurari et al. 2018)
  zh_strict   both sides in the strict Chinese form of `exact_match.normalise`
  zh_lenient  both sides in its lenient form
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from zv_jax.evaluation.metrics import exact_match

PROTOCOLS = ("official", "always", "vizwiz", "zh_strict", "zh_lenient")
VERSION = "vqa-1"
ENOUGH = 3  # people whose agreement makes an answer fully right

_NUMBERS = {
    word: str(value)
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten".split(),
    )
} | {"none": "0"}
_ARTICLES = frozenset(("a", "an", "the"))
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_POINT = re.compile(r"\.(?!\d)")
_MOST_POINTS = 32  # the script passes a flag where the number of replacements belongs
_COMMA_IN_NUMBER = re.compile(r"\d,\d")

# What a word without its apostrophe, or with only one of two, is turned into.
_ALL_LEFT_OUT = """
ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd
how'll how's isn't it'd it'll ma'am mightn't might've mustn't must've needn't not've o'clock
oughtn't shan't should've shouldn't somebody'll somebody's someone'd someone'll someone's
something'd something'll that's there'd there're there's they'd they'll they're they've 'twas
wasn't we've weren't what'll what're what's what've when's where'd where's where've who'd who'll
who's who've why'll why're why's won't would've wouldn't y'all you'd you'll you're you've
""".split()
_ONE_LEFT_OUT = """
couldn't've hadn't've he'd've it'd've mightn't've she'd've shouldn't've somebody'd've someone'd've
something'd've there'd've they'd've we'd've who'd've wouldn't've y'all'll y'all'd've you'd've
""".split()
_CONTRACTIONS = (
    {word.replace("'", ""): word for word in _ALL_LEFT_OUT}
    | {word.replace("'", "", 1): word for word in _ONE_LEFT_OUT}
    | {"".join(word.rsplit("'", 1)): word for word in _ONE_LEFT_OUT}
    | {"somebody'd": "somebodyd", "ow's'at": "'ow's'at", "'ows'at": "'ow's'at",
       "'ow'sat": "'ow's'at", "y'alld've": "y'all'd've"}
)  # fmt: skip


def vqa_normalize(text: str) -> str:
    """The form in which the official script compares answers it normalises.

    Lower case without articles; number words to ten as digits; contractions get their apostrophe;
    punctuation deleted next to a space (or anywhere in a text with a number like ``1,000``) and
    otherwise made a space; periods kept before a digit only. Line breaks and tabs are spaces.
    """
    return _digits_and_articles(_punctuation(_stripped(text)))


def vqa_accuracy(prediction: str, answers: Sequence[str], protocol: str = "official") -> float:
    """Accuracy of one answer, in 0..1.

    Args:
      prediction: the answer to score.
      answers: what people said, in their order; ten in VQA, VizWiz, OKVQA and TextVQA. Whose own
        answer is left out is decided by position: VizWiz has no ids, and two people may agree.
      protocol: one of `PROTOCOLS`.

    Raises:
      ValueError: fewer than two answers (none would be left), or an unknown protocol.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol {protocol!r} is none of {', '.join(PROTOCOLS)}")
    if len(answers) < 2:
        raise ValueError(f"{len(answers)} answers; at least 2 are needed, VQA has 10")
    said, true = compared(prediction, answers, protocol)
    agree = sum(answer == said for answer in true)
    scores = [min(1.0, (agree - (answer == said)) / ENOUGH) for answer in true]
    return sum(scores) / len(scores)


def compared(prediction: str, answers: Sequence[str], protocol: str) -> tuple[str, list[str]]:
    """The forms in which a protocol compares: the prediction's, and those of the answers."""
    said, true = _stripped(prediction), [_stripped(answer) for answer in answers]
    if protocol.startswith("zh"):
        form: Callable[[str], str] = lambda text: exact_match.normalise(
            text, "zh", protocol == "zh_lenient"
        )
        return form(said), [form(answer) for answer in true]
    if protocol == "vizwiz":
        return vqa_normalize(said), true
    if protocol == "official" and len(set(true)) == 1:
        return said, true
    return vqa_normalize(said), [vqa_normalize(answer) for answer in true]


def _stripped(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


def _punctuation(text: str) -> str:
    out, number = text, _COMMA_IN_NUMBER.search(text)
    for mark in _PUNCTUATION:
        beside_space = mark + " " in text or " " + mark in text
        out = out.replace(mark, "" if beside_space or number else " ")
    return _POINT.sub("", out, count=_MOST_POINTS)


def _digits_and_articles(text: str) -> str:
    words = [_NUMBERS.get(word, word) for word in text.lower().split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)
