"""Retrieval over the scenes of a split, by ITC similarity and, if asked for, ITM on the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from zv_jax.data.records.record import ImageRef, Record
from zv_jax.evaluation.metrics import retrieval
from zv_jax.evaluation.tasks.base import Measure, per_item

KS = (1, 5)


@dataclass(frozen=True)
class Gallery:
    """One picture and one caption per scene, N of each; ids are those of the records."""

    ids: tuple[str, ...]
    images: tuple[ImageRef, ...]
    texts: tuple[str, ...]

    @property
    def belongs(self) -> np.ndarray:
        """bool [N, N]: pictures whose captions are equal are targets of each other's."""
        return retrieval.same_text(self.texts)

    @property
    def shared(self) -> int:
        """Pictures whose caption is also another picture's."""
        return int((self.belongs.sum(1) > 1).sum())


class Retrieval:
    """Text retrieval (from image to caption) and image retrieval (from caption to image)."""

    name = "retrieval"
    version = "v2"  # names say which score ranked
    record_task = "caption"
    stages = ("stage0",)

    def gallery(self, records: Sequence[Record]) -> Gallery:
        """The canonical caption of every picture; of a picture's records the first counts."""
        first: dict[ImageRef, Record] = {}
        for record in records:
            first.setdefault(record.images[0], record)
        texts = tuple((r.answers or (r.turns[-1].text,))[0] for r in first.values())
        return Gallery(tuple(r.id for r in first.values()), tuple(first), texts)

    def protocol(self, gallery: Gallery, score: str) -> str:
        """The whole recipe of a number in one line."""
        size = len(gallery.texts)
        return (
            f"{self.name}|{self.version}|{size}x{size}, one canonical caption per picture|"
            f"equal captions are one target ({gallery.shared} pictures share theirs)|"
            f"{score}|ties count against the model"
        )

    def measures(self, gallery: Gallery, similarity: np.ndarray) -> tuple[Measure, ...]:
        """Recalls by ITC similarities [images, texts]."""
        hits = retrieval.recall_hits(similarity, gallery.belongs, KS)
        protocol = self.protocol(gallery, "itc: max over queries")
        return tuple(per_item(f"{name}_itc", hits[name].tolist(), protocol) for name in hits)

    def reranked(
        self,
        gallery: Gallery,
        by_image: np.ndarray,
        by_text: np.ndarray,
        k: int,
    ) -> tuple[Measure, ...]:
        """The same from scores [n, N] of the first n pictures, and of the first n captions."""
        n = len(by_image)
        protocol = self.protocol(gallery, f"itm + itc on the best {k} by itc, first {n} queries")
        belongs = gallery.belongs
        hits = retrieval.hits(
            retrieval.ranks(by_image, belongs[:n]),
            retrieval.ranks(by_text, belongs.T[:n]),
            [few for few in KS if few <= k],
        )
        measures = [per_item(f"{name}_itm", hits[name].tolist(), protocol) for name in hits]
        asked = n if n < len(gallery.ids) else 0
        return tuple(replace(measure, asked=asked) for measure in measures)

    def chance(self, gallery: Gallery) -> dict[str, float]:
        """Metric -> expected percentage of a random order."""
        values = retrieval.chance(gallery.belongs, KS)
        return {name: 100.0 * value for name, value in values.items()}


def similarities(images: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """ITC: images [N,Q,D] and texts [M,D], L2-normalised -> [N,M], the best query of each image."""
    return np.einsum("nqd,md->nqm", images, texts).max(1)
