"""Can a question about a photograph be answered at all? The second task of VizWiz-VQA.

Gurari et al., VizWiz Grand Challenge (CVPR 2018): average precision of the confidence that a
question is *un*answerable, and F1 of those above the confidence 0.5. Both as the challenge's
script takes them from scikit-learn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

PROTOCOL = "unanswerable-2|said=1,else=0|f1:>0.5"
THRESHOLD = 0.5


def unanswerable_scores(
    confidence: Sequence[float], answerable: Sequence[bool | int]
) -> dict[str, float]:
    """Average precision and F1 of finding unanswerable questions, in percent.

    Args:
      confidence: that a question is unanswerable, in 0..1. A model that only says "unanswerable"
        gives 1 or 0.
      answerable: the annotation of every question.

    Returns:
      ``ap``, with equal confidences taken together so that their order does not matter, and
      ``f1``; both 0 where no question is unanswerable.

    Raises:
      ValueError: nothing to score, lengths differ, or a confidence is not from 0 to 1.
    """
    score = np.asarray(confidence, np.float64)
    positive = ~np.asarray(answerable).astype(bool)
    if not len(score) or score.shape != positive.shape:
        raise ValueError(f"{score.shape} confidences do not fit {positive.shape} questions")
    if not ((score >= 0) & (score <= 1)).all():
        raise ValueError("a confidence is not from 0 to 1")
    if not positive.any():
        return {"ap": 0.0, "f1": 0.0}
    order = np.argsort(-score, kind="stable")
    found = np.cumsum(positive[order])
    last = np.append(np.diff(score[order]) != 0, True)  # of each group of equal confidences
    precision = (found / np.arange(1, len(score) + 1))[last]
    recall = (found / positive.sum())[last]
    ap = float(np.sum(np.diff(recall, prepend=0.0) * precision))
    said = score > THRESHOLD  # as the script: 0.5 itself is answerable
    right = float((said & positive).sum())
    f1 = 2 * right / (said.sum() + positive.sum())
    return {"ap": 100.0 * ap, "f1": 100.0 * float(f1)}
