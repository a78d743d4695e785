"""LLaVA-bench: reading a judge's two scores, and the ratio that papers print.

Liu et al., Visual Instruction Tuning (NeurIPS 2023), section 5.1: a judge sees the picture in
words, the question and two answers, the first from a text-only model that saw the words, the second
from the model under test, and gives each 1 to 10. The relative score is the ratio of the means.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

PROTOCOL = "llava-bench-1|two-numbers-in-first-line|failed-excluded"
LOWEST, HIGHEST = 1.0, 10.0

# "8/10" and "8分（满分10分）" are one score each; the scale is taken out first.
_SCALE = re.compile(
    r"\s*/\s*10(?:\.0+)?\b|\bout of (?:10|ten)\b|[(（]?\s*满分(?:为|是|:)?\s*10\s*分?\s*[)）]?"
)
_LABEL = re.compile(
    r"(?:assistant|ai|model|answer|回答|助手|助理|模型|答案)\s*[#_]?\s*[12一二](?!\d)"
)
_NUMBER = re.compile(r"(?<![\d.\-])\d+(?:\.\d+)?(?![\d])")


def parse_judge_scores(text: str) -> tuple[float, float] | None:
    """The two scores in the first line of a judge's reply that has any number, or None.

    ``8 9``, ``8, 9``, ``(8，9)``, ``**8** **9**``, ``8/10 9/10``, ``Assistant 1: 8, Assistant 2:
    9``, ``助手1：8分；助手2：9分`` are all read. Exactly two numbers from 1 to 10 must be there:
    a line with one, three, or one out of range is refused, so that a failure is asked again and
    never averaged.
    """
    text = unicodedata.normalize("NFKC", text).lower()
    for line in text.splitlines():
        line = _LABEL.sub(" ", _SCALE.sub(" ", line))
        numbers = [float(n) for n in _NUMBER.findall(line)]
        if numbers:
            if len(numbers) != 2 or not all(LOWEST <= n <= HIGHEST for n in numbers):
                return None
            return numbers[0], numbers[1]
    return None


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
