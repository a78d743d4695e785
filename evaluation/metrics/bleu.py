"""BLEU-1 to BLEU-4 of tokenised captions, in the form the COCO caption tools compute.

Papineni et al., BLEU: a Method for Automatic Evaluation of Machine Translation (ACL 2002): counts
summed over the corpus, clipped by the largest count in any reference, the length of the closest
reference, a brevity penalty. The tools keep zero counts out of the product by tiny constants,
which decide the value of a sentence without any common 4-gram.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

MAX_N = 4
_TINY, _SMALL = 1e-15, 1e-9

Tokens = Sequence[str]


def bleu(
    predictions: Sequence[Tokens], references: Sequence[Sequence[Tokens]]
) -> tuple[list[float], list[list[float]]]:
    """BLEU of captions.

    Args:
      predictions: tokens of one caption per image, N of them.
      references: for each image the tokens of its references, at least one.

    Returns:
      BLEU-1..4 of the corpus, and for every image its own four; in 0..1.

    Raises:
      ValueError: the two lists differ in length, are empty, or an image has no reference.
    """
    if len(predictions) != len(references) or not predictions:
        raise ValueError(f"{len(predictions)} captions for {len(references)} pictures")
    if not all(references):
        raise ValueError("every picture needs at least one reference")
    each = []
    totals = [0] * (2 * MAX_N + 2)
    for prediction, refs in zip(predictions, references, strict=True):
        counts = _counts(prediction, refs)
        totals = [a + b for a, b in zip(totals, counts, strict=True)]
        each.append(_scores(counts))
    return _scores(totals), each


def _counts(prediction: Tokens, refs: Sequence[Tokens]) -> list[int]:
    """Matches of each order, n-grams of each order, own length, closest reference length."""
    most: Counter[tuple[str, ...]] = Counter()
    for ref in refs:
        most |= _grams(ref)
    right = [0] * MAX_N
    for gram, count in _grams(prediction).items():
        right[len(gram) - 1] += min(count, most[gram])
    length = len(prediction)
    said = [max(0, length - n) for n in range(MAX_N)]
    closest = min((abs(len(ref) - length), len(ref)) for ref in refs)[1]
    return [*right, *said, length, closest]


def _grams(tokens: Tokens) -> Counter[tuple[str, ...]]:
    return Counter(
        tuple(tokens[i : i + n]) for n in range(1, MAX_N + 1) for i in range(len(tokens) - n + 1)
    )


def _scores(counts: Sequence[int]) -> list[float]:
    right, said, (length, closest) = counts[:MAX_N], counts[MAX_N : 2 * MAX_N], counts[-2:]
    ratio = (length + _TINY) / (closest + _SMALL)
    brevity = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    product, found = 1.0, []
    for n in range(MAX_N):
        product *= (right[n] + _TINY) / (said[n] + _SMALL)
        found.append(product ** (1 / (n + 1)) * brevity)
    return found
