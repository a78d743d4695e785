"""CIDEr-D of tokenised captions.

Vedantam et al., CIDEr: Consensus-based Image Description Evaluation (CVPR 2015), the -D variant, in
the form the COCO caption tools compute: n-grams of 1 to 4 tokens, raw counts weighted by the idf of
the references of the evaluated set, clipped products, a Gaussian penalty on the difference of
lengths (counted in bigrams), times 10, no stemming.

The document frequencies come from the evaluated set, so a score on part of a set is no estimate of
the score on all of it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

MAX_N = 4
SIGMA = 6.0

Grams = Counter[tuple[str, ...]]


def cider_d(
    predictions: Sequence[Sequence[str]],
    references: Sequence[Sequence[Sequence[str]]],
    corpus: Sequence[Sequence[Sequence[str]]] | None = None,
) -> tuple[float, list[float]]:
    """CIDEr-D of tokenised captions.

    Args:
      predictions: tokens of one caption per image, N of them.
      references: for each image the tokens of its references, at least one.
      corpus: references of the set whose document frequencies count, where `references` is only a
        part of it; by default `references`.

    Returns:
      The mean over images and the N scores, each in 0..10. Papers print a hundredfold. A single
      image always scores 0, because then no n-gram has any idf.

    Raises:
      ValueError: the two lists differ in length, are empty, or an image has no reference.
    """
    if len(predictions) != len(references) or not predictions:
        raise ValueError(f"{len(predictions)} captions for {len(references)} pictures")
    if not all(references):
        raise ValueError("every picture needs at least one reference")
    cooked = [[_grams(r) for r in refs] for refs in references]
    counted = cooked if corpus is None else [[_grams(r) for r in refs] for refs in corpus]
    frequency: Grams = Counter()
    for refs in counted:
        frequency.update({gram for ref in refs for gram in ref})
    log_n = math.log(len(counted))

    def vector(grams: Grams) -> tuple[list[dict], list[float], int]:
        """Weights and norm per n-gram order, and the length in bigrams."""
        parts: list[dict[tuple[str, ...], float]] = [{} for _ in range(MAX_N)]
        for gram, count in grams.items():
            idf = log_n - math.log(max(1, frequency[gram]))
            parts[len(gram) - 1][gram] = count * idf
        norms = [math.sqrt(sum(w * w for w in part.values())) for part in parts]
        return parts, norms, sum(count for gram, count in grams.items() if len(gram) == 2)

    scores = []
    for prediction, refs in zip(predictions, cooked, strict=True):
        hypothesis = vector(_grams(prediction))
        total = sum(_similarity(hypothesis, vector(ref)) for ref in refs)
        scores.append(10.0 * total / len(refs))
    return sum(scores) / len(scores), scores


def _grams(tokens: Sequence[str]) -> Grams:
    return Counter(
        tuple(tokens[i : i + n]) for n in range(1, MAX_N + 1) for i in range(len(tokens) - n + 1)
    )


def _similarity(hypothesis: tuple, reference: tuple) -> float:
    """Mean over n-gram orders of the clipped cosine times the length penalty."""
    (h_parts, h_norms, h_length), (r_parts, r_norms, r_length) = hypothesis, reference
    total = 0.0
    for h, r, h_norm, r_norm in zip(h_parts, r_parts, h_norms, r_norms, strict=True):
        if h_norm and r_norm:
            dot = sum(min(w, r[gram]) * r[gram] for gram, w in h.items() if gram in r)
            total += dot / (h_norm * r_norm)
    return total / MAX_N * math.exp(-((h_length - r_length) ** 2) / (2 * SIGMA**2))
