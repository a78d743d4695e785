"""Filter 7: numbers of things against the boxes, or against captions that name the number."""

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
    """Thresholds of `Counts`."""

    exact_up_to: int = 4  # a number up to this one must be right
    tolerance: float = 0.2  # of greater ones, as a share


@dataclass(frozen=True)
class Claim:
    """A number of things in a text.

    Attributes:
      concept: which things; value: how many.
      strict: whether all of them are meant, rather than some that something is said of.
      least: whether it is "several", which more of them make no less true.
      start: its place.
    """

    concept: str
    value: int
    strict: bool
    start: int
    least: bool = False


_EN_VALUE = (
    r"(?P<n>\d+|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|"
    r"fifteen|sixteen|twenty|(?:only )?one|a single|a dozen|several|a (?:pair|trio) of)"
)
_EN_CLAIM = re.compile(rf"(?<![\w.:/-]){_EN_VALUE}(?: (?!of\b)[a-z-]+){{0,3}}?\s$", re.I)
_EN_ALL = re.compile(r"\bthere (?:is|are)\b|\bin total\b|\bin all\b|\bonly\b|\bjust\b|\bexactly\b|"
                     r"\ba total of\b|\bimage (?:shows|contains|has)\b", re.I)  # fmt: skip
_EN_SOME = re.compile(
    r"^\s*(?:in|with|wearing|who|that|which|on|at|near|behind|from|holding|carrying)\b", re.I
)
_MEASURE = (
    "只|个|辆|条|匹|头|位|名|把|张|本|架|艘|朵|棵|颗|块|根|台|座|盏|盆|瓶|杯|碗|盘|碟|顶|件|"
    "双|对|群|株|支|部|"
    "尊|枚|片|串|束|幅|扇|口|列|间|栋|幢|面|架|羽|尾|峰|枝|份|副|节|所|道|袋|箱|盒|篮|层|人"
)
_ZH_CLAIM = re.compile(
    rf"(?P<n>{words.ZH_NUMBER})\s*(?:{_MEASURE})(?P<gap>[^，。,；;！？]{{0,10}})$"
)
_ZH_ALL = re.compile(
    r"一共|总共|共有|共计|只有|仅有|有$|正好|恰好|就有|都有|里有|上有|中有|存在|内有|有着"
)
_HOW_MANY = re.compile(
    r"\bhow many\b|\bwhat number of\b|多少|"
    r"几[只个辆条匹头位名把张本架艘朵棵颗块根台座盏盆瓶杯碗人]",
    re.I,
)


class Counts(Filter):
    """Claims such as "three dogs" against how many there are; more than there are, or not all."""

    name = "counts"

    def complaint(self, pair: Pair) -> str | None:
        known = concepts.known(pair.view)
        for question, answer in pair.exchanges:
            found = [*claims(words.plain(answer), pair.lang), *_answered(question, answer, pair)]
            for claim in found:
                actual = actual_count(claim.concept, pair.view, known)
                if actual is not None and self._wrong(claim, actual, found, answer, pair):
                    return f"{claim.value} {claim.concept}, {actual} in the view"
        return None

    def _wrong(
        self, claim: Claim, actual: int, found: list[Claim], answer: str, pair: Pair
    ) -> bool:
        spare = 0 if actual <= self.settings.exact_up_to else self.settings.tolerance * actual
        if claim.value > actual + spare:
            return True
        if claim.value >= actual - spare:
            return False
        if claim.strict or claim.least:
            return claim.strict
        same = [c for c in found if c.concept == claim.concept]
        others = [
            m
            for m in concepts.mentions(words.plain(answer), pair.lang)
            if concepts.is_a(m.concept, claim.concept) or concepts.is_a(claim.concept, m.concept)
        ]
        return claim.value > 1 and len(same) == 1 and len(others) == 1


def claims(text: str, lang: str) -> list[Claim]:
    """The numbers of things that a text names."""
    return list(_english(text) if lang == "en" else _chinese(text))


def _english(text: str) -> Iterator[Claim]:
    for mention in concepts.mentions(text, "en"):
        before = text[: mention.start]
        found = _EN_CLAIM.search(before[-60:])
        if not found or re.search(r"[,.;:!?]", found[0]):
            continue
        word = found["n"].lower()
        group = _GROUPS.get(word)
        if group and not concepts.above(mention.concept) & _ALIVE:
            continue  # `a pair of skis` is one for each skier
        value = group or _WORDS.get(word)
        value = words.number(word) if value is None else value
        if value is None or (word == "one" and not _EN_ALL.search(before[-40:])):
            continue
        if word != "one" and value > 1 and not mention.plural and mention.name not in _SAME:
            continue  # `two dog bowls`, `a 3 person tent`
        gap = found[0][found.end("n") - found.start() :].strip()
        behind = text[mention.end : mention.end + 20]
        inner = list(concepts.mentions(gap, "en"))
        if inner:
            continue
        alone = word in ("only one", "a single")
        all_of = alone or bool(_EN_ALL.search(before[-40:]))
        some = bool(gap) or bool(_EN_SOME.match(behind) and not alone)
        several = word == "several"
        strict = all_of and not some and not several
        yield Claim(mention.concept, value, strict, mention.start, several)


_WORDS = {"only one": 1, "a single": 1, "a dozen": 12, "one": 1, "several": 2}
_GROUPS = {"a pair of": 2, "a trio of": 3}
_ALIVE = frozenset(("animal", "person"))
_SAME = ("sheep", "fish", "deer", "people", "cattle")


def _chinese(text: str) -> Iterator[Claim]:
    for mention in concepts.mentions(text, "zh"):
        before = text[: mention.start]
        counted = _ZH_CLAIM.search(before[-24:])
        if not counted and mention.name in ("人",):
            counted = re.search(rf"(?P<n>{words.ZH_NUMBER})(?P<gap>)$", before[-6:])
        if not counted or concepts.mentions(counted["gap"], "zh"):
            continue
        head = before[: len(before) - len(counted[0])]
        value = words.zh_number(counted["n"])
        if value is None or head.endswith(
            ("第", "十", "百", "几", "每", "另", "其中", "中的", "数")
        ):
            continue
        all_of = bool(_ZH_ALL.search(head[-6:])) or head.endswith("有")
        if counted[0].startswith("一对") and concepts.above(mention.concept) & _ALIVE:
            value = 2
        if value == 1 and not re.search(r"(?:只有|仅有|仅|只)$", head):
            continue
        yield Claim(mention.concept, value, all_of and not counted["gap"], mention.start)


def _answered(question: str, answer: str, pair: Pair) -> Iterator[Claim]:
    """The claim of a short answer to "how many"."""
    if not _HOW_MANY.search(question):
        return
    text = words.plain(question)
    start = _HOW_MANY.search(text)
    asked = [
        m for m in concepts.mentions(text, pair.lang) if start is None or m.end > start.start()
    ]
    if not asked and "人" in question:
        asked = concepts.mentions("人", "zh")
    plain = words.plain(answer)
    said = list(concepts.mentions(plain, pair.lang))
    if not asked or (said and len(plain.split()) > 12 and pair.lang == "en"):
        return
    word = re.match(
        rf"\s*(?:there (?:is|are) |only |just |exactly |一共|总共|共|共有|有|大约|图中有|画"
        rf"面中有|只有)*"
        rf"({words.ZH_NUMBER}|[a-z]+)",
        plain,
        re.I,
    )
    value = words.number(word[1]) if word else None
    if value is None and word and word[1].lower() in ("no", "none"):
        value = 0
    if value is None:
        return
    about = asked[0]
    behind = text[about.end : about.end + 24]
    head = text[start.end() : about.start] if start else ""
    some = len(head.split()) > 0 if pair.lang == "en" else len(head) > 2
    some = some or bool(
        re.match(
            r"\s*(?:in|with|wearing|that|who|holding|on|carrying)\s+(?!the (?:image|photo|"
            r"picture|scene)|this|total|all|there)",
            behind,
        )
    )
    yield Claim(about.concept, value, not some, 0)


def actual_count(concept: str, view: View, known: Known) -> int | None:
    """How many there are; None where neither boxes nor captions can say.

    A box around a crowd counts nothing, and a name for many (`books`) is such a box.
    """
    boxed = known.count(concept)
    narrower = boxed and not any(concepts.is_a(own, concept) for own in known.boxes)
    if view.exhaustive and boxed and not narrower:
        labels = [view.objects[k].label for own, at in known.boxes.items()
                  if concepts.is_a(own, concept) for k in at]  # fmt: skip
        if not any(re.search(r"crowd|group|people|人群|books|一群", label) for label in labels):
            return boxed
        return None
    if view.exhaustive and concepts.table().parents.get(concept):
        # `men` are some of the people: never more than those.
        above = [c for c in concepts.above(concept) - {concept} if c in known.boxes]
        if above and not boxed:
            return max(known.count(c) for c in above) if above else None
    said = [
        claim.value
        for lang, lines in view.captions.items()
        for line in lines
        for claim in claims(line, lang)
        if claim.concept == concept and claim.value > 1
    ]
    return said[0] if said and len(set(said)) == 1 else None
