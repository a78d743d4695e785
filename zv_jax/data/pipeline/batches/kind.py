"""What every kind of batch has: its samples, the row of one, the batch of many; and the look-up."""

from __future__ import annotations

import abc
import functools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from PIL import Image

from zv_jax.data.images import decode
from zv_jax.data.images.decode import ImageCache
from zv_jax.data.images.view import View
from zv_jax.data.records import record as records_lib
from zv_jax.data.records.record import ImageRef, Record
from zv_jax.data.records.record_index import RecordIndex
from zv_jax.data.sources.open import Source
from zv_jax.data.text import dialogue as dialogue_lib
from zv_jax.data.text.dialogue import Row
from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.errors import DataError
from zv_jax.models.prompt import PromptConfig

Batch = dict[str, np.ndarray]
WHOLE, BARE = -1, -2
"""Parts of a record that are not one answer: the dialogue at once, its caption as bare text."""
EVERY_TASK = tuple(task for task in records_lib.TASKS if task != "retrieval")  # nothing to learn


@dataclass(frozen=True)
class BatchShape:
    """The numbers a batch depends on; see `DataConfig` for their meaning.

    Only `max_length` and `max_images` may differ between the sources of a mixture.
    """

    kind: str
    seed: int
    image_size: int
    patch_size: int
    num_queries: int
    image_token_id: int
    max_text: int
    max_length: int
    max_answer: int
    long_answers: str
    max_qformer_text: int
    max_images: int
    box_decimals: int
    transparency: str
    augment: bool
    prompt: PromptConfig


@dataclass(frozen=True)
class Drawn:
    """One source of a mixture.

    Attributes:
      place: in `data.sources`; with it everything is drawn, since two sources may be equal in all
        else, and paths may change.
      label: what messages and counts call it: its place, name, path and split.
      source: its records; table: what is drawn of them, see `Kind.samples`.
      shape: of its rows.
    """

    place: int
    label: str
    source: Source
    table: np.ndarray
    shape: BatchShape

    @functools.cached_property
    def learned(self) -> np.ndarray:
        """bool [records]: whether a record is drawn."""
        return np.isin(np.arange(len(self.source)), self.table[:, 0])


@dataclass(frozen=True)
class Sample:
    """One sample: part `part` of record number `index` of a source, drawn in epoch `epoch`."""

    drawn: Drawn
    index: int
    record: Record
    part: int
    epoch: int

    @property
    def exchanges(self) -> tuple[dialogue_lib.Exchange, ...]:
        """The dialogue of its record."""
        return self.exchanges_of(self.record)

    def exchanges_of(self, record: Record) -> tuple[dialogue_lib.Exchange, ...]:
        """The dialogue of another record, drawn as this one's is."""
        shape = self.drawn.shape
        return dialogue_lib.exchanges(
            record, box_decimals=shape.box_decimals, seed=shape.seed, epoch=self.epoch
        )

    def caption(self) -> str:
        """The caption of its record, boxes as text.

        Raises:
          DataError: it is empty.
        """
        shape = self.drawn.shape
        text = dialogue_lib.caption(self.record, shape.seed, self.epoch)
        return self.taught(dialogue_lib.render_boxes(text, self.record.objects, shape.box_decimals))

    def taught(self, text: str) -> str:
        """`text`, which the model is to learn.

        Raises:
          DataError: there is nothing to learn.
        """
        if not text.strip():
            raise DataError(
                "the text to learn is empty",
                where=self.record.id,
                expected="at least one character",
                fix="complete the record or remove it",
            )
        return text


class Words(NamedTuple):
    """The texts of one sample, as ids of the language model and of the Q-Former, without what
    stands for images or around a text; `left_out` and `cut` as in `Row`; `unread`: how many ids
    at the beginning of an instruction the Q-Former does not read, since it is too long."""

    llm: list[int]
    qformer: list[int]
    left_out: int = 0
    cut: int = 0
    unread: int = 0


class Images:
    """The images of a mixture, decoded and resized.

    They are known by root and path: references of two roots may read alike.
    """

    def __init__(self, shape: BatchShape, keep: bool):
        """`keep`: whether images stay in memory."""
        self._cache = ImageCache(shape.image_size, keep, shape.transparency)
        self._sha1s: dict[tuple[str, str], str] = {}  # of images that the cache keeps

    def pixels(self, source: Source, ref: ImageRef, view: View | None = None) -> np.ndarray:
        """uint8 [H, W, 3] of the image, or of a view of it, which is read anew each time."""
        if view is not None:
            return self._part(source.image(ref), view)
        return self._cache.get(self._key(source, ref), lambda: source.image(ref))

    def _part(self, image: Image.Image, view: View) -> np.ndarray:
        cache = self._cache
        return decode.resize(view.show(decode.opaque(image, cache.transparency)), cache.size)

    def identified(
        self, source: Source, ref: ImageRef, view: View | None = None
    ) -> tuple[np.ndarray, int]:
        """The image or a view of it, and 31 bits of the image's SHA-1: its id is its content, so
        that a data set and its translation, each below a root of its own, are no negatives of each
        other."""
        key = self._key(source, ref)
        sha1 = ref.sha1 or self._sha1s.get(key)
        if sha1:
            pixels = self.pixels(source, ref, view)
        else:
            sha1, image = source.identified(ref)
            if view is None:
                pixels = self._cache.get(key, lambda: image)
            else:
                pixels = self._part(image, view)
            if self._cache.keep:
                self._sha1s[key] = sha1
        return pixels, zlib.crc32(sha1.encode()) & 0x7FFFFFFF

    @staticmethod
    def _key(source: Source, ref: ImageRef) -> tuple[str, str]:
        return source.root, ref.path or ref.shard_key or ref.url or ""


class Tools(NamedTuple):
    """What rows are made with: the tokenizers of language model and Q-Former, and the images."""

    tokenizer: Tokenizer
    qformer_tokenizer: Tokenizer
    images: Images


class AnyRow(Protocol):
    """A row before it is in a batch; `text` is the one that length may have shortened, if any."""

    text: Row | None


class Kind(abc.ABC):
    """A kind of batch.

    Attributes:
      tasks: of the records that it draws where a source names none.
    """

    tasks: ClassVar[tuple[str, ...]] = EVERY_TASK

    def __init__(self, tools: Tools):
        self.tools = tools

    @classmethod
    def fits(cls, facts: RecordIndex, max_images: int) -> np.ndarray:
        """bool [N]: which records of a source have a number of images that it can show."""
        return facts.images == 1

    @classmethod
    def samples(cls, facts: RecordIndex, kept: np.ndarray, one_answer: bool) -> np.ndarray:
        """int64 [N, 2] of (record, part): the samples in the records that are `kept`, bool [N].

        `one_answer` as in `stages.Stage`.
        """
        return parts(np.flatnonzero(kept), WHOLE)

    @abc.abstractmethod
    def row(self, sample: Sample) -> AnyRow:
        """The row of a sample.

        Raises:
          DataError: it cannot be used; `TooLong` where nothing of it fits.
        """

    @abc.abstractmethod
    def words(self, sample: Sample) -> Words:
        """The texts of a sample as they are learned; images are not read. Raises as `row`."""

    @abc.abstractmethod
    def collate(self, shape: BatchShape, rows: Sequence[Any]) -> Batch:
        """The arrays that `stages.BATCHES` lists, of rows that `row` made."""


KINDS: dict[str, type[Kind]] = {}
"""Every kind of batch by the name that `stages.Stage.batch` gives it."""


def register(name: str, kind: type[Kind]) -> None:
    """Lets stages be fed with `kind` under the name `name`."""
    KINDS[name] = kind


def parts(rows: np.ndarray, part: int) -> np.ndarray:
    """int64 [N, 2]: the same part of each of these records."""
    return np.stack([rows, np.full_like(rows, part)], axis=1).astype(np.int64)


def text_arrays(texts: Sequence[Row], tokenizer: Tokenizer, length: int) -> Batch:
    """Rows of the language model, padded on the right to `length`."""
    ids, labels = [row.input_ids for row in texts], [row.labels for row in texts]
    return {
        "input_ids": dialogue_lib.pad_right(ids, tokenizer.pad_id, length),
        "attention_mask": dialogue_lib.mask_of(ids, length),
        "labels": dialogue_lib.pad_right(labels, dialogue_lib.IGNORE, length),
    }
