"""Retrieval on pictures with any number of captions: by ITC, and re-ranked by ITM as in BLIP-2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from zv_jax.evaluation import generation
from zv_jax.evaluation.benchmarks.data import Data
from zv_jax.evaluation.metrics import retrieval
from zv_jax.evaluation.model import Model
from zv_jax.evaluation.tasks.base import Measure, per_item
from zv_jax.evaluation.tasks.retrieval import similarities

KS = (1, 5, 10)
Tick = Callable[[int], object]


@dataclass(frozen=True)
class Retrieved:
    """Measures (ITM's are the headline where there are any), similarities float [N, M], the texts
    and whose they are."""

    measures: tuple[Measure, ...]
    similarity: np.ndarray
    texts: tuple[str, ...]
    image_of_text: tuple[int, ...]


def retrieve(
    model: Model, data: Data, rerank_k: int, batch_size: int, tick: Tick = lambda n: None
) -> Retrieved:
    """Recalls over all pictures and captions of the data.

    Args:
      rerank_k: how many of the best by ITC are matched anew for every query; 0: none.
    """
    images = [record.images[0] for record in data.records]
    pairs = [(text, n) for n, record in enumerate(data.records) for text in record.answers or ()]
    texts, owners = (tuple(column) for column in zip(*pairs, strict=True))
    pictures = generation.image_embeddings(model, images, data.picture, batch_size, tick)
    words = generation.text_embeddings(model, texts, batch_size, tick)
    similarity = similarities(pictures, words)
    belongs = retrieval.positives(owners, len(images))
    gallery = f"{len(images)} images x {len(texts)} texts|ties count against the model"
    measures = _measures(similarity, similarity.T, belongs, f"itc|{gallery}", "itc")
    if rerank_k:
        by_image = _match(model, similarity, rerank_k, images, texts, data, batch_size, tick)
        by_text = _match(
            model, similarity.T, rerank_k, images, texts, data, batch_size, tick, by_text=True
        )
        how = f"itm+itc on the best {min(rerank_k, len(images), len(texts))} by itc|{gallery}"
        measures = _measures(by_image, by_text, belongs, how, "itm") + measures
    return Retrieved(tuple(measures), similarity, texts, owners)


def _measures(
    by_image: np.ndarray, by_text: np.ndarray, belongs: np.ndarray, how: str, by: str
) -> list[Measure]:
    ranks = retrieval.ranks(by_image, belongs), retrieval.ranks(by_text, belongs.T)
    hits = retrieval.hits(*ranks, KS)
    return [per_item(f"{name}_{by}", hits[name].tolist(), how) for name in hits]


def _match(
    model: Model,
    similarity: np.ndarray,
    k: int,
    images: list,
    texts: tuple[str, ...],
    data: Data,
    batch_size: int,
    tick: Tick,
    by_text: bool = False,
) -> np.ndarray:
    """Scores of every query [rows, columns] after matching its best `k` columns."""
    k = min(k, similarity.shape[1])
    best = retrieval.top_k(similarity, k)
    pairs = [
        (images[column], texts[row]) if by_text else (images[row], texts[column])
        for row in range(len(best))
        for column in best[row]
    ]
    logits = generation.match_scores(model, pairs, data.picture, batch_size, tick)
    return retrieval.reranked(similarity, best, logits.reshape(-1, k))
