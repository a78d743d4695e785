"""Retrieval by embeddings (ITC), and ranked again by image-text matching (ITM) as in BLIP-2."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from zv_jax.data.records.record import ImageRef, Record
from zv_jax.evaluation.metrics import retrieval
from zv_jax.evaluation.model import Model
from zv_jax.evaluation.predict import Finder, Tick, batches
from zv_jax.evaluation.results import Measure, Writer, per_item
from zv_jax.evaluation.task import Task

SHOWN = 5  # of the best, in a sample


@dataclass(frozen=True)
class Gallery:
    """N images, whose ids are those of their records, and M texts.

    `owners` says for which image a text was written, `belongs` bool [N, M] what are targets of each
    other.
    """

    ids: tuple[str, ...]
    images: tuple[ImageRef, ...]
    texts: tuple[str, ...]
    owners: tuple[int, ...]
    belongs: np.ndarray

    @property
    def text_ids(self) -> list[str]:
        """The id of each text: of its image, numbered where that has several."""
        seen: Counter[int] = Counter()
        out = []
        for owner in self.owners:
            out.append(self.ids[owner] + (f"#{seen[owner]}" if seen[owner] else ""))
            seen[owner] += 1
        return out


def gallery(task: Task, records: Sequence[Record]) -> Gallery:
    """All captions of every record's image, or the first caption of every image, of whose records
    the first counts."""
    if task.captions == "all":
        pairs = [(text, n) for n, r in enumerate(records) for text in r.answers or ()]
        texts, owners = (tuple(column) for column in zip(*pairs, strict=True))
        images = tuple(record.images[0] for record in records)
        belongs = retrieval.positives(owners, len(images))
        return Gallery(tuple(r.id for r in records), images, texts, owners, belongs)
    first: dict[ImageRef, Record] = {}
    for record in records:
        first.setdefault(record.images[0], record)
    texts = tuple((r.answers or (r.turns[-1].text,))[0] for r in first.values())
    ids = tuple(record.id for record in first.values())
    return Gallery(ids, tuple(first), texts, tuple(range(len(ids))), retrieval.same_text(texts))


def similarities(
    model: Model, gallery: Gallery, image: Finder, batch_size: int, tick: Tick = lambda n: None
) -> np.ndarray:
    """ITC: float [N, M], the best query of each image; one batch of images is held at a time."""

    def embedded(rows: Sequence[Any], embed: Callable[[list], np.ndarray]) -> np.ndarray:
        return _batched(batches(rows, batch_size), embed, tick)

    images = embedded(gallery.images, lambda part: model.embed_images([image(ref) for ref in part]))
    texts = embedded(gallery.texts, model.embed_texts)
    return best_of_queries(images, texts)


def best_of_queries(images: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Cosine similarity of each image's best query with each text: float [N, Q, D] and [M, D] to
    [N, M] (Li et al. 2023, section 3.2)."""
    return np.einsum("nqd,md->nqm", images, texts).max(1)


def measures(task: Task, gallery: Gallery, similarity: np.ndarray) -> tuple[Measure, ...]:
    """Recalls by ITC similarities [N, M]."""
    hits = retrieval.recall_hits(similarity, gallery.belongs, task.ks)
    how = _protocol(task, gallery, "itc: max over queries")
    return tuple(per_item(f"{name}_itc", hits[name].tolist(), how) for name in hits)


def matched(
    task: Task,
    gallery: Gallery,
    similarity: np.ndarray,
    model: Model,
    image: Finder,
    k: int,
    limit: int,
    batch_size: int,
    tick: Tick = lambda n: None,
) -> tuple[Measure, ...]:
    """Recalls after the best `k` by ITC of the first `limit` queries (0: all) are matched anew."""

    def direction(scores: np.ndarray, by_image: bool) -> np.ndarray:
        scores = scores[: limit or None]
        best = retrieval.top_k(scores, min(k, scores.shape[1]))
        pairs = [(q, c) if by_image else (c, q) for q, row in enumerate(best) for c in row]

        def match(part: list[tuple[int, int]]) -> np.ndarray:
            images = [image(gallery.images[i]) for i, _ in part]
            return model.match(images, [gallery.texts[j] for _, j in part])

        logits = _batched(batches(pairs, batch_size), match, tick)
        return retrieval.reranked(scores, best, logits.reshape(best.shape))

    by_image, by_text = direction(similarity, True), direction(similarity.T, False)
    k = min(k, *similarity.shape)
    queries = len(by_image)
    how = _protocol(task, gallery, f"itm + itc on the best {k} by itc, first {queries} queries")
    return _recalls(task, gallery, by_image, by_text, k, how)


def _recalls(
    task: Task, gallery: Gallery, by_image: np.ndarray, by_text: np.ndarray, k: int, how: str
) -> tuple[Measure, ...]:
    """Recalls of the first queries of each direction from their own scores."""
    belongs = gallery.belongs
    found = retrieval.hits(
        retrieval.ranks(by_image, belongs[: len(by_image)]),
        retrieval.ranks(by_text, belongs.T[: len(by_text)]),
        [few for few in task.ks if few <= k],
    )
    asked = {"text": (len(by_image), len(belongs)), "image": (len(by_text), belongs.shape[1])}
    out = []
    for name, hits in found.items():
        queries, all_of_them = asked[name.partition("_")[0]]
        measure = per_item(f"{name}_itm", hits.tolist(), how)
        out.append(replace(measure, asked=queries if queries < all_of_them else 0))
    return tuple(out)


def chance(task: Task, gallery: Gallery) -> dict[str, float]:
    """Metric, whatever ranks -> expected percentage of a random order."""
    values = retrieval.chance(gallery.belongs, task.ks)
    return {f"{name}_{by}": 100.0 * value for name, value in values.items() for by in task.metrics}


def samples(
    writer: Writer, name: str, lang: str, gallery: Gallery, similarity: np.ndarray, limit: int
) -> None:
    """Of the first images both directions, with the best five and their similarities."""
    to_image, to_text = retrieval.top_k(similarity.T, SHOWN), retrieval.top_k(similarity, SHOWN)
    for i in range(len(gallery.images))[: limit or None]:
        own = [j for j, owner in enumerate(gallery.owners) if owner == i]
        facts = {"id": gallery.ids[i], "references": [gallery.texts[j] for j in own]}
        images = [
            {"image": writer.image(gallery.images[n])} | _fit(gallery, similarity, n, own[0])
            for n in to_image[own[0]]
        ]
        texts = [{"text": gallery.texts[n]} | _fit(gallery, similarity, i, n) for n in to_text[i]]
        asked = {"question": gallery.texts[own[0]], "direction": "image"}
        for facts_of, best in ((asked, images), ({"direction": "text"}, texts)):
            shown = {
                "prediction": next(iter(best[0].values())),
                "correct": best[0]["correct"],
                "retrieved": best,
            }
            writer.sample(name, lang, [gallery.images[i]], **facts, **facts_of, **shown)


def _fit(gallery: Gallery, similarity: np.ndarray, image: int, text: int) -> dict[str, Any]:
    score = round(float(similarity[image, text]), 4)
    return {"score": score, "correct": bool(gallery.belongs[image, text])}


def _protocol(task: Task, gallery: Gallery, how: str) -> str:
    size = f"{len(gallery.images)} images x {len(gallery.texts)} texts"
    texts = "all captions"
    if task.captions == "first":
        shared = int((gallery.belongs.sum(1) > 1).sum())
        texts = f"one caption an image, equal ones are one target ({shared} images share theirs)"
    return f"{size}, {texts}|{how}|ties count against the model"


def _batched(
    parts: Iterable[tuple[list, int]], run: Callable[[list], np.ndarray], tick: Tick
) -> np.ndarray:
    found = []
    for part, real in parts:
        found.append(np.asarray(run(part), np.float32)[:real])
        tick(real)
    return np.concatenate(found)
