"""`generate`: new pairs from views, by the in-context function C."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from zv_jax.bmmic import pair as pairs
from zv_jax.bmmic import replies
from zv_jax.bmmic.config import Config
from zv_jax.bmmic.pair import Pair
from zv_jax.bmmic.prompts import context, examples
from zv_jax.bmmic.prompts.examples import Example
from zv_jax.bmmic.prompts.pack import Pack
from zv_jax.bmmic.steps import asking, symbols
from zv_jax.bmmic.steps.asking import Job
from zv_jax.bmmic.steps.shards import Shards
from zv_jax.bmmic.view import View
from zv_jax.errors import DataError
from zv_jax.llm.request import Asks, Failure, Reply, Request


def run(
    config: Config,
    packs: Mapping[str, Pack],
    client: Asks,
    model: str,
    workdir: Path,
    part: tuple[int, int] = (0, 1),
) -> tuple[int, int]:
    """Writes `generated/` from `symbols/`; returns what `asking.fill` does."""
    out = begin(config, packs, model, workdir)
    return asking.fill(client, out, plans(config, packs, model, workdir, part), "requests")


def begin(config: Config, packs: Mapping[str, Pack], model: str, workdir: Path) -> Shards:
    """The folder of the step, with what it is made with noted."""
    out = Shards(workdir / "generated")
    labels = {kind: packs[kind].label for kind in config.generate.kinds}
    settings = dataclasses.asdict(config.generate) | {"packs": labels, "seed": config.seed}
    asked = {"model": model, "temperature": config.server.temperature}
    out.begin("generate", settings | asked)
    return out


def plans(
    config: Config,
    packs: Mapping[str, Pack],
    model: str,
    workdir: Path,
    part: tuple[int, int] = (0, 1),
) -> Iterator[tuple[int, Iterator[Job]]]:
    """(number, jobs) of the shards that are not there yet."""
    views, out = Shards(workdir / "symbols"), Shards(workdir / "generated")
    views.require("symbols")
    for number in asking.mine(views.numbers(), part):
        if not out.has(number):
            found = symbols.read(views, number)
            yield number, (job for view in found for job in jobs(config, packs, model, view))


def jobs(config: Config, packs: Mapping[str, Pack], model: str, view: View) -> Iterator[Job]:
    """The requests for one image: each kind in each language; none where nothing is known of it."""
    if not view.captions and not view.objects and not view.tags:
        return
    for kind in config.generate.kinds:
        if packs[kind].boxes and not view.objects and not view.captions:
            continue
        for lang in config.generate.langs:
            yield _job(config, packs[kind], model, view, kind, lang)


def asked_for(
    config: Config, pack: Pack, model: str, view: View, kind: str, lang: str
) -> tuple[Request, list[Example]]:
    """The request for one kind of pair about an image, and the examples that it shows."""
    shown = examples.select(
        config.generate.examples, kind, lang, view, config.generate.shots, config.seed
    )
    messages = context.in_context(pack, lang, shown, view)
    return asking.request(config.server, model, pack, messages, replies.TURNS), shown


def _job(config: Config, pack: Pack, model: str, view: View, kind: str, lang: str) -> Job:
    asked, shown = asked_for(config, pack, model, view, kind, lang)
    empty = Pair(f"{view.id}#{kind}-{lang}", lang, kind, (), view)

    def settle(outcome: Reply | Failure) -> list[Mapping[str, Any]]:
        made = asking.facts(pack, asked, outcome) | {"examples": [e.pair.id for e in shown]}
        return [pairs.to_json(filled(empty, outcome, made))]

    return Job(empty.id, asked, settle)


def filled(empty: Pair, outcome: Reply | Failure, made: Mapping[str, Any]) -> Pair:
    """A pair with the turns of a reply, or with what is wrong with it."""
    if isinstance(outcome, Failure):
        return dataclasses.replace(empty, fault=f"no reply: {outcome.reason}", meta=made)
    finish = outcome.finish_reason or "stop"
    kept = dataclasses.replace(empty, finish_reason=finish, meta=made)
    if outcome.refused:
        return dataclasses.replace(kept, fault="refused")
    try:
        return dataclasses.replace(kept, turns=replies.turns(outcome.text))
    except DataError as error:
        raw = dict(made) | {"raw": outcome.text[:2000]}
        return dataclasses.replace(kept, fault=replies.reason(error), meta=raw)


def read(shards: Shards, number: int) -> Iterator[Pair]:
    """The pairs of a shard."""
    for where, line in shards.rows(number):
        yield pairs.loads(line, where)
