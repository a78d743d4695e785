"""Filter 8: left and right, above and below, against the centres of boxes that are unique."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from zv_jax.bmmic.filters import concepts, words
from zv_jax.bmmic.filters.base import Filter
from zv_jax.bmmic.filters.concepts import Known
from zv_jax.bmmic.pair import Pair
from zv_jax.bmmic.view import View


@dataclass(frozen=True)
class Settings:
    """Thresholds of `Spatial`."""

    margin: float = 0.02  # between two centres, and of the side of an image beyond its middle


@dataclass(frozen=True)
class Place:
    """A claim: `one` is at `side` of `other`, or of the image where there is no other."""

    one: str
    side: str
    other: str | None


_AXES = {"left": (0, -1), "right": (0, 1), "above": (1, -1), "below": (1, 1)}
_OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}
_EN_SIDES = (
    r"(?:to|on|at) the (left|right)(?:[- ]hand)?(?: side)? of",
    r"(?:is|are|sits?|stands?|standing|sitting|parked|lies|lying|placed|located|"
    r"positioned|just|immediately|directly) (left|right) of",
    r"\b(above|below|beneath)\b",
)
_EN_IMAGE = re.compile(
    r"\b(?:on|at|in|to|toward|towards) the (?:far |very |upper |lower |bottom |top |extreme "
    r")?(left|right)"
    r"(?:[- ]hand)?(?: side| half| part| corner| edge)?"
    r"(?: of (?:the|this) (?:image|photo|picture|scene|frame))?(?! (?:of|hand|arm|leg|foot|"
    r"shoulder|eye|lane|wrist))\b",
    re.I,
)
_EN_IMAGE_OF = re.compile(
    r"(?: side| half| part| corner| edge)? of (?!(?:the|this) (?:image|photo|picture|scene|frame))",
    re.I,
)
_IMAGE_EN = re.compile(r"^(?: of)? (?:the|this) (?:image|photo|picture|scene|frame)", re.I)
_ZH_SIDE = {"左": "left", "右": "right", "上方": "above", "下方": "below"}
_ZH_REL = re.compile(
    r"(?:在|位于|处于|站在|坐在|停在|放在|趴在|就在|摆在|躺在)(?:了)?(?P<other>[^，。,；;！"
    r"？在]{1,14}?)(?:的)?(?P<side>左|右|上方|下方)(?P<tail>边|侧|面|方|手边)?"
)
_ZH_OF = re.compile(
    r"(?P<other>[^，。,；;！？]{1,12}?)的?(?P<side>左|右|上方|下方)(?P<tail>边|侧|面|方|"
    r"手边)?(?:是|有|站着|坐着|停着|放着|趴着|摆着|躺着)(?:了)?(?P<one>[^，。,；;！？]{1,16})"
)
_ZH_FRAME = re.compile(r"图|画面|照片|画|镜头|前景|背景|场景")
_NOT_PLACE = re.compile(r"(?:左|右)(?:手|臂|腿|脚|眼|肩|耳|转|拐|键|膝|脸)(?!边)")


class Spatial(Filter):
    """Claims of place that the boxes of two things, each the only one of its kind, deny."""

    name = "spatial"

    def complaint(self, pair: Pair) -> str | None:
        if len(pair.view.objects) < 1:
            return None
        known = concepts.known(pair.view)
        find = _english if pair.lang == "en" else _chinese
        for question, answer in pair.exchanges:
            for text, true in self._statements(question, answer, pair.lang):
                for place in find(text):
                    if self._holds(place, pair.view, known) is (not true):
                        of = place.other or "the image"
                        no = "" if true else "not "
                        return f"{place.one} is {no}{place.side} of {of}: the boxes deny it"
            if why := self._side_asked(question, answer, pair, known):
                return why
        return None

    @staticmethod
    def _statements(question: str, answer: str, lang: str) -> Iterator[tuple[str, bool]]:
        """Texts and whether the pair holds them true: answers, and what a yes or no is about."""
        said = words.polarity(answer, lang)
        for sentence in words.sentences(words.plain(answer)):
            denied = words.negation(sentence, lang)[0]
            if not denied:
                yield sentence, True
        yes_no = re.match(r"\s*(?:<image>\s*)?(?:is|are|does)\b", question, re.I) or re.search(
            r"吗|是不是|是否|对吗", question
        )
        either = re.search(r"\bor\b|还是", question)
        if said is not None and yes_no and not either:
            yield words.plain(question), said

    def _side_asked(self, question: str, answer: str, pair: Pair, known: Known) -> str | None:
        """`Is the dog on the left or the right of the cat?` — `Left.`; `Which side?` likewise."""
        found = re.search(
            r"\b(left|right)\b.*\bor\b.*\b(left|right)\b|左.{0,6}还是.{0,8}右|哪一?[边侧]|"
            r"which side",
            question,
            re.I,
        )
        short = words.plain(answer).strip()
        side = re.match(
            r"(?:(?:it is |it's )?(?:on|to|at) the |在|画面|图片|图像|它在|位于)*\s*(left|"
            r"right|左|右)",
            short,
            re.I,
        )
        if not found or not side or len(short) > 24:
            return None
        named = list(
            dict.fromkeys(m.concept for m in concepts.mentions(words.plain(question), pair.lang))
        )
        if not named:
            return None
        place = Place(
            named[0], _ZH_SIDE.get(side[1], side[1].lower()), named[1] if len(named) > 1 else None
        )
        if self._holds(place, pair.view, known) is False:
            return f"{place.one} is {place.side} of {place.other or 'the image'}: the boxes deny it"
        return None

    def _holds(self, place: Place, view: View, known: Known) -> bool | None:
        """Whether the boxes agree; None where they cannot say."""
        one = known.only(place.one)
        if one is None or place.one == place.other:
            return None
        axis, sign = _AXES[place.side]
        here = _centre(view, one, axis)
        if place.other is None:
            offset = (here - 0.5) * sign
        else:
            other = known.only(place.other)
            if other is None or other == one:
                return None
            offset = (here - _centre(view, other, axis)) * sign
        if abs(offset) <= self.settings.margin:
            return None
        return offset > 0


def _centre(view: View, number: int, axis: int) -> float:
    box = view.objects[number].box
    return (box[axis] + box[axis + 2]) / 2


def _english(text: str) -> Iterator[Place]:
    found = concepts.mentions(text, "en")
    for pattern in _EN_SIDES:
        for match in re.finditer(pattern, text, re.I):
            side = {"beneath": "below"}.get(match[1].lower(), match[1].lower())
            before = [m for m in found if m.end <= match.start()]
            behind = [m for m in found if m.start >= match.end()]
            if _IMAGE_EN.match(text[match.end() :]):
                if before and side in ("left", "right"):
                    yield Place(_subject(before, text, match.start()), side, None)
                continue
            near = behind and len(text[match.end() : behind[0].start].split()) <= 4
            if not near or "'s" in text[match.end() : behind[0].start]:
                continue
            head = re.match(r"[\s,]*(?:<image>)?\s*$", text[: match.start()])
            if before and not head:
                yield Place(_subject(before, text, match.start()), side, behind[0].concept)
            elif head and len(behind) > 1:  # "To the left of the dog is a cat."
                yield Place(behind[1].concept, side, behind[0].concept)
    for match in _EN_IMAGE.finditer(text):
        if _EN_IMAGE_OF.match(text, match.end()) or re.match(r"(?: side)? of", text[match.end() :]):
            continue
        clause_start = max(text.rfind(c, 0, match.start()) for c in ",;.") + 1
        before = [m for m in found if clause_start <= m.start and m.end <= match.start()]
        if before and " of " not in text[before[-1].end : match.start()]:
            yield Place(_subject(before, text, match.start()), match[1].lower(), None)
        elif not before and re.match(r"[\s]*$", text[clause_start : match.start()]):
            behind = [m for m in found if m.start >= match.end()]
            if behind and len(text[match.end() : behind[0].start].split()) <= 5:
                yield Place(behind[0].concept, match[1].lower(), None)


def _subject(before: list, text: str, end: int) -> str:
    """The thing that is placed: the first of the clause, with what stands on or by it behind."""
    start = max(text.rfind(c, 0, end) for c in ",;.") + 1
    inside = [m for m in before if m.start >= start] or before
    joined = re.split(r"\b(?:and|while)\b", text[inside[0].end : end])
    if len(joined) > 1 and len(inside) > 1:
        return inside[-1].concept
    return inside[0].concept


def _chinese(text: str) -> Iterator[Place]:
    text = _NOT_PLACE.sub("□□", text)
    for clause in re.split(r"[，。,；;！？!?]", text):
        relations = list(_ZH_REL.finditer(clause))
        for match in relations:
            subject = concepts.mentions(clause[: match.start()], "zh")
            yield from _chinese_place(subject[:1], match)
        if relations and concepts.mentions(clause[: relations[0].start()], "zh"):
            continue
        for match in _ZH_OF.finditer(clause):
            yield from _chinese_place(concepts.mentions(match["one"], "zh")[:1], match)


def _chinese_place(subject: list, match: re.Match) -> Iterator[Place]:
    side = _ZH_SIDE[match["side"]]
    other = concepts.mentions(match["other"], "zh")
    if not subject or re.search(r"[他她]的?$", match["other"]):
        return
    if other:
        yield Place(subject[0].concept, side, other[-1].concept)
    elif _ZH_FRAME.search(match["other"]) and side in ("left", "right"):
        yield Place(subject[0].concept, side, None)
