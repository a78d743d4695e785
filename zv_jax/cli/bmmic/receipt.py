"""`zv bmmic receipt`: what a ledger's requests were, and what they cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from absl import flags

from zv_jax.errors import ConfigError
from zv_jax.llm import ledger as ledger_lib
from zv_jax.llm import receipt as receipt_lib

USAGE = """
usage: zv bmmic receipt LEDGER ...

  zv bmmic receipt runs/bmmic
  zv bmmic receipt runs/bmmic/ledger-0-of-4.jsonl
  zv bmmic receipt runs/judge_en

A folder stands for all ledgers in it: one, or one of each --part. For each prompt pack: requests
that were answered, their tokens and dollars; `spoiled`, replies that were paid for and held
nothing; `lost`, tries without a reply that may have been charged for, and what they cost `at most`;
`failed`, requests that got no reply. Every line is held against the chain of hashes: a ledger that
was changed is an error. The end of the chain is printed; kept elsewhere, it also shows whether
lines were taken off the end.
"""
TAKES_WORDS = True


def define(values: flags.FlagValues) -> None:
    """It has no flags."""


def _ledgers(words: list[str]) -> Iterator[Path]:
    for word in words:
        path = Path(word)
        if path.is_dir():
            yield from ledger_lib.files(path) or [path / "ledger.jsonl"]
        else:
            yield path


def run(values: flags.FlagValues, words: list[str]) -> None:
    if not words:
        raise ConfigError(
            "zv bmmic receipt needs a ledger",
            where="zv bmmic receipt",
            expected="a ledger.jsonl, or the folder that it is in",
            fix="zv bmmic receipt runs/NAME",
        )
    packs: dict[str, list[receipt_lib.Sums]] = defaultdict(list)
    for path in _ledgers(words):
        receipt, owner, head = ledger_lib.read(path)
        for pack, sums in receipt.packs.items():
            packs[pack].append(sums)
        way = f", {len(receipt.batches)} batches under way" if receipt.batches else ""
        print(f"{path}: of {owner!r}, unchanged up to {head[:16]}{way}")
    print()
    print("\n".join(receipt_lib.table({p: receipt_lib.total(s) for p, s in packs.items()})))
