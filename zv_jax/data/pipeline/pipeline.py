"""The input pipeline: a configuration to an endless stream of numpy batches.

Built on Grain's MapDataset: sources -> shuffle -> repeat -> mix -> rows of this process -> batch.
The global batch at step n is a pure function of (sources in their order, weights, seed, n):
processes share out its rows, and neither their number nor that of workers changes a row or its
place. Starting at a step costs no more than starting at 0.

Sources whose rows have other sizes than the rest (`SourceConfig.max_length`, `max_images`) fill
batches of their own, so that short questions are not padded to the length of long dialogues; the
kinds of batches are interleaved in proportion to the weights.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence

from zv_jax.config.schema import Config, SourceConfig
from zv_jax.data.pipeline import mixing, selection
from zv_jax.data.pipeline.assembler import AssembledBatch, Assembler
from zv_jax.data.pipeline.bad_samples import BadSample, BadSampleCounter, Shortened, too_many
from zv_jax.data.pipeline.batches.kind import BatchShape, Drawn
from zv_jax.data.pipeline.stream import Batches, CatchErrors, Failure, Rows, read_ahead
from zv_jax.data.public import catalogue
from zv_jax.data.records.record import Record
from zv_jax.data.sources.open import Source, open_source
from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.data.text.vocabulary import load_tokenizers
from zv_jax.errors import ConfigError, DataError
from zv_jax.stages import stage_of

_LOOKED_AT = 1000  # records, for one that can be read
# Of the meaning of a step; raise it when the same step would give another batch. 9: every source
# has an order of its own, images are known by their content, dialogues are not cut.
_VERSION = 9

log = logging.getLogger(__name__)


def make_pipeline(
    config: Config,
    *,
    rows: Sequence[int] | None = None,
    start_step: int = 0,
    tokenizers: tuple[Tokenizer, Tokenizer] | None = None,
    report: Callable[[int, BadSample], None] | None = None,
    shorten: Callable[[int, Shortened], None] | None = None,
) -> Batches:
    """The batches of `config.stage`, from `start_step` on.

    Args:
      config: `stage`, `data`, `train.batch_size` (global) and the sizes of `model` are read.
      rows: which rows of each global batch this process makes, in this order; by default all.
      tokenizers: of the LLM and the Q-Former; `load_tokenizers(config)` by default.
      report: called with the step and each sample that another one replaced, in order; by
        default it is logged. Records that could not even be listed come first.
      shorten: called with the step and what length did to its samples, where it did anything.

    Returns:
      Batches of `len(rows)` rows with the arrays of `stages.batch_spec` and one more: `index`
      numbers the sample among all samples of all sources. `image_ids` are equal for the same
      image.

    Raises:
      ConfigError: no sample is left, or a vocabulary does not fit.
      DataError: a source cannot be read.
    """
    size = config.train.batch_size
    rows = range(size) if rows is None else rows
    drawn = drawn_from(config)
    tokenizer, qformer_tokenizer = tokenizers or load_tokenizers(config)
    assembler = Assembler(drawn, tokenizer, qformer_tokenizer, config.data.cache_images)
    sizes = [len(d.table) for d in drawn]
    weights = [config.data.sources[d.place].weight for d in drawn]
    shares = mixing.shares(sizes, weights, config.data.mixing)
    places = [d.place for d in drawn]
    kinds = kinds_of(config)
    batches = mixing.interleaved(
        [
            Rows(mixing.mixture(sizes, shares, config.seed, places, kind), rows, size).batch(
                len(rows), drop_remainder=True, batch_fn=CatchErrors(assembler)
            )
            for kind in kinds
        ],
        [sum(shares[i] for i in kind) for kind in kinds],
    )
    ledger = BadSampleCounter(config.data.max_bad, report or _log_fault, shorten or _uncounted)
    for d in drawn:
        faults = _broken(d)
        if start_step == 0 and 0 in rows:  # once for the whole run
            for fault in faults:
                ledger.report(0, fault)
        if len(faults) > config.data.max_bad * (len(d.source) + len(faults)):
            share = f"{len(faults)} of {len(d.source) + len(faults)}"
            raise too_many(share, config.data.max_bad, faults[-1])

    def open_at(step: int) -> Iterator[AssembledBatch | Failure]:
        return iter(read_ahead(batches[step:], config.data.workers))

    return Batches(open_at, start_step, ledger, assembler)


def kinds_of(config: Config) -> list[list[int]]:
    """The sources with a weight, by their number among these: those that fill batches together."""
    shapes = [_shape(config, source) for source in config.data.sources if source.weight > 0]
    return [
        [i for i, other in enumerate(shapes) if other == shape] for shape in dict.fromkeys(shapes)
    ]


def _broken(drawn: Drawn) -> list[BadSample]:
    """The records that a source left out when it was opened."""
    places = [(error, error.where or "") for error in drawn.source.broken]
    return [BadSample(drawn.label, place, error.what, place) for error, place in places]


def _log_fault(step: int, fault: BadSample) -> None:
    log.warning("batch %d: %s: %s (%s)", step, fault.record, fault.what, fault.where)


def _uncounted(step: int, counts: Shortened) -> None:
    """Who looks at a few batches does not count what is too long."""


def drawn_from(config: Config) -> list[Drawn]:
    """The sources with a weight, opened, and what the stage draws from each.

    Raises:
      ConfigError: there is none, or one has no sample for the stage.
      DataError: one cannot be read, has no such split, or evaluates.
    """
    stage, data = config.stage, config.data
    if all(s.weight == 0 for s in data.sources) or any(s.weight < 0 for s in data.sources):
        raise ConfigError(
            "weights " + ", ".join(str(s.weight) for s in data.sources),
            where="data.sources",
            expected="one above 0 and none below",
            fix="set the weights of data.sources",
        )
    found = []
    for place, item in enumerate(data.sources):
        if not item.weight:
            continue
        selection.check_tasks(item.tasks, item.langs, f"data.sources[{place}]")
        source = open_source(item.name, item.path, item.split, item.image_root, tolerant=True)
        if source.ground not in (None, data.transparency):
            log.warning(
                "%s was prepared with --transparency=%s, and data.transparency is %s: images with "
                "clear parts are not as the model will see them in use",
                item.path,
                source.ground,
                data.transparency,
            )
        first = _first(source)
        catalogue.check_split(first.source, first.split, data.paper_mixture)
        wanted = selection.of(config, item)
        table = selection.samples(source.facts, wanted)
        if not len(table):
            tasks = ", ".join(wanted.drawn_tasks)
            reasons = selection.excluded(source.facts, wanted)
            counts = (f"{out.sum():,} {reason}" for reason, out in reasons.items() if out.any())
            raise ConfigError(
                f"{label(place, item)} has no sample for {stage.name}; of {len(source):,} records "
                f"left out: {', '.join(counts)}",
                where=f"data.sources[{place}]",
                expected=f"records of {tasks} in {', '.join(item.langs)} with "
                f"pictures, at most {_shape(config, item).max_images} each",
                fix="change the source's tasks, langs or max_images, or data.max_images",
            )
        drawn = Drawn(place, label(place, item), source, table, _shape(config, item))
        counts = (len(source), len(table), stage.name)
        log.info("%s: %d records, %d samples for %s", drawn.label, *counts)
        found.append(drawn)
    return found


def label(place: int, item: SourceConfig) -> str:
    """A source as messages and counts call it: `sources[3] prepared shards/gqa train`."""
    words = (f"sources[{place}]", item.name, item.path, item.split)
    return " ".join(filter(None, words))


def _first(source: Source) -> Record:
    """A record that can be read; broken ones are judged when they are drawn."""
    errors = list(source.broken)
    for index in range(min(len(source), _LOOKED_AT)):
        try:
            return source.record(index)
        except DataError as error:
            errors.append(error)
    raise errors[0]


def _shape(config: Config, source: SourceConfig) -> BatchShape:
    data, model = config.data, config.model
    return BatchShape(
        kind=stage_of(config).batch,
        seed=config.seed,
        image_size=model.vision.image_size,
        patch_size=model.vision.patch_size,
        num_queries=model.qformer.num_queries,
        image_token_id=model.image_token_id,
        max_text=data.max_text,
        max_length=source.max_length or data.max_length,
        max_answer=data.max_answer,
        long_answers=data.long_answers,
        max_qformer_text=data.max_qformer_text,
        max_images=source.max_images or data.max_images,
        box_decimals=data.box_decimals,
        transparency=data.transparency,
        augment=data.augment,
        prompt=model.prompt,
    )


def located(config: Config, index: int) -> tuple[Source, int, int]:
    """The source, record and part of sample `index` of a batch; see `selection.samples`."""
    for drawn in drawn_from(config):
        if index < len(drawn.table):
            number, part = drawn.table[index]
            return drawn.source, int(number), int(part)
        index -= len(drawn.table)
    raise IndexError(f"no sample {index} in these sources")


def samples_per_epoch(config: Config) -> list[int]:
    """How many samples each source with a weight gives before it repeats."""
    return [len(drawn.table) for drawn in drawn_from(config)]


def pipeline_fingerprint(
    config: Config, tokenizers: tuple[Tokenizer, Tokenizer] | None = None
) -> dict[str, str | int]:
    """What the batches depend on beside the fields of the configuration, by names like theirs.

    Content counts, as SHA-256; paths and worker counts do not. A checkpoint holds it, so that a
    run does not go on over other data without a word.
    """
    found: dict[str, str | int] = {"data.version": _VERSION}
    for drawn in drawn_from(config):
        name = f"data.sources[{drawn.place}]"
        found[f"{name}.records"] = drawn.source.fingerprint
        found[f"{name}.samples"] = hashlib.sha256(drawn.table.tobytes()).hexdigest()
    tokenizer, qformer_tokenizer = tokenizers or load_tokenizers(config)
    return found | {
        "data.tokenizer.content": tokenizer.fingerprint,
        "data.qformer_tokenizer.content": qformer_tokenizer.fingerprint,
    }
