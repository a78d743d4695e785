"""`rewrite`: other forms of generated pairs, by the paper's four schemes, at most one of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from zv_jax.bmmic import pair as pairs
from zv_jax.bmmic import replies
from zv_jax.bmmic.config import Config
from zv_jax.bmmic.filters.detector import Detector, thresholds
from zv_jax.bmmic.pair import Pair
from zv_jax.bmmic.prompts import context
from zv_jax.bmmic.prompts.pack import Pack
from zv_jax.bmmic.steps import asking, generate
from zv_jax.bmmic.steps.asking import Job
from zv_jax.bmmic.steps.filter import ANEW
from zv_jax.bmmic.steps.shards import Shards
from zv_jax.data.text.templates import seeded
from zv_jax.llm.request import Asks, Failure, Reply, Request


def run(
    config: Config,
    packs: Mapping[str, Pack],
    client: Asks,
    model: str,
    workdir: Path,
    part: tuple[int, int] = (0, 1),
) -> tuple[int, int]:
    """Writes `rewritten/` from `generated/`; returns what `asking.fill` does."""
    out = begin(config, packs, model, workdir)
    return asking.fill(client, out, plans(config, packs, model, workdir, part), "requests")


def begin(config: Config, packs: Mapping[str, Pack], model: str, workdir: Path) -> Shards:
    """The folder of the step, with what it is made with noted."""
    out = Shards(workdir / "rewritten")
    labels = {name: packs[name].label for name in config.rewrite.schemes}
    settings = dataclasses.asdict(config.rewrite) | {"packs": labels, "seed": config.seed}
    asked = {"model": model, "temperature": config.server.temperature}
    judged = {"filters": thresholds(config.filters)}  # they choose the pairs that are rewritten
    out.begin("rewrite", settings | asked | judged, ANEW)
    return out


def plans(
    config: Config,
    packs: Mapping[str, Pack],
    model: str,
    workdir: Path,
    part: tuple[int, int] = (0, 1),
) -> Iterator[tuple[int, Iterator[Job]]]:
    """(number, jobs) of the shards that are not there yet."""
    made, out = Shards(workdir / "generated"), Shards(workdir / "rewritten")
    made.require("generate")
    # A pair that will be dropped is not worth a request.
    detector = Detector(config.filters)
    for number in asking.mine(made.numbers(), part):
        if not out.has(number):
            chosen = (
                (pair, scheme)
                for pair in generate.read(made, number)
                if (scheme := scheme_of(pair, config)) and not detector.every(pair)
            )
            yield number, (_job(config, packs[s], model, pair, s) for pair, s in chosen)


def scheme_of(pair: Pair, config: Config) -> str | None:
    """The scheme for a pair, which follows from its id; None for one that stays as it is.

    Dialogues of several exchanges stay: a scheme speaks of one question and its answer.
    """
    schemes = config.rewrite.schemes
    if not schemes or len(pair.turns) != 2 or pair.rewriting:
        return None
    dice = seeded(config.seed, pair.id, 0, "bmmic/rewrite") / 2**32
    if dice >= config.rewrite.share:
        return None
    return schemes[seeded(config.seed, pair.id, 0, "bmmic/scheme") % len(schemes)]


def asked_for(config: Config, pack: Pack, model: str, pair: Pair) -> Request:
    """The request for another form of a pair."""
    messages = context.rewriting(pack, pair)
    return asking.request(config.server, model, pack, messages, replies.TURNS)


def _job(config: Config, pack: Pack, model: str, pair: Pair, scheme: str) -> Job:
    asked = asked_for(config, pack, model, pair)
    empty = dataclasses.replace(
        pair,
        id=f"{pair.id}-{scheme}",
        turns=(),
        rewriting=scheme,
        parent=pair.turns,
        parent_id=pair.id,
        meta={},
    )

    def settle(outcome: Reply | Failure) -> list[Mapping[str, Any]]:
        made = asking.facts(pack, asked, outcome)
        return [pairs.to_json(generate.filled(empty, outcome, made))]

    return Job(empty.id, asked, settle)
