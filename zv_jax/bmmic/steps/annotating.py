"""Views of a shard through the chain that annotates images, a batch at a time."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from zv_jax.bmmic.annotate.open import open_chain
from zv_jax.bmmic.config import Config
from zv_jax.bmmic.export import images
from zv_jax.bmmic.view import View
from zv_jax.data.images import decode
from zv_jax.errors import DataError
from zv_jax.progress import progress_bar

if TYPE_CHECKING:
    from zv_jax.bmmic.annotate.chain import Chain


class Annotator:
    """Gives boxes to the views that have none; those that people have drawn stay as they are.

    Args:
      folder: for images that are no files.

    Raises:
      ConfigError: a part cannot be opened.
    """

    def __init__(self, config: Config, folder: Path):
        given = images.opened(config.symbols.sources, "symbols.sources")
        self.chain: Chain = open_chain(config.annotate)
        self._images, self._batch = images.Images(given, folder), config.annotate.batch

    def shard(self, number: int, views: Sequence[View]) -> list[View]:
        """The views of a shard, in order."""
        out = list(views)
        bare = (i for i, view in enumerate(views) if not view.objects)
        with progress_bar(total=len(out), desc=f"annotate {number:05d}", unit=" images") as bar:
            while batch := list(itertools.islice(bare, self._batch)):
                self._annotate(out, batch)
                bar.update(batch[-1] + 1 - bar.n)
            bar.update(len(out) - bar.n)
        return out

    def _annotate(self, out: list[View], batch: Sequence[int]) -> None:
        shown: dict[int, Image.Image] = {}
        for i in batch:
            try:
                image = self._images.opened(out[i].image, str(out[i].meta.get("source", "")))
                shown[i] = decode.opaque(image, "white")  # as people see it
            except DataError as error:
                # One broken file must neither end a run of millions nor go without a word.
                meta = {**out[i].meta, "annotate": {"fault": error.what}}
                out[i] = dataclasses.replace(out[i], meta=meta)
        if shown:
            made = self.chain.annotate([out[i] for i in shown], list(shown.values()))
            for i, view in zip(shown, made, strict=True):
                out[i] = view
