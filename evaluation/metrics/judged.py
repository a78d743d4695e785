"""LLaVA-bench: reading a judge's two scores, and the ratio that papers print.

Liu et al., Visual Instruction Tuning (NeurIPS 2023), section 5.1: a judge sees the picture in
words, the question and two answers, the first from a text-only model that saw the words, the second
from the model under test, and gives each 1 to 10. The relative score is the ratio of the means.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.metrics.reply import plain

PROTOCOL = "llava-bench-2|two-numbers-alone-in-a-line,or-by-name|failed-excluded"
LOWEST, HIGHEST = 1.0, 10.0
LONGEST = 100  # characters of a line that holds two scores and nothing else

# "8/10" and "8分（满分10分）" are one score each; the scale is taken out first.
_SCALE = re.compile(
    r"\s*/\s*10(?:\.0+)?\b|\bout of (?:10|ten)\b|[(（]?\s*满分(?:为|是|:)?\s*10\s*分?\s*[)）]?"
)
_NUMBER = r"(?<![\d./-])(\d+(?:\.\d+)?)(?![\d%]|\.\d|/\d)(?:\s*(?:分|points?\b|marks?\b))?"
_PAIR = re.compile(
    r"\W*(?:(?:(?:the|my|final|overall|two) )*(?:scores?|ratings?)(?: are| is)?"
    r"|(?:最终|两者的?|总)?(?:评分|得分|分数|打分)(?:分别)?(?:为|是)?)?[\s:(\[{]*"
    rf"{_NUMBER}(?:\s*[,;、|&]\s*|\s+|\s*(?:and|和|与)\s*){_NUMBER}[\s)\]}}.,;。]*"
)
_FIRST_OR_SECOND = re.compile(
    r"(?:assistant|ai|model|answer|response|回答|助手|助理|模型|答案)\s*[#_]?\s*"
    r"(?:(?P<one>[1一])|(?P<two>[2二]))(?![\d.])"
    r"|(?P<former>\bthe (?:first|former)\b|前者|第一个?(?:助手|助理|模型|回答|答案)?)"
    r"|(?P<latter>\bthe (?:second|latter)\b|后者|第二个?(?:助手|助理|模型|回答|答案)?)"
)
# Nothing else may stand between a name and its score.
_GIVEN = re.compile(
    r"(?:'s\b|[\s:=*_|\"'(\[-]|\b(?:assistant|answer|one|scores?|rating|points?|gets?|got|receives?|is"
    r"|has|of|an?|the|with)\b|的|得到?|获得?|总分|评分|得分|分数|打分|分|应|打|给|为|是)*" + _NUMBER
)


def parse_judge_scores(text: str) -> tuple[float, float] | None:
    """The two scores in a judge's reply, in the order (first answer, second answer), or None.

    They are two numbers alone in a line (``8 9``, ``(8，9)``, ``**8** **9**``, ``8/10 9/10``,
    ``Scores: 8 and 9``), or a number after each name, in any order (``Assistant 2: 9, Assistant 1:
    8``, ``助手1：8分；助手2：9分``, ``前者8分，后者9分``). Lines and names that disagree, and
    scores that are not from 1 to 10, are refused, so that a failure is asked again and never
    averaged. A reasoning block before the reply is left out.
    """
    text = _SCALE.sub(" ", plain(text).lower())
    lines = (re.sub(r"[*_`]", "", line).strip() for line in text.splitlines())
    short = (line for line in lines if len(line) <= LONGEST)
    found = {(float(m[1]), float(m[2])) for m in map(_PAIR.fullmatch, short) if m}
    named = _by_name(text)
    if all(named):
        found |= {(one, two) for one in named[0] for two in named[1]}
    if len(found) != 1:
        return None
    (scores,) = found
    return scores if all(LOWEST <= score <= HIGHEST for score in scores) else None


def _by_name(text: str) -> tuple[set[float], set[float]]:
    """The scores given behind the name of either answer."""
    scores: tuple[set[float], set[float]] = (set(), set())
    for match in _FIRST_OR_SECOND.finditer(text):
        given = _GIVEN.match(text, match.end())
        if given:
            scores[bool(match["two"] or match["latter"])].add(float(given[1]))
    return scores


def relative_scores(reviews: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Score of the model relative to the reference answers, in percent.

    Args:
      reviews: each with ``category`` and ``scores``: (reference, model), or None where the judge
        gave none; those are left out.

    Returns:
      category -> ratio of the means, and ``all``: the ratio over all reviews together, which is
      what the paper's AVG is; the mean of the categories is `mean_of_categories`. A category
      without a judged review is missing; without any, the result is empty. Means are rounded to 3
      decimals and ratios to 1, as LLaVA's script does.
    """
    groups: dict[str, list[Sequence[float]]] = {}
    for review in reviews:
        if review["scores"] is not None:
            groups.setdefault(str(review["category"]), []).append(review["scores"])
            groups.setdefault("all", []).append(review["scores"])
    found = {}
    for name in [*sorted(groups.keys() - {"all"}), *(["all"] if groups else [])]:
        pairs = groups[name]
        reference, model = (round(math.fsum(p[i] for p in pairs) / len(pairs), 3) for i in (0, 1))
        found[name] = round(model / reference * 100, 1)
    return found


def mean_of_categories(relative: Mapping[str, float]) -> float | None:
    """Mean over the categories of `relative_scores`: close to ``all``, but another number."""
    values = [value for name, value in relative.items() if name != "all"]
    return sum(values) / len(values) if values else None
