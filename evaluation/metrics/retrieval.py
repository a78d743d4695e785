"""Recall of retrieval in both directions from one matrix of similarities.

`text_recall@k`: share of images with any of their own texts among the k most similar texts.
`image_recall@k`: share of texts with their image among the k most similar images. Papers call them
TR@k and IR@k. Several texts per image, and texts that fit several images, are both expressed by
the matrix of what belongs together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

EXCLUDED = -100.0  # score of what is not among the candidates


def positives(image_of_text: Sequence[int], images: int) -> np.ndarray:
    """bool [images, texts]: true where the text was written for the image."""
    matrix = np.zeros((images, len(image_of_text)), bool)
    matrix[np.asarray(image_of_text), np.arange(len(image_of_text))] = True
    return matrix


def same_text(texts: Sequence[str]) -> np.ndarray:
    """bool [N, N] for one text per image: equal texts belong to each other's images too."""
    _, kind = np.unique(np.asarray(texts, dtype=object).astype(str), return_inverse=True)
    return kind[:, None] == kind[None, :]


def ranks(similarity: np.ndarray, belongs: np.ndarray) -> np.ndarray:
    """Rank (from 1) of each row's best own column.

    Ties count against us: a column of another that is as similar comes before ours.

    Args:
      similarity: float [rows, columns], no NaN.
      belongs: bool [rows, columns], at least one true per row.

    Raises:
      ValueError: shapes differ, a similarity is NaN or a row has nothing to find.
    """
    if similarity.shape != belongs.shape or similarity.ndim != 2:
        raise ValueError(f"similarities {similarity.shape} do not fit {belongs.shape}")
    if np.isnan(similarity).any():
        raise ValueError("a similarity is not a number")
    if not belongs.any(1).all():
        raise ValueError("a row has nothing to find")
    best = np.where(belongs, similarity, -np.inf).max(1, keepdims=True)
    return 1 + ((similarity >= best) & ~belongs).sum(1)


def recall_hits(
    similarity: np.ndarray, belongs: np.ndarray, ks: Sequence[int]
) -> dict[str, np.ndarray]:
    """Per query whether it was found, by metric: ``text_recall@1`` bool [images],
    ``image_recall@1`` bool [texts], ...

    Args:
      similarity: float [images, texts].
      belongs: bool [images, texts].
      ks: how many of the most similar count.
    """
    return hits(ranks(similarity, belongs), ranks(similarity.T, belongs.T), ks)


def hits(
    text_ranks: np.ndarray, image_ranks: np.ndarray, ks: Sequence[int]
) -> dict[str, np.ndarray]:
    """`recall_hits` from the ranks of the texts that images look for, and of the images that texts
    look for: the two directions of each k beside each other."""
    return {
        f"{looked_for}_recall@{k}": found <= k
        for k in ks
        for looked_for, found in (("text", text_ranks), ("image", image_ranks))
    }


def retrieval_recall(
    scores: np.ndarray, image_of_text: Sequence[int], ks: Sequence[int] = (1, 5, 10)
) -> dict[str, float]:
    """Recall in both directions, in percent: ``{"text_recall@1": ..., "image_recall@1": ...}``.

    Args:
      scores: float [images, texts], larger for what fits better; no NaN.
      image_of_text: for each text the index of the image it was written for.
      ks: how many of the best count.

    Raises:
      ValueError: shapes do not fit, a score is NaN, or an image has no text.
    """
    found = recall_hits(scores, positives(image_of_text, len(scores)), ks)
    return {name: 100.0 * float(right.mean()) for name, right in found.items()}


def reranked(itc: np.ndarray, candidates: np.ndarray, itm: np.ndarray) -> np.ndarray:
    """Scores [rows, columns] after re-ranking the best candidates by image-text matching.

    As in BLIP-2: a candidate's score is its ITM logit plus its ITC similarity, every other column
    comes behind all of them.

    Args:
      itc: float [rows, columns], similarities.
      candidates: int [rows, k], the columns that were matched; `top_k` gives them.
      itm: float [rows, k], their logits of the class "match".
    """
    out = np.full(itc.shape, EXCLUDED, np.float32)
    rows = np.arange(len(itc))[:, None]
    out[rows, candidates] = itc[rows, candidates] + itm
    return out


def chance(belongs: np.ndarray, ks: Sequence[int]) -> dict[str, float]:
    """Expected recalls, in 0..1, of a random order, by the names of `recall_hits`."""

    def expected(matrix: np.ndarray, k: int) -> float:
        size = matrix.shape[1]
        k = min(k, size)
        missed = [math.comb(size - int(own), k) / math.comb(size, k) for own in matrix.sum(1)]
        return 1.0 - sum(missed) / len(missed)

    found = {f"text_recall@{k}": expected(belongs, k) for k in ks}
    return found | {f"image_recall@{k}": expected(belongs.T, k) for k in ks}


def top_k(similarity: np.ndarray, k: int) -> np.ndarray:
    """int [rows, k]: columns by falling similarity, equal ones in their order."""
    return np.argsort(-similarity, axis=1, kind="stable")[:, :k]
