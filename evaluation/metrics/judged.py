"""LLaVA-bench: reading a judge's two scores, and the ratio that papers print.

Liu et al., Visual Instruction Tuning (NeurIPS 2023), section 5.1: a judge sees the image in
words, the question and two answers, the first from a text-only model that saw the words, the second
from the model under test, and gives each 1 to 10. The relative score is the ratio of the means.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from zv_jax.evaluation.metrics.reply import plain

PROTOCOL = "llava-bench-2|two-numbers-first,or-alone-in-a-line,or-by-name|failed-excluded"
LOWEST, HIGHEST = 1.0, 10.0
LONGEST = 100  # characters of a line that holds two scores and nothing else

# LLaVA asks for two numbers in the first line, parted by a space, and reads nothing else.
_FIRST_LINE = re.compile(r"(\d+(?:\.\d+)?)(?:\s*,\s*|\s+)(\d+(?:\.\d+)?)")
# "8/10" and "8分(满分10分)" are one score each: this scale is taken out; any other is not ours.
_SCALE = re.compile(
    r"\s*/\s*10(?:\.0+)?\b|\bout of (?:10|ten)\b"
    r"|[(（]?\s*满分(?:为|是|:)?\s*(?:10|十)\s*分?\s*[)）]?"
    r"|(?:\bon )?\ba scale (?:of|from) [01] ?(?:to|-) ?10\b"
    r"|[01]\s*[-~到至]\s*10\s*分|(?:10|十)\s*分制"
)
_OTHER_SCALE = re.compile(
    r"满分(?:为|是|:)?\s*[\d一二三四五六七八九十百]|\bscale (?:of|from) \d|[\d五百]\s*分制"
    r"|[(（]\s*(?:out of|/)\s*\d"
)
_NUMBER = r"(?<![\d./-])(\d+(?:\.\d+)?)(?![\d%]|\.\d|/\d)(?:\s*(?:分|points?\b|marks?\b))?"
_LEAD = (
    r"(?:(?:(?:the|my|final|overall|two) )*(?:scores?|ratings?|order)(?: are| is)?"
    r"|(?:最终|两者的?|总)?(?:评分|得分|分数|打分|顺序)(?:分别)?(?:为|是)?)?"
)
_PAIR = re.compile(
    rf"\W*{_LEAD}[\s:(\[{{|]*"
    rf"{_NUMBER}(?:\s*[,;、|&]\s*|\s+|\s*(?:and|和|与)\s*){_NUMBER}[\s)\]}}.,;。|]*"
)
_FIRST_OR_SECOND = re.compile(
    r"(?<![a-z])(?:assistant|ai|model|answer|response|回答|助手|助理|模型|答案)\s*[#_]?\s*"
    r"(?:(?P<one>[1一])|(?P<two>[2二]))(?![\d.])"
    r"|(?P<former>\bthe (?:first|former)\b|前者|第一个?(?:助手|助理|模型|回答|答案)?)"
    r"|(?P<latter>\bthe (?:second|latter)\b|后者|第二个?(?:助手|助理|模型|回答|答案)?)"
)
# "Assistants 2 and 1"
_TOGETHER = re.compile(
    r"(?<![a-z])(?:assistant|model|answer|response|回答|助手|助理|模型|答案)s?\s*"
    r"(?:(?P<one>1)|2)\s*(?:,|、|&|/|and|和|与)\s*(?(one)2|1)(?![\d.])"
)
# The names as `_marked` writes them; a line that holds both and nothing else heads the scores.
_ONE, _TWO = "\ue001", "\ue002"
_NAME = f"[{_ONE}{_TWO}]"
_HEADER = re.compile(
    rf"[^\w{_ONE}{_TWO}]*{_LEAD}[^\w{_ONE}{_TWO}]*({_NAME})"
    rf"[^\w{_ONE}{_TWO}]*(?:and|vs|then|和|与|及)?[^\w{_ONE}{_TWO}]*({_NAME})[^\w{_ONE}{_TWO}]*"
)
# Nothing else may stand between a name and its score, and nothing behind it that it could count.
_GIVEN = re.compile(
    rf"({_NAME})(?:'s\b|[\s:=*_|\"'(\[-]|\b(?:assistant|answer|one|score[sd]?|rating|points?|gets?|got"
    r"|receive[sd]?|earn(?:s|ed)|deserves?|is|of|an?|the|with"
    r"|has(?= an? | the |\s+[\d.]+ (?:points?|marks?)\b))\b"
    rf"|的|得到?|获得?|总分|评分|得分|分数|打分|分|应|打|给|为|是)*{_NUMBER}"
    rf"(?=[\s*_\"')\]}}]*(?:$|[\n|;。!{{{_ONE}{_TWO}]|[,、.:](?!\s*\d)|[(（](?!\s*\d)|[-–—]+\s+(?!\d)\S"
    r"|\b(?:and|but|while|whereas|because|since|for|overall)\b|而|但|和|与|给|因为))"
)


def parse_judge_scores(text: str) -> tuple[float, float] | None:
    """The two scores in a judge's reply, in the order (first answer, second answer), or None.

    Two numbers alone in the first line, parted by a space or a comma, are LLaVA's own form and
    decide. Else the scores are two numbers alone in a line (``(8，9)``, ``**8** **9**``, ``8/10
    9/10``, ``Scores: 8 and 9``), in the order of the names where those head it (a table), or a
    number after each name, in any order (``Assistant 2: 9, Assistant 1: 8``, ``助手1：8分；助手2：
    9分``, ``前者8分，后者9分``). A number that counts something else ("3 errors", "2 of the 5"), a
    range and another scale are no scores. Lines and names that disagree, and scores that are not
    from 1 to 10, are refused, so that a failure is asked again and never averaged. A reasoning
    block before the reply is left out.
    """
    text = plain(text).lower()
    own = _FIRST_LINE.fullmatch(text.partition("\n")[0].strip())
    if own:
        return _within(float(own[1]), float(own[2]))
    text = _SCALE.sub(" ", text)
    if _OTHER_SCALE.search(text):
        return None
    lines = [_marked(line) for line in text.splitlines()]
    found = _alone(lines)
    one, two = _by_name("\n".join("" if _heads(line) else line for line in lines))
    if one and two:
        found |= {(first, second) for first in one for second in two}
    return _within(*found.pop()) if len(found) == 1 else None


def _within(first: float, second: float) -> tuple[float, float] | None:
    return (first, second) if all(LOWEST <= s <= HIGHEST for s in (first, second)) else None


def _marked(line: str) -> str:
    """A line with either name as one character, so that no digit of a name is a score."""
    line = _TOGETHER.sub(lambda m: f"{_ONE} {_TWO}" if m["one"] else f"{_TWO} {_ONE}", line)
    return _FIRST_OR_SECOND.sub(lambda m: _ONE if m["one"] or m["former"] else _TWO, line)


def _alone(lines: Sequence[str]) -> set[tuple[float, float]]:
    """Pairs alone in a line, in the order of the names right above, where only names stand."""
    found = set()
    swapped = False
    for line in lines:
        line = re.sub(r"[*_`]", "", line).strip()
        if not line.strip("|:- "):  # blank, or the rule of a table
            continue
        pair = _PAIR.fullmatch(line) if len(line) <= LONGEST else None
        if pair:
            scores = (float(pair[1]), float(pair[2]))
            found.add(scores[::-1] if swapped else scores)
        header = _heads(line)
        swapped = bool(header and header[1] == _TWO and header[2] == _ONE)
    return found


def _heads(line: str) -> re.Match[str] | None:
    """The two names of a line that holds nothing else; no long line is one."""
    return _HEADER.fullmatch(line) if len(line) <= LONGEST else None


def _by_name(text: str) -> tuple[set[float], set[float]]:
    """The scores given behind the name of either answer."""
    scores: tuple[set[float], set[float]] = (set(), set())
    for match in _GIVEN.finditer(text):
        scores[match[1] == _TWO].add(float(match[2]))
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
