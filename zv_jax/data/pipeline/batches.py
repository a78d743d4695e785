"""Places of the stream to numpy batches: reads records and pictures, writes rows of ids.

A sample that cannot be used is replaced by another of its source, the same one on every machine.
"""

from __future__ import annotations

import collections
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from zv_jax.data.images.decode import ImageCache
from zv_jax.data.pipeline.faults import CUT, LEFT_OUT, TOO_LONG, Fault, Shortened, too_many
from zv_jax.data.pipeline.mixing import BARE, WHOLE, Pick
from zv_jax.data.pipeline.symbols import patch_symbols, symbolic_views
from zv_jax.data.records.record import ImageRef, Record
from zv_jax.data.sources.open import Source
from zv_jax.data.text import dialogue as dialogue_lib
from zv_jax.data.text.dialogue import Row, TooLong
from zv_jax.data.text.templates import seeded
from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.errors import DataError
from zv_jax.models.prompt import PromptConfig

Batch = dict[str, np.ndarray]
SYMBOL_TOKENS = 16  # the first of more are left out
EMPTY = -1  # in `symbols`: no token here
MAX_TRIES = 100  # samples in a row, before a place of the stream stays empty


@dataclass(frozen=True)
class Shape:
    """The numbers a batch depends on; see `DataConfig` for their meaning.

    Only `max_length` and `max_images` may differ between the sources of a mixture.
    """

    stage: str
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
    prompt: PromptConfig


@dataclass(frozen=True)
class Drawn:
    """One source of a mixture.

    Attributes:
      place: in `data.sources`; with it everything is drawn, since two sources may be equal in all
        else, and paths may change.
      label: what messages and counts call it: its place, name, path and split.
      source: its records; table: what is drawn of them, see `mixing.samples`.
      shape: of its rows.
    """

    place: int
    label: str
    source: Source
    table: np.ndarray
    shape: Shape


class Made(NamedTuple):
    """A batch, how many samples of each source were tried for it, those that were bad, and what
    length did to the rest."""

    batch: Batch
    tried: Mapping[str, int]
    faults: Sequence[Fault]
    shortened: Shortened


class Words(NamedTuple):
    """The texts of one sample, as ids of the language model and of the Q-Former, without what
    stands for images or around a text; `left_out` and `cut` as in `Row`; `unread`: how many ids
    at the beginning of an instruction the Q-Former does not read, since it is too long."""

    llm: list[int]
    qformer: list[int]
    left_out: int = 0
    cut: int = 0
    unread: int = 0


class Assembler:
    """Makes a batch from `Pick`s, whose `source` numbers the `Drawn`.

    A batch has the shape of its sources, which is the same for all of its picks.
    """

    def __init__(
        self,
        drawn: Sequence[Drawn],
        tokenizer: Tokenizer,
        qformer_tokenizer: Tokenizer,
        cache_images: bool,
    ):
        self.drawn = list(drawn)
        self.shape = drawn[0].shape  # for what all have in common
        self.tokenizer, self.qformer_tokenizer = tokenizer, qformer_tokenizer
        self.cache = ImageCache(self.shape.image_size, cache_images, self.shape.transparency)
        self.learned = [np.isin(np.arange(len(d.source)), d.table[:, 0]) for d in drawn]
        self.starts = np.cumsum([0, *(len(d.table) for d in drawn)])
        roots = sorted({d.source.root for d in drawn})
        self.roots = [roots.index(d.source.root) for d in drawn]
        self.sha1s: dict[tuple[int, str], str] = {}  # of images that the cache keeps

    def __call__(self, picks: Sequence[Pick]) -> Made:
        """The batch of `picks`, its rows in their order."""
        make = {"language": self._text, "vision": self._labelled, "stage0": self._pair}.get(
            self.shape.stage, self._dialogue
        )
        tried: collections.Counter[str] = collections.Counter()
        shortened: collections.Counter[tuple[str, str]] = collections.Counter()
        faults: list[Fault] = []
        rows = [self._replacing(pick, make, tried, faults, shortened) for pick in picks]
        collate = {"language": self._symbols, "vision": self._patches, "stage0": self._pairs}
        shape = self.drawn[picks[0].source].shape
        batch = collate.get(shape.stage, self._dialogues)(shape, [row for _, row in rows])
        batch["index"] = np.array([index for index, _ in rows], np.int64)
        return Made(batch, tried, faults, shortened)

    def names(self, index: np.ndarray) -> list[str]:
        """Ids of the records that `index` of a batch numbers."""
        found = []
        for place in index.tolist():
            number = int(np.searchsorted(self.starts, place, side="right")) - 1
            record, _ = self.drawn[number].table[place - self.starts[number]]
            found.append(self.drawn[number].source.record(int(record)).id)
        return found

    def source(self, index: np.ndarray) -> int:
        """Number of the source of the first sample of `index`."""
        return int(np.searchsorted(self.starts, index[0], side="right")) - 1

    def _replacing(
        self,
        pick: Pick,
        make: Callable[..., tuple[Any, Row | None]],
        tried: collections.Counter[str],
        faults: list[Fault],
        shortened: collections.Counter[tuple[str, str]],
    ) -> tuple[int, Any]:
        """The row of `pick`, or of another sample: any, since bad ones come in clusters."""
        number, sample, epoch = pick
        drawn = self.drawn[number]
        table, source, label = drawn.table, drawn.source, drawn.label
        bad: list[Fault] = []
        for attempt in range(1, MAX_TRIES + 1):
            index, part = table[sample]
            name = source.where(int(index))
            try:
                record = source.record(int(index))
                name = record.id
                made, row = make(number, int(index), record, int(part), epoch)
            except TooLong as error:
                shortened[label, TOO_LONG] += 1
                long = Fault(label, name, error.what, error.where or name)
            except DataError as error:
                tried[label] += 1
                bad.append(Fault(label, name, error.what, error.where or name))
            else:
                tried[label] += 1
                if row and row.left_out:
                    shortened[label, LEFT_OUT] += row.left_out
                if row and row.cut:
                    shortened[label, CUT] += row.cut
                faults.extend(replace(fault, instead=record.id) for fault in bad)
                return int(self.starts[number]) + sample, made
            draw = f"{drawn.place} {self.shape.seed} {epoch} {pick.sample} {attempt}"
            sample = zlib.crc32(draw.encode()) % len(table)
        if 2 * len(bad) > MAX_TRIES:
            raise too_many(f"{len(bad)} of {MAX_TRIES}", 0.0, bad[-1])
        share = f"{MAX_TRIES - len(bad)} of {MAX_TRIES}" if bad else str(MAX_TRIES)
        raise TooLong(
            f"{share} samples of {label} in a row are too long; the last: {long.what}",
            where=f"{long.record}: {long.where}",
            expected="samples that fit",
            fix="raise data.max_length (and data.max_answer), or leave the source out",
        )

    def words(self, number: int, index: int, part: int, epoch: int) -> Words:
        """The texts of one sample of source `number`, as they are learned; images are not read.

        Raises:
          DataError: the sample cannot be used; `TooLong` where nothing of it fits.
        """
        record, stage = self.drawn[number].source.record(index), self.shape.stage
        if stage == "vision":
            return Words([], [])
        if stage == "stage0":
            row = self._caption(record, epoch)
            return Words([], row.input_ids[1:-1], row.left_out, row.cut)
        if stage == "language":
            row, asked = self._text(number, index, record, part, epoch)[1], ""
        else:
            row, asked = self._turns(number, record, part, epoch)
        said = [i for i in row.input_ids if i != self.shape.image_token_id]
        if stage == "language" or part == WHOLE:  # the Q-Former of Base reads no instruction
            return Words(said, [], row.left_out, row.cut)
        read = self._instruction(number, asked)[1:-1]
        unread = len(self.qformer_tokenizer.encode(asked)) - len(read)
        return Words(said, read, row.left_out, row.cut, unread)

    # Rows.

    def _text(
        self, number: int, index: int, record: Record, part: int, epoch: int
    ) -> tuple[tuple[Row, list[np.ndarray]], Row]:
        """A row of text and, for each of its image blocks, the picture in symbols."""
        shape, tokenizer = self.drawn[number].shape, self.tokenizer
        if part == BARE:
            text = _told(dialogue_lib.caption(record, shape.seed, epoch), record)
            row = dialogue_lib.text_row(text, tokenizer, shape.max_length, shape.long_answers)
            return (row, []), row
        # Half of the views show only what is asked about, as the Q-Former of Chat can.
        narrow = bool(seeded(shape.seed, record.id, epoch, "narrow") % 2)
        views = self._views(record, epoch, narrow) if len(record.images) <= shape.max_images else []
        turns = list(self._exchanges(record, epoch))
        own = len(turns)
        if views:
            # One view serves many questions: fill the row with others that it answers.
            others = [
                other
                for other in self._companions(number, index, record)
                if not narrow or other.meta["views"] == record.meta["views"]
            ]
            # In any order, or the first of a picture's questions would fill few rows but their own.
            rng = np.random.default_rng(seeded(self.shape.seed, record.id, epoch, "companions"))
            for other in (others[i] for i in rng.permutation(len(others))):
                turns += (replace(turn, images=()) for turn in self._exchanges(other, epoch))
        row = dialogue_lib.dialogue_row(
            turns,
            tokenizer,
            num_queries=shape.num_queries if views else 0,
            image_token_id=shape.image_token_id,
            max_length=shape.max_length,
            where=record.id,
            long_answers=shape.long_answers,
            prompt=shape.prompt,
        )
        # The others only fill up; each is a sample of its own.
        row = replace(row, left_out=max(0, row.left_out - (len(turns) - own)))
        if not views:
            # Nothing to answer from: learn the questions too.
            row = replace(row, labels=[dialogue_lib.IGNORE, *row.input_ids[1:]], images=())
            return (row, []), row
        return (row, [views[i] for i in row.images]), row

    def _companions(self, number: int, index: int, record: Record) -> Iterator[Record]:
        """Records of the mixture about the same one picture, in the same language."""
        if len(record.images) != 1:
            return
        source, learned = self.drawn[number].source, self.learned[number]
        for step, end in ((1, len(source)), (-1, -1)):
            for place in range(index + step, end, step):
                other = source.record(place)
                if (other.images[:1], other.lang) != (record.images, record.lang):
                    break
                if learned[place] and len(other.images) == 1:
                    yield other

    def _views(self, record: Record, epoch: int, narrow: bool) -> list[np.ndarray]:
        """Each picture in symbols, int32 [num_queries, SYMBOL_TOKENS], or nothing where the record
        has none: one symbol takes the place of one visual token, the other places stay empty.

        A language model that has read such views knows how to answer from what precedes a
        question; the later stages only have to write pictures in a form that it reads. The places
        are drawn anew each time, since no query is bound to a part of the picture.
        """
        views = []
        shown = symbolic_views(record, self.shape.box_decimals, narrow)
        for number, view in enumerate(shown):
            symbols = np.full((self.shape.num_queries, SYMBOL_TOKENS), EMPTY, np.int32)
            rng = np.random.default_rng(seeded(self.shape.seed, record.id, epoch, f"view {number}"))
            places = rng.permutation(len(symbols))
            for place, text in zip(places, view, strict=False):
                symbols[place] = self._symbol(text)
            views.append(symbols)
        return views

    def _symbol(self, text: str) -> np.ndarray:
        """int32 [SYMBOL_TOKENS]: the last tokens of `text`, then `EMPTY`."""
        symbol = np.full(SYMBOL_TOKENS, EMPTY, np.int32)
        ids = self.tokenizer.encode(text)[-SYMBOL_TOKENS:]
        symbol[: len(ids)] = ids
        return symbol

    def _labelled(self, number: int, index: int, record: Record, part: int, epoch: int) -> Any:
        """A picture, and what each of its patches shows, in symbols."""
        del index, part, epoch
        if "views" not in record.meta:
            raise DataError(
                "nothing says what the parts of the picture show",
                where=f"{record.id}: meta.views",
                expected="the background, and labels and boxes of the objects",
                fix="use records that have them, or start from a ViT trained elsewhere",
            )
        (view,) = record.meta["views"]
        grid = self.shape.image_size // self.shape.patch_size
        patches = patch_symbols(view, grid, self.shape.box_decimals)
        symbols = {text: self._symbol(text) for texts in patches for text in texts}
        pixels = self._picture(number, record.images[0])
        return (pixels, np.stack([symbols[text] for texts in patches for text in texts])), None

    def _pair(self, number: int, index: int, record: Record, part: int, epoch: int) -> Any:
        row, ref = self._caption(record, epoch), record.images[0]
        pixels, name = self._identified(number, ref)
        return (pixels, row, name), row

    def _caption(self, record: Record, epoch: int) -> Row:
        text = _told(dialogue_lib.caption(record, self.shape.seed, epoch), record)
        return dialogue_lib.caption_row(
            text, self.qformer_tokenizer, self.shape.max_text, self.shape.long_answers
        )

    def _dialogue(self, number: int, index: int, record: Record, part: int, epoch: int) -> Any:
        row, asked = self._turns(number, record, part, epoch)
        pictures = [self._picture(number, record.images[i]) for i in row.images]
        return (row, pictures, self._instruction(number, asked)), row

    def _instruction(self, number: int, text: str) -> list[int]:
        longest = self.drawn[number].shape.max_qformer_text
        return dialogue_lib.qformer_ids(text, self.qformer_tokenizer, longest)

    def _turns(self, number: int, record: Record, part: int, epoch: int) -> tuple[Row, str]:
        """A row of the dialogue, and the instruction for the Q-Former."""
        shape = self.drawn[number].shape
        turns = self._exchanges(record, epoch)
        if part != WHOLE:
            turns = turns[: part + 1]
        for turn in turns if part == WHOLE else turns[-1:]:
            _told(turn.answer or "", record)
        row = dialogue_lib.dialogue_row(
            turns,
            self.tokenizer,
            num_queries=shape.num_queries,
            image_token_id=shape.image_token_id,
            max_length=shape.max_length,
            where=record.id,
            prompt=shape.prompt,
            only_last=part != WHOLE,
            max_answer=shape.max_answer,
            long_answers=shape.long_answers,
        )
        return row, shape.prompt.instruction(turns[0 if part == WHOLE else -1].question)

    def _exchanges(self, record: Record, epoch: int) -> tuple[dialogue_lib.Exchange, ...]:
        return dialogue_lib.exchanges(
            record, box_decimals=self.shape.box_decimals, seed=self.shape.seed, epoch=epoch
        )

    def _key(self, number: int, ref: ImageRef) -> tuple[int, str]:
        """What the cache keeps an image under: references of two roots may read alike."""
        return self.roots[number], ref.path or ref.shard_key or ref.url or ""

    def _picture(self, number: int, ref: ImageRef) -> np.ndarray:
        source = self.drawn[number].source
        return self.cache.get(self._key(number, ref), lambda: source.picture(ref))

    def _identified(self, number: int, ref: ImageRef) -> tuple[np.ndarray, int]:
        """The picture, and 31 bits of its SHA-1: the id of an image is its content, so that a data
        set and its translation, each below a root of its own, are no negatives of each other."""
        key = self._key(number, ref)
        sha1 = ref.sha1 or self.sha1s.get(key)
        if sha1:
            pixels = self._picture(number, ref)
        else:
            sha1, picture = self.drawn[number].source.identified(ref)
            pixels = self.cache.get(key, lambda: picture)
            if self.cache.keep:
                self.sha1s[key] = sha1
        return pixels, zlib.crc32(sha1.encode()) & 0x7FFFFFFF

    # Batches.

    def _texts(self, shape: Shape, rows: list[Row]) -> Batch:
        length = shape.max_length
        ids = [row.input_ids for row in rows]
        return {
            "input_ids": dialogue_lib.pad_right(ids, self.tokenizer.pad_id, length),
            "attention_mask": dialogue_lib.mask_of(ids, length),
            "labels": dialogue_lib.pad_right(
                [row.labels for row in rows], dialogue_lib.IGNORE, length
            ),
        }

    def _symbols(self, shape: Shape, rows: list[Any]) -> Batch:
        texts, views = zip(*rows, strict=True)
        symbols = np.full(
            (len(rows), shape.max_images * shape.num_queries, SYMBOL_TOKENS), EMPTY, np.int32
        )
        for out, pictures in zip(symbols, views, strict=True):
            if pictures:
                out[: len(pictures) * shape.num_queries] = np.concatenate(pictures)
        return {"symbols": symbols, **self._texts(shape, list(texts))}

    def _patches(self, shape: Shape, rows: list[Any]) -> Batch:
        del shape
        pixels, symbols = (np.stack(part) for part in zip(*rows, strict=True))
        return {"images": pixels, "symbols": symbols}

    def _pairs(self, shape: Shape, rows: list[Any]) -> Batch:
        pixels, texts, names = zip(*rows, strict=True)
        length, ignore = shape.max_text, dialogue_lib.IGNORE
        ids, labels = [row.input_ids for row in texts], [row.labels for row in texts]
        return {
            "images": np.stack(pixels),
            "text_ids": dialogue_lib.pad_right(ids, self.qformer_tokenizer.pad_id, length),
            "text_mask": dialogue_lib.mask_of(ids, length),
            "text_learned": dialogue_lib.pad_right(labels, ignore, length) != ignore,
            "image_ids": np.array(names, np.int32),
        }

    def _dialogues(self, shape: Shape, rows: list[Any]) -> Batch:
        texts, pictures, asked = zip(*rows, strict=True)
        size = shape.image_size
        # Places without a picture stay black; no placeholder refers to them.
        images = np.zeros((len(rows), shape.max_images, size, size, 3), np.uint8)
        for out, row in zip(images, pictures, strict=True):
            for place, pixels in enumerate(row):
                out[place] = pixels
        length = shape.max_qformer_text
        return {
            "images": images,
            **self._texts(shape, list(texts)),
            "qformer_input_ids": dialogue_lib.pad_right(
                asked, self.qformer_tokenizer.pad_id, length
            ),
            "qformer_attention_mask": dialogue_lib.mask_of(asked, length),
        }


def _told(text: str, record: Record) -> str:
    """`text`, which the model is to learn; a DataError where there is nothing to learn."""
    if not text.strip():
        raise DataError(
            "the text to learn is empty",
            where=record.id,
            expected="at least one character",
            fix="complete the record or remove it",
        )
    return text
