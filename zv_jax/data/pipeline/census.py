"""What a run draws of each source, and what it leaves out and why, counted before the first step.

Task, language, number of images and empty records are counted exactly: the facts of every record
are known. What length leaves out, and what a vocabulary does not know, needs the texts as ids: of
all samples up to a bound, of a seeded sample beyond it, so that a run starts as soon whatever the
size of its data. Neither depends on the number of processes or workers.
"""

from __future__ import annotations

import collections
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from zv_jax.config import Config
from zv_jax.data.pipeline import mixing, selection
from zv_jax.data.pipeline.assembler import MAX_TRIES, Assembler
from zv_jax.data.pipeline.batches.kind import Drawn
from zv_jax.data.pipeline.pipeline import drawn_from
from zv_jax.data.records import record as records_lib
from zv_jax.data.text.dialogue import TooLong
from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.errors import ConfigError, DataError

MOST = 2000  # samples of a source whose texts are looked at
TOGETHER = 4000  # of all sources; a second or two
LOUD = 0.01  # share of [UNK] above which a run warns
MANY = 0.1  # share of samples that are too long, likewise
SURE = (
    5  # expected draws of a run that find no sample short enough: fewer than 1 run in 100 has none
)
TOWERS = {"qformer": "Q-Former", "llm": "language model"}


@dataclass(frozen=True)
class Census:
    """Counts of one source.

    Attributes:
      source: its label (`pipeline.label`).
      records: all that it has; samples: what the stage draws of them.
      left_out: {reason: records}, each under its first reason: split, unreadable, task, language,
        images, empty.
      looked_at: samples whose texts were looked at; the counts below are of them.
      too_long: samples of which nothing fits; exchanges: those left out of other samples; cut:
        answers of which only the beginning is learned; unread: instructions of which the Q-Former
        reads only the end; bad: samples that cannot be used.
      unknown: {tower: {language: share of [UNK] among its tokens}}, where the vocabulary has one.
    """

    source: str
    records: int
    samples: int
    left_out: Mapping[str, int]
    looked_at: int
    too_long: int
    exchanges: int
    cut: int
    unread: int
    bad: int
    unknown: Mapping[str, Mapping[str, float]]

    @property
    def whole(self) -> bool:
        """Whether all samples were looked at."""
        return self.looked_at == self.samples

    def as_row(self) -> dict[str, Any]:
        """JSON types."""
        return asdict(self)


def take(config: Config, tokenizers: tuple[Tokenizer, Tokenizer]) -> list[Census]:
    """One census for each source with a weight.

    Raises:
      ConfigError: a source has no sample for the stage, or so few of its samples fit that the run
        could not come to its end.
      DataError: a source cannot be read.
    """
    sources = drawn_from(config)
    assembler = Assembler(sources, *tokenizers, cache_images=False)
    most = min(MOST, -(-TOGETHER // len(sources)))
    found = [_count(config, assembler, number, most) for number in range(len(sources))]
    weights = [config.data.sources[drawn.place].weight for drawn in sources]
    shares = mixing.shares([c.samples for c in found], weights, config.data.mixing)
    for census, drawn, share in zip(found, sources, shares, strict=True):
        _check_room(config, census, drawn, share)
    return found


def _check_room(config: Config, census: Census, drawn: Drawn, share: float) -> None:
    """Refuses a source of which some draw will surely find nothing but samples that are too long.

    A draw takes another sample for one that is too long, `MAX_TRIES` times.
    """
    draws = config.train.steps * config.train.batch_size * share
    failing = draws * (census.too_long / census.looked_at) ** MAX_TRIES
    if failing > SURE:
        raise ConfigError(
            f"{census.too_long:,} of {census.looked_at:,} samples of {census.source} are too long: "
            f"some draw of this run would find {MAX_TRIES} of them in a row",
            where=f"data.sources[{drawn.place}]",
            expected="samples that fit",
            fix="raise data.max_length (and data.max_answer), set data.long_answers=cut, or leave "
            "the source out",
        )


def _count(config: Config, assembler: Assembler, number: int, most: int) -> Census:
    drawn = assembler.drawn[number]
    found: collections.Counter[str] = collections.Counter()
    unknown = _Unknown(assembler)
    last: TooLong | None = None
    chosen = _chosen(config, drawn, most)
    for sample in chosen:
        index, part = (int(v) for v in drawn.table[sample])
        try:
            words = assembler.words(number, index, part, epoch=0)
        except TooLong as error:
            found["too_long"] += 1
            last = error
            continue
        except DataError:
            found["bad"] += 1  # reported, replaced and judged when it is drawn
            continue
        found["exchanges"] += words.left_out
        found["cut"] += words.cut
        found["unread"] += words.unread > 0
        unknown.add(records_lib.LANGS[drawn.source.facts.lang[index]], words)
    if last and found["too_long"] + found["bad"] == len(chosen):
        raise _nothing_fits(drawn, len(chosen), last)
    return Census(
        source=drawn.label,
        records=len(drawn.source) + len(drawn.source.broken) + drawn.source.other_splits,
        samples=len(drawn.table),
        left_out=_left_out(config, drawn),
        looked_at=len(chosen),
        **{name: found[name] for name in ("too_long", "exchanges", "cut", "unread", "bad")},
        unknown=unknown.shares(),
    )


def _chosen(config: Config, drawn: Drawn, most: int) -> Sequence[int]:
    """Numbers of the samples whose texts are looked at, in order."""
    size = len(drawn.table)
    if size <= most:
        return range(size)
    return sorted(random.Random(f"{config.seed} {drawn.place}").sample(range(size), most))


def _left_out(config: Config, drawn: Drawn) -> dict[str, int]:
    wanted = selection.of(config, config.data.sources[drawn.place])
    reasons = selection.excluded(drawn.source.facts, wanted)
    counts = {"split": drawn.source.other_splits, "unreadable": len(drawn.source.broken)}
    counts |= {reason: int(records.sum()) for reason, records in reasons.items()}
    return {reason: count for reason, count in counts.items() if count}


class _Unknown:
    """Counts [UNK] by tower and language."""

    def __init__(self, assembler: Assembler):
        tokenizer, qformer_tokenizer = assembler.tokenizer, assembler.qformer_tokenizer
        self._ids = {"llm": tokenizer.unknown_id, "qformer": qformer_tokenizer.unknown_id}
        self._all: collections.Counter[tuple[str, str]] = collections.Counter()
        self._unknown: collections.Counter[tuple[str, str]] = collections.Counter()

    def add(self, lang: str, words: Any) -> None:
        """The texts of a sample in `lang`."""
        for tower, ids in (("llm", words.llm), ("qformer", words.qformer)):
            if self._ids[tower] is not None and ids:
                self._all[tower, lang] += len(ids)
                self._unknown[tower, lang] += ids.count(self._ids[tower])

    def shares(self) -> dict[str, dict[str, float]]:
        """{tower: {language: share}}."""
        found: dict[str, dict[str, float]] = {}
        for tower, lang in sorted(self._all):
            share = self._unknown[tower, lang] / self._all[tower, lang]
            found.setdefault(tower, {})[lang] = round(share, 6)
        return found


def _nothing_fits(drawn: Drawn, looked_at: int, last: TooLong) -> ConfigError:
    return ConfigError(
        f"nothing of {drawn.label} fits (of {looked_at:,} samples looked at): {last.what}",
        where=f"data.sources[{drawn.place}]",
        expected=last.expected or "some samples that are short enough",
        fix=last.fix or "raise data.max_length, or leave the source out",
    )


def lines(censuses: Sequence[Census]) -> Iterator[str]:
    """The counts, one line for each source."""
    for c in censuses:
        out = ", ".join(f"{count:,} {reason}" for reason, count in c.left_out.items()) or "none"
        yield f"{c.source}: {c.records:,} records, {c.samples:,} samples; records left out: {out}"
        counts = {
            "too long": c.too_long,
            "bad": c.bad,
            "exchanges left out": c.exchanges,
            "answers cut": c.cut,
            "instructions cut": c.unread,
        }
        kept = [f"{count:,} {name}" for name, count in counts.items() if count]
        kept += [
            f"[UNK] {share:.2%} of the {lang} tokens of the {TOWERS[tower]}"
            for tower, shares in c.unknown.items()
            for lang, share in shares.items()
            if share
        ]
        if kept:
            of = "all" if c.whole else f"a sample of {c.looked_at:,}"
            yield f"  of {of} samples: " + ", ".join(kept)


def warnings(censuses: Sequence[Census]) -> Iterator[str]:
    """What must not go unnoticed: samples without room, vocabularies that do not know the texts."""
    for c in censuses:
        if c.too_long > MANY * c.looked_at:
            yield (
                f"{c.too_long / c.looked_at:.0%} OF THE SAMPLES OF {c.source} ARE TOO LONG and are "
                "never learned; others of it take their place. Raise data.max_length (and "
                "data.max_answer), or set data.long_answers=cut"
            )
    for tower, command in _GROW.items():
        places = [
            f"{share:.1%} of the {lang} tokens of {c.source}"
            for c in censuses
            for lang, share in c.unknown.get(tower, {}).items()
            if share > LOUD
        ]
        if places:
            yield (
                f"THE {TOWERS[tower].upper()} CANNOT READ ITS TEXTS: [UNK] is "
                f"{'; '.join(places)}. Such texts cannot be told apart. Make a vocabulary that "
                f"has their characters and grow the embeddings (docs/tokenizers.md):\n{command}"
            )


_GROW = {
    "qformer": """\
  zv tokenizer union VOCAB runs/qformer_tokenizer --characters=gb2312,big5
  zv tokenizer grow CHECKPOINT runs/grown --qformer_tokenizer=runs/qformer_tokenizer
  zv train ... --config.init_from=runs/grown --config.data.qformer_tokenizer.kind=bert \
--config.data.qformer_tokenizer.path=runs/qformer_tokenizer \
--config.model.qformer.vocab_size=ROWS (grow prints them)""",
    "llm": """\
  zv tokenizer extend MODEL runs/tokenizer --characters=gb2312,big5
  zv tokenizer grow CHECKPOINT runs/grown --tokenizer=runs/tokenizer
  zv train ... --config.init_from=runs/grown --config.data.tokenizer.path=runs/tokenizer \
--config.model.llm.vocab_size=ROWS --config.model.image_token_id=ID (grow prints them)""",
}
