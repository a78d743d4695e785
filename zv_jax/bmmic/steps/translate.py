"""`translate`: records into the other language, several exchanges in a request."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zv_jax.bmmic import pair as pairs
from zv_jax.bmmic import replies, sources
from zv_jax.bmmic.config import Config
from zv_jax.bmmic.pair import Pair
from zv_jax.bmmic.prompts import context
from zv_jax.bmmic.prompts.pack import Pack
from zv_jax.bmmic.sources import Opened
from zv_jax.bmmic.steps import asking
from zv_jax.bmmic.steps.asking import Job
from zv_jax.bmmic.steps.shards import Shards
from zv_jax.bmmic.view import View
from zv_jax.data.public import guard
from zv_jax.data.public.guard import Guard
from zv_jax.data.records import record as records_lib
from zv_jax.data.records.record import Record
from zv_jax.errors import ConfigError, DataError
from zv_jax.llm.request import Asks, Failure, Reply, Request

# What the paper calls the translation of a set, where that is a set of its own (Tables 2 and 3).
TARGETS = {"vqav2": "vqav2_t", "gqa": "gqa_t", "llava_instruct": "llava_t", "m3it": "m3it_t"}


@dataclass(frozen=True)
class Piece:
    """One record on its way: its exchanges, and the pair that their translation makes."""

    empty: Pair
    exchanges: tuple[tuple[str, str], ...]


def run(
    config: Config,
    packs: Mapping[str, Pack],
    client: Asks,
    model: str,
    workdir: Path,
    part: tuple[int, int] = (0, 1),
) -> tuple[int, int]:
    """Writes `translated/`; returns what `asking.fill` does."""
    out = begin(config, packs, model, workdir)
    return asking.fill(client, out, plans(config, packs, model, workdir, part), "requests")


def begin(config: Config, packs: Mapping[str, Pack], model: str, workdir: Path) -> Shards:
    """The folder of the step, with what it is made with noted.

    Raises:
      ConfigError: nothing to translate is named.
    """
    if not config.translate.sources:
        raise ConfigError(
            "nothing to translate is named",
            where="translate.sources",
            expected="at least one set, such as vqav2, gqa, llava_instruct or m3it",
            fix="see configs/bmmic/translate.py",
        )
    for i, source in enumerate(config.translate.sources):
        sources.opened(source, f"translate.sources[{i}]")  # a wrong one leaves no folder behind
    out = Shards(workdir / "translated")
    settings = dataclasses.asdict(config.translate) | {"shard_size": config.shard_size}
    asked = {"model": model, "temperature": config.server.temperature}
    out.begin("translate", settings | {"pack": packs["translate"].label} | asked)
    return out


def plans(
    config: Config,
    packs: Mapping[str, Pack],
    model: str,
    workdir: Path,
    part: tuple[int, int] = (0, 1),
) -> Iterator[tuple[int, Iterator[Job]]]:
    """(number, jobs) of the shards that are not there yet."""
    out = Shards(workdir / "translated")
    for number, chunk in asking.chunks(_pieces(config), config.shard_size):
        if number % part[1] == part[0] and not out.has(number):
            yield number, _jobs(config, packs["translate"], model, chunk)


def _pieces(config: Config) -> Iterator[Piece]:
    settings = config.translate
    guarded = Guard.load(settings.guard) if settings.guard else None
    for i, source in enumerate(settings.sources):
        own = sources.opened(source, f"translate.sources[{i}]")
        for record in own.records(guarded, settings.limit):
            if record.lang != settings.to and (exchanges := exchanges_of(record)):
                yield Piece(_empty(record, own, exchanges, settings.to), exchanges)


def exchanges_of(record: Record) -> tuple[tuple[str, str], ...]:
    """(question, answer) of a record: of its turns, or its question with each distinct answer.

    Records without a question (captions) and those with choices are left out.
    """
    if record.choices or not record.turns:
        return ()
    asked = [turn.text for turn in record.turns if turn.role == "user"]
    said = [turn.text for turn in record.turns if turn.role == "assistant"]
    if len(asked) == len(said) and not record.answers:
        return tuple(zip(asked, said, strict=True))
    if len(asked) == 1:
        return tuple((asked[0], answer) for answer in dict.fromkeys(record.answers or said))
    return ()


def _empty(record: Record, own: Opened, exchanges: Sequence[tuple[str, str]], to: str) -> Pair:
    # A translation is judged against its original; the view is for boxes and guards.
    view = View(
        id=f"{own.name}/{record.split}/{record.images[0].path or record.images[0].shard_key}"
        if record.images
        else record.id,
        image=record.images[0] if record.images else records_lib.ImageRef(path="none"),
        objects=record.objects,
        licence=str(record.meta.get("licence") or own.licence),
        shown=tuple(guard.image_ids(record, own.space)),
    )
    flat = [side for exchange in exchanges for side in exchange]
    target = TARGETS.get(own.name, f"{own.name}_t")
    # `vqav2/train/7` becomes `vqav2_t/train/7`; another name of the split stays part of the id.
    native = record.id.removeprefix(f"{record.source}/").removeprefix("train/")
    return Pair(
        id=f"{target}/train/{native}",
        lang=to,
        kind="translate",
        turns=(),
        view=view,
        source=pairs.turns(*flat),
        meta={"record": records_lib.to_json(record), "target": target},
    )


def _jobs(config: Config, pack: Pack, model: str, pieces: Sequence[Piece]) -> Iterator[Job]:
    """Requests of at most `batch` exchanges; a record is never divided between two."""
    batch: list[Piece] = []
    size = 0
    for piece in pieces:
        if batch and size + len(piece.exchanges) > config.translate.batch:
            yield _job(config, pack, model, tuple(batch))
            batch, size = [], 0
        batch.append(piece)
        size += len(piece.exchanges)
    if batch:
        yield _job(config, pack, model, tuple(batch))


def asked_for(
    config: Config, pack: Pack, model: str, exchanges: Sequence[tuple[str, str]]
) -> Request:
    """The request for the translation of several exchanges."""
    messages = context.translation(pack, config.translate.to, exchanges)
    return asking.request(config.server, model, pack, messages, replies.ROWS)


def _job(config: Config, pack: Pack, model: str, pieces: tuple[Piece, ...]) -> Job:
    flat = [exchange for piece in pieces for exchange in piece.exchanges]
    asked = asked_for(config, pack, model, flat)

    def settle(outcome: Reply | Failure) -> list[Mapping[str, Any]]:
        made = asking.facts(pack, asked, outcome)
        return [pairs.to_json(pair) for pair in settled(pieces, outcome, made)]

    return Job(pieces[0].empty.id, asked, settle)


def settled(
    pieces: Sequence[Piece], outcome: Reply | Failure, made: Mapping[str, Any]
) -> Iterator[Pair]:
    """The pairs of a request; those whose numbers did not come back have a fault instead."""
    found: dict[int, tuple[str, str]] = {}
    fault, finish = "", "stop"
    if isinstance(outcome, Failure):
        fault = f"no reply: {outcome.reason}"
    else:
        finish = outcome.finish_reason or "stop"
        try:
            found = replies.rows(outcome.text, range(sum(len(p.exchanges) for p in pieces)))
        except DataError as error:
            fault = "refused" if outcome.refused else replies.reason(error)
    start = 0
    for piece in pieces:
        numbers = range(start, start + len(piece.exchanges))
        start += len(piece.exchanges)
        meta = {**piece.empty.meta, **made}
        if all(i in found for i in numbers):
            texts = [side for i in numbers for side in found[i]]
            yield dataclasses.replace(
                piece.empty, turns=pairs.turns(*texts), finish_reason=finish, meta=meta
            )
        else:
            why = fault or "rows did not come back"
            yield dataclasses.replace(piece.empty, fault=why, finish_reason=finish, meta=meta)
