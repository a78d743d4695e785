"""Filter 6: things that nothing in the view supports, through the bilingual table of names."""

from __future__ import annotations

import re
from dataclasses import dataclass

from zv_jax.bmmic.filters import concepts, words
from zv_jax.bmmic.filters.base import Filter
from zv_jax.bmmic.filters.concepts import Known, Mention
from zv_jax.bmmic.pair import Pair


@dataclass(frozen=True)
class Settings:
    """Unknown things that an answer may name, by the kind of the pair."""

    max_unknown_detail: int = 0
    max_unknown_conversation: int = 0
    max_unknown_reason: int = 2  # knowledge of the world is asked for; claims of sight are not


_SIGHT = re.compile(
    r"\bthere (?:is|are)\b|\bin (?:the|this) (?:image|photo|picture|scene|background|foreground)\b|"
    r"\b(?:visible|can be seen|we see|shows?|depicts?|features?|image|holding|wearing|"
    r"sitting on|standing)\b",
    re.I,
)
_SIGHT_ZH = re.compile(
    r"图中|画面|图片|图像|照片|可以看到|看到|可见|有一|背景|前景|拿着|戴着|旁边|站着|坐着"
)
# Of whom reasoning speaks in general.
_ANYBODY = frozenset("people person human humans friend friends family 人 人们 朋友 大人".split())
_EXISTS = re.compile(
    r"^\s*(?:is|are|do|does|can you|could)\b.*\?|\bany\b|\bhow many\b|\bor\b|\bif\b|"
    r"\bwould\b|\bcould\b",
    re.I,
)
_EXISTS_ZH = re.compile(
    r"吗|有没有|是否|是不是|多少|几[只个辆条匹头人位把]|还是|如果|能否|能不能|可能|会不会"
)


class Objects(Filter):
    """Nouns of a pair against labels, tags and captions."""

    name = "objects"

    def complaint(self, pair: Pair) -> str | None:
        if pair.source or pair.kind == "translate":
            return None  # the original is the evidence; see `bilingual`
        known = concepts.known(pair.view)
        if not known.text:
            return None
        unknown, supported = self._answers(pair, known)
        unknown += [] if pair.kind == "reason" else self._presupposed(pair, known)
        names = list(dict.fromkeys(m.name for m in unknown))
        if len(names) > getattr(self.settings, f"max_unknown_{pair.kind}"):
            return f"not in the view: {', '.join(names[:5])}"
        if pair.kind == "reason" and names:
            if not supported and len(names) > 1:
                return f"nothing of the view, but {', '.join(names[:5])}"
            return self._seen(pair, known)
        return None

    def _answers(self, pair: Pair, known: Known) -> tuple[list[Mention], int]:
        """Unknown things that answers claim, and how many known ones they name."""
        unknown: list[Mention] = []
        supported = 0
        for question, answer in pair.exchanges:
            if words.polarity(answer, pair.lang) is False:
                asked = {m.concept for m in concepts.mentions(words.plain(question), pair.lang)}
            else:
                asked = set()
            text, detail = words.plain(answer), pair.kind == "detail"
            firm = concepts.claimed(text, pair.lang, supposed=False)
            for mention in concepts.claimed(text, pair.lang, detail):
                if known.supports(mention):
                    supported += 1
                elif mention.name in _ANYBODY and (pair.kind == "reason" or mention not in firm):
                    continue  # people in general, or such as may have laid the table
                elif mention.concept not in asked and not _asked_about(mention, question, pair):
                    unknown.append(mention)
            if words.polarity(answer, pair.lang) is True:
                unknown += [m for m in self._exists(question, pair.lang) if not known.supports(m)]
        return unknown, supported

    @staticmethod
    def _exists(question: str, lang: str) -> list[Mention]:
        """What a yes says is there: the first thing of a question for its presence."""
        pattern = (
            r"^\s*(?:<image>\s*)?(?:is|are) there\b|^\s*(?:<image>\s*)?(?:do|can|could) you "
            r"see\b|\bis (?:a|an) \w+ visible"
            if lang == "en"
            else r"有.{0,20}吗|有没有|是否有|能看到.{0,12}吗|存在"
        )
        found = re.search(pattern, question, re.I)
        if not found:
            return []
        text = words.plain(question)
        return concepts.mentions(text, lang)[:1]

    @staticmethod
    def _presupposed(pair: Pair, known: Known) -> list[Mention]:
        """Things that a question takes for granted, where its answer does not deny them."""
        unknown = []
        for question, answer in pair.exchanges:
            asks = (_EXISTS if pair.lang == "en" else _EXISTS_ZH).search(question)
            denied = words.negation(answer, pair.lang)[0]
            if asks or denied:
                continue
            found = concepts.claimed(words.plain(question), pair.lang, supposed=False)
            unknown += [m for m in found if not known.supports(m)]
        return unknown

    @staticmethod
    def _seen(pair: Pair, known: Known) -> str | None:
        """Whether reasoning says of an unknown thing that it is to be seen."""
        sight = _SIGHT if pair.lang == "en" else _SIGHT_ZH
        for answer in pair.answers:
            for sentence in words.sentences(words.plain(answer)):
                if not sight.search(sentence):
                    continue
                for mention in concepts.claimed(sentence, pair.lang, supposed=False):
                    if not known.supports(mention) and mention.name not in _ANYBODY:
                        return f"seen but not in the view: {mention.name}"
        return None


def _asked_about(mention: Mention, question: str, pair: Pair) -> bool:
    """Whether the user asked for what is not in the image, as in "What could replace the bike?"."""
    general = (
        r"\b(?:could|would|might|should|recommend|suggest|if)\b|可以|会|如果|建议|可能|应该|适合"
    )
    return bool(re.search(general, question, re.I)) and pair.kind != "detail"
