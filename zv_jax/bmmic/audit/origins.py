"""Where a pair comes from: the messages that were sent, and the reply as the ledger has it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from zv_jax import json_input
from zv_jax.bmmic.audit.sample import Item
from zv_jax.bmmic.config import Config
from zv_jax.bmmic.pair import Pair
from zv_jax.bmmic.prompts.pack import Message, Pack
from zv_jax.bmmic.steps import generate, rewrite, translate
from zv_jax.bmmic.steps.shards import ABOUT
from zv_jax.data.records import record as records_lib
from zv_jax.llm import ledger
from zv_jax.llm.request import Reply, Request


@dataclass(frozen=True)
class Origin:
    """Messages, None where the recipe makes other ones now; the reply, None where no ledger has
    it."""

    messages: Sequence[Message] | None
    reply: str | None


def find(
    config: Config, packs: Mapping[str, Pack], workdir: Path, items: Sequence[Item]
) -> list[Origin]:
    """The origin of each item.

    A ledger keeps no messages but the sum over them, so they are made again from the recipe, and
    shown only where their sum is the one that was answered.

    Raises:
      DataError: a ledger was changed.
    """
    keys = {str(item.pair.meta["request"]) for item in items if "request" in item.pair.meta}
    said: dict[str, Reply] = {}
    for file in ledger.files(workdir):
        said |= ledger.replies(file, keys - said.keys())
    found = []
    for item in items:
        key = str(item.pair.meta.get("request", ""))
        made = _request(config, packs, workdir, item)
        messages = made.messages if made is not None and made.key == key else None
        found.append(Origin(messages, said[key].text if key in said else None))  # type: ignore[arg-type]
    return found


def _request(
    config: Config, packs: Mapping[str, Pack], workdir: Path, item: Item
) -> Request | None:
    pair = item.pair
    if pair.kind == "translate":
        model = _model(workdir / "translated")
        exchanges = [e for one in item.batch for e in _exchanges(one)]
        return translate.asked_for(config, packs["translate"], model, exchanges)
    if pair.rewriting:
        model = _model(workdir / "rewritten")
        parent = dataclasses.replace(pair, turns=pair.parent)
        return rewrite.asked_for(config, packs[pair.rewriting], model, parent)
    model = _model(workdir / "generated")
    pack = packs[pair.kind]
    return generate.asked_for(config, pack, model, pair.view, pair.kind, pair.lang)[0]


def _exchanges(pair: Pair) -> tuple[tuple[str, str], ...]:
    record = records_lib.from_json(pair.meta["record"], pair.id)
    return translate.exchanges_of(record)


def _model(folder: Path) -> str:
    """The model that a step asked, as it noted it."""
    about = json_input.parse((folder / ABOUT).read_bytes(), str(folder / ABOUT))
    return str(about["settings"]["model"])
