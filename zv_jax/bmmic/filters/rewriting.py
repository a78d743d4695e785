"""Beside the twelve: a rewriting changed its pair, stayed with it, and did what its scheme says."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from zv_jax.bmmic.filters import concepts, words
from zv_jax.bmmic.filters.base import Filter
from zv_jax.bmmic.filters.length import size
from zv_jax.bmmic.pair import Pair


@dataclass(frozen=True)
class Settings:
    """Thresholds of `Rewriting`."""

    max_similarity: float = 0.95  # to the parent: no change
    min_similarity: float = 0.2  # drift to another subject
    min_growth: float = 1.2  # of a deepened answer
    max_growth: float = 6.0  # a parent may be a single word
    min_steps: int = 2  # of reasoning


_STOP = frozenset("the a an is are of in on at to and or it this that with for by be as from what "
                  "which how does do image there its has have can you".split())  # fmt: skip
_STEPS = re.compile(
    r"\b(?:first(?:ly)?|second(?:ly)?|third(?:ly)?|next|then|therefore|thus|hence|finally|"
    r"so|because|"
    r"consequently|as a result|step \d|which (?:means|suggests)|since|in addition|moreover|"
    r"overall)\b"
    r"|首先|其次|再次|然后|接着|最后|因此|所以|由此|因为|第[一二三四]|综上|可见|于是|另外|"
    r"此外|从而|总之",
    re.I,
)
_CONCLUDES = re.compile(
    r"\b(?:therefore|thus|hence|so|finally|overall|consequently|as a result|in conclusion|together|"
    r"which (?:means|suggests))\b|因此|所以|综上|由此|最后|总之|可见|于是|从而",
    re.I,
)


class Rewriting(Filter):
    """Similarity to the parent, and the contract of each of the four schemes."""

    name = "rewriting"

    def complaint(self, pair: Pair) -> str | None:
        if not pair.rewriting or not pair.parent:
            return None
        like = similarity(pair)
        if like > self.settings.max_similarity:
            return f"unchanged: {like:.2f} like its parent"
        if like < self.settings.min_similarity:
            return f"another subject: {like:.2f} like its parent"
        return getattr(self, f"_{pair.rewriting}")(pair)

    def _deepen(self, pair: Pair) -> str | None:
        before = sum(size(t.text, pair.lang) for t in pair.parent if t.role == "assistant")
        after = sum(size(a, pair.lang) for a in pair.answers)
        growth = after / max(1, before)
        most = self.settings.max_growth if before >= 8 else float("inf")
        if self.settings.min_growth <= growth <= most:
            return None
        return f"the answer grew {growth:.1f} times"

    def _concretize(self, pair: Pair) -> str | None:
        own = {m.concept for t in pair.turns for m in concepts.mentions(t.text, pair.lang)}
        old = {m.concept for t in pair.parent for m in concepts.mentions(t.text, pair.lang)}
        known = concepts.known(pair.view).seen
        if any(new in known or any(concepts.is_a(k, new) for k in known) for new in own - old):
            return None
        words_now = sum(size(t.text, pair.lang) for t in pair.turns)
        words_then = sum(size(t.text, pair.lang) for t in pair.parent)
        return None if words_now > words_then else "nothing became more specific"

    def _reasoning(self, pair: Pair) -> str | None:
        text = " ".join(pair.answers)
        steps = len(_STEPS.findall(text))
        if steps < self.settings.min_steps:
            return f"{steps} steps"
        last = words.sentences(text)[-2:]
        return None if any(_CONCLUDES.search(s) for s in last) else "no conclusion at the end"

    def _constraints(self, pair: Pair) -> str | None:
        question, answer = pair.questions[0], pair.answers[0]
        return check_rule(question, answer, pair.lang)


def similarity(pair: Pair) -> float:
    """Share of the words (pairs of characters in Chinese) of the shorter text that both have.

    1 only where the texts are the same words.
    """
    now, then = (
        _bag(" ".join(t.text for t in side), pair.lang) for side in (pair.turns, pair.parent)
    )
    if not now or not then:
        return 0.0
    if len(now ^ then) > 1:
        return min(0.95, len(now & then) / min(len(now), len(then)))
    return len(now & then) / max(len(now), len(then))


def _bag(text: str, lang: str) -> frozenset[str]:
    if lang == "en":
        return frozenset(re.findall(r"[a-z0-9]+", text.lower())) - _STOP
    bare = words.bare(text)
    return frozenset(bare[i : i + 2] for i in range(len(bare) - 1))


_EXACT = re.compile(r"\bexactly\b|正好|恰好|刚好", re.I)
_LEAST = re.compile(r"\bat least\b|\bno fewer than\b|至少|不少于|不低于", re.I)
_LIMITS = (
    (re.compile(r"\b(?:at least|no fewer than|at most|no more than|up to|within|under|"
                r"fewer than|less than|maximum of|"
                r"(?:in|using) exactly|exactly|in) (\w+) (words?|sentences?)\b", re.I), "en"),
    (re.compile(rf"(?:至少|不少于|不低于|正好|恰好|刚好|不超过|不多于|至多|最多|控制在|"
                rf"少于|用|以|限)(?:在)?({words.ZH_NUMBER})(?:个)?(字|句|词)"), "zh"),
)  # fmt: skip
_ITEMS = re.compile(
    rf"\b(\w+)[- ](?:item|bullet|point|step|line|numbered|short)\w*(?: \w+)?(?: list| points"
    rf"?| items?)"
    rf"|\blist of (\w+)\b|({words.ZH_NUMBER})(?:个)?(?:要点|条目|步骤|项|条|点)",
    re.I,
)


def check_rule(question: str, answer: str, lang: str) -> str | None:
    """Whether an answer keeps the rule of form in its question: words, sentences, items, JSON."""
    if re.search(r"\bjson\b", question, re.I):
        try:
            json.loads(answer)
        except ValueError:
            return "no JSON"
        return None
    for pattern, own in _LIMITS:
        found = pattern.search(question) if own == lang else None
        most = words.number(found[1]) if found else None
        if most:
            sentences = found[2].startswith(("sentence", "句"))
            count = len(words.sentences(answer)) if sentences else size(answer, lang)
            slack = 0 if sentences else most * 0.1
            if found[2] == "词":  # of one to four characters
                count, slack = -(-count // 4), 0
            least, exact = _LEAST.search(question), _EXACT.search(question)
            low = (least or exact) and found[2] != "词" and count < most - slack
            if low or (not least and count > most + slack):
                return f"{count} {found[2]} where {most} are wanted"
            return None
    if found := _ITEMS.search(question):
        wanted = words.number(next(filter(None, found.groups())))
        items = re.findall(r"(?m)^\s*(?:\d+[.、)）]|[-*•])", answer)
        if wanted and (items or wanted > 1) and len(items) != wanted:
            return f"{len(items)} items of {wanted}"
        return None
    if re.search(r"\byes or no\b|是或否|只.{0,4}回答.{0,3}是", question, re.I):
        return None if size(answer, lang) <= 3 else "more than yes or no"
    return None
