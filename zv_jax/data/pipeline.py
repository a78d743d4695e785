"""The input pipeline: a configuration to an endless stream of numpy batches.

Built on Grain's MapDataset: sources -> shuffle -> repeat -> mix -> rows of this process -> batch.
The global batch at step n is a pure function of (sources, weights, seed, n): processes share out
its rows, and neither their number nor that of workers changes a row or its place. Starting at a
step costs no more than starting at 0.

Sources whose rows have other sizes than the rest (`SourceConfig.max_length`, `max_images`) fill
batches of their own, so that short questions are not padded to the length of long dialogues; the
kinds of batches are interleaved in proportion to the weights.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from zv_jax.config import Config, SourceConfig
from zv_jax.data import catalogue, mixing
from zv_jax.data.assemble import SYMBOL_TOKENS, Assembler, Made, Shape
from zv_jax.data.faults import Fault, Ledger, too_many
from zv_jax.data.records import Record
from zv_jax.data.sources import Source, open_source
from zv_jax.data.stream import Batches, Failure, Rows, Safely, read_ahead
from zv_jax.data.symbols import SIDES
from zv_jax.data.tokenizers import Tokenizer
from zv_jax.data.vocabulary import load_tokenizers
from zv_jax.errors import ConfigError, DataError

_LOOKED_AT = 1000  # records, for one that can be read
_VERSION = 8  # of the meaning of a step; raise it when the same step would give another batch

log = logging.getLogger(__name__)


class ArraySpec(NamedTuple):
    """Shape and dtype of one array of a batch."""

    shape: tuple[int, ...]
    dtype: np.dtype


def make_pipeline(
    config: Config,
    *,
    rows: Sequence[int] | None = None,
    start_step: int = 0,
    tokenizers: tuple[Tokenizer, Tokenizer] | None = None,
    report: Callable[[int, Fault], None] | None = None,
) -> Batches:
    """The batches of `config.stage`, from `start_step` on.

    Args:
      config: `stage`, `data`, `train.batch_size` (global) and the sizes of `model` are read.
      rows: which rows of each global batch this process makes, in this order; by default all.
      tokenizers: of the LLM and the Q-Former; `load_tokenizers(config)` by default.
      report: called with the step and each sample that another one replaced, in order; by
        default it is logged. Records that could not even be listed come first.

    Returns:
      Batches of `len(rows)` rows with the arrays of `abstract_batch`.
      `index` numbers the sample among all samples of all sources; `image_ids` are equal for the
      same picture.

    Raises:
      ConfigError: no sample is left, or a vocabulary does not fit.
      DataError: a source cannot be read.
    """
    size = config.train.batch_size
    rows = range(size) if rows is None else rows
    chosen, sources, tables = _samples(config)
    own, other = tokenizers or load_tokenizers(config)
    shapes = [_shape(config, source) for source in chosen]
    assembler = Assembler(shapes, sources, tables, own, other, config.data.cache_images)
    names = [f"{s.name}/{s.split}" for s in chosen]
    sizes = [len(table) for table in tables]
    shares = mixing.shares(sizes, [s.weight for s in chosen], config.data.mixing)
    kinds = kinds_of(config)
    batches = mixing.interleaved(
        [
            Rows(mixing.mixture(names, sizes, shares, config.seed, kind), rows, size).batch(
                len(rows), drop_remainder=True, batch_fn=Safely(assembler)
            )
            for kind in kinds
        ],
        [sum(shares[i] for i in kind) for kind in kinds],
    )
    ledger = Ledger(config.data.max_bad, report or _log_fault)
    for item, source in zip(chosen, sources, strict=True):
        faults = _broken(item, source)
        if start_step == 0 and 0 in rows:  # once for the whole run
            for fault in faults:
                ledger.report(0, fault)
        if len(faults) > config.data.max_bad * (len(source) + len(faults)):
            share = f"{len(faults)} of {len(source) + len(faults)}"
            raise too_many(share, config.data.max_bad, faults[-1])

    def open_at(step: int) -> Iterator[Made | Failure]:
        return iter(read_ahead(batches[step:], config.data.workers))

    return Batches(open_at, start_step, ledger, assembler)


def kinds_of(config: Config) -> list[list[int]]:
    """The sources with a weight, by their number among these: those that fill batches together."""
    shapes = [_shape(config, source) for source in config.data.sources if source.weight > 0]
    return [
        [i for i, other in enumerate(shapes) if other == shape] for shape in dict.fromkeys(shapes)
    ]


def _broken(item: SourceConfig, source: Source) -> list[Fault]:
    """The records that `source` left out when it was opened."""
    label = f"{item.name}/{item.split}"
    places = [(error, error.where or "") for error in source.broken]
    return [Fault(label, place, error.what, place) for error, place in places]


def _log_fault(step: int, fault: Fault) -> None:
    log.warning("batch %d: %s: %s (%s)", step, fault.record, fault.what, fault.where)


def _samples(config: Config) -> tuple[list[SourceConfig], list[Source], list[np.ndarray]]:
    """The sources with a weight, opened, and what the stage draws from each."""
    stage, data = config.stage, config.data
    chosen = [s for s in data.sources if s.weight > 0]
    if not chosen or any(s.weight < 0 for s in data.sources):
        raise ConfigError(
            "weights " + ", ".join(str(s.weight) for s in data.sources),
            where="data.sources",
            expected="one above 0 and none below",
            fix="set the weights of data.sources",
        )
    sources, tables = [], []
    for number, item in enumerate(chosen):
        mixing.check_tasks(item.tasks, item.langs, f"data.sources[{number}]")
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
        table = mixing.samples(
            source.facts,
            stage.name,
            tasks=item.tasks,
            langs=item.langs,
            max_images=_shape(config, item).max_images,
            expand=stage.variant == "chat",
        )
        if not len(table):
            tasks = ", ".join(item.tasks or mixing.DEFAULT_TASKS[stage.name])
            raise ConfigError(
                f"source {item.name} has no sample for {stage.name}",
                where=f"data.sources[{number}]",
                expected=f"records of {tasks} in {', '.join(item.langs)} with "
                f"pictures, at most {_shape(config, item).max_images} each",
                fix="change the source's tasks, langs or max_images, or data.max_images",
            )
        log.info(
            "%s/%s: %d records, %d samples for %s",
            item.name,
            item.split,
            len(source),
            len(table),
            stage.name,
        )
        sources.append(source)
        tables.append(table)
    return chosen, sources, tables


def _first(source: Source) -> Record:
    """A record that can be read; broken ones are judged when they are drawn."""
    errors = list(source.broken)
    for index in range(min(len(source), _LOOKED_AT)):
        try:
            return source.record(index)
        except DataError as error:
            errors.append(error)
    raise errors[0]


def _shape(config: Config, source: SourceConfig) -> Shape:
    data, model = config.data, config.model
    return Shape(
        stage=config.stage.name,
        seed=config.seed,
        image_size=model.vision.image_size,
        patch_size=model.vision.patch_size,
        num_queries=model.qformer.num_queries,
        image_token_id=model.image_token_id,
        max_text=data.max_text,
        max_length=source.max_length or data.max_length,
        max_answer=data.max_answer,
        max_qformer_text=data.max_qformer_text,
        max_images=source.max_images or data.max_images,
        box_decimals=data.box_decimals,
        transparency=data.transparency,
        prompt=model.prompt,
    )


def located(config: Config, index: int) -> tuple[Source, int, int]:
    """The source, record and part of sample `index` of a batch; see `mixing.samples`."""
    _, sources, tables = _samples(config)
    for source, table in zip(sources, tables, strict=True):
        if index < len(table):
            number, part = table[index]
            return source, int(number), int(part)
        index -= len(table)
    raise IndexError(f"no sample {index} in these sources")


def samples_per_epoch(config: Config) -> list[int]:
    """How many samples each source with a weight gives before it repeats."""
    return [len(table) for table in _samples(config)[2]]


def pipeline_fingerprint(
    config: Config, tokenizers: tuple[Tokenizer, Tokenizer] | None = None
) -> dict[str, str | int]:
    """What the batches depend on beside the fields of the configuration, by names like theirs.

    Content counts, as SHA-256; paths and worker counts do not. A checkpoint holds it, so that a
    run does not go on over other data without a word.
    """
    chosen, sources, tables = _samples(config)
    found: dict[str, str | int] = {"data.version": _VERSION}
    for item, source, table in zip(chosen, sources, tables, strict=True):
        name = f"data.sources[{config.data.sources.index(item)}]"
        found[f"{name}.records"] = source.fingerprint
        found[f"{name}.samples"] = hashlib.sha256(table.tobytes()).hexdigest()
    own, other = tokenizers or load_tokenizers(config)
    return found | {
        "data.tokenizer.content": own.fingerprint,
        "data.qformer_tokenizer.content": other.fingerprint,
    }


def abstract_batch(config: Config) -> dict[str, ArraySpec]:
    """Shapes and dtypes of the largest global batch; reads no data."""
    data, size = config.data, config.model.vision.image_size
    rows = config.train.batch_size
    whole, flag = np.dtype(np.int32), np.dtype(np.bool_)

    def spec(dtype: np.dtype, *shape: int) -> ArraySpec:
        return ArraySpec((rows, *shape), dtype)

    index = {"index": spec(np.dtype(np.int64))}
    if config.stage.name == "stage0":
        return {
            "images": spec(np.dtype(np.uint8), size, size, 3),
            "text_ids": spec(whole, data.max_text),
            "text_mask": spec(flag, data.max_text),
            "image_ids": spec(whole),
        } | index
    if config.stage.name == "vision":
        patches = (size // config.model.vision.patch_size) ** 2
        return {
            "images": spec(np.dtype(np.uint8), size, size, 3),
            "symbols": spec(whole, len(SIDES) * patches, SYMBOL_TOKENS),
        } | index
    text = {
        "input_ids": spec(whole, data.max_length),
        "attention_mask": spec(flag, data.max_length),
        "labels": spec(whole, data.max_length),
    }
    if config.stage.name == "language":
        blocks = data.max_images * config.model.qformer.num_queries
        return {"symbols": spec(whole, blocks, SYMBOL_TOKENS), **text} | index
    return {
        "images": spec(np.dtype(np.uint8), data.max_images, size, size, 3),
        **text,
        "qformer_input_ids": spec(whole, data.max_qformer_text),
        "qformer_attention_mask": spec(flag, data.max_qformer_text),
    } | index
