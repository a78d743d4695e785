"""ROUGE-L of tokenised captions, in the form the COCO caption tools compute.

Lin, ROUGE: A Package for Automatic Evaluation of Summaries (2004): F of the longest common
subsequence with beta 1.2. The best precision and the best recall over the references are taken
each for itself, and a text without tokens counts as one empty token.
"""

from __future__ import annotations

from collections.abc import Sequence

BETA = 1.2

Tokens = Sequence[str]


def rouge_l(
    predictions: Sequence[Tokens], references: Sequence[Sequence[Tokens]]
) -> tuple[float, list[float]]:
    """ROUGE-L of captions: the mean over images and the value of each, in 0..1.

    Args:
      predictions: tokens of one caption per image, N of them.
      references: for each image the tokens of its references, at least one.

    Raises:
      ValueError: the two lists differ in length, are empty, or an image has no reference.
    """
    if len(predictions) != len(references) or not predictions:
        raise ValueError(f"{len(predictions)} captions for {len(references)} pictures")
    if not all(references):
        raise ValueError("every picture needs at least one reference")
    each = [_one(p or [""], refs) for p, refs in zip(predictions, references, strict=True)]
    return sum(each) / len(each), each


def _one(said: Tokens, refs: Sequence[Tokens]) -> float:
    common = [(_common(said, ref or [""]), len(ref) or 1) for ref in refs]
    precision = max(length for length, _ in common) / len(said)
    recall = max(length / size for length, size in common)
    if not precision or not recall:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def _common(first: Tokens, second: Tokens) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(second) + 1)
    for a in first:
        before = 0
        for i, b in enumerate(second):
            kept = row[i + 1]
            row[i + 1] = before + 1 if a == b else max(row[i], kept)
            before = kept
    return row[-1]
