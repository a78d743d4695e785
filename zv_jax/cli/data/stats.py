"""`zv data stats`: what a copy of a data set holds, beside what its authors published."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from absl import flags

from zv_jax.cli.arguments import existing_file, required
from zv_jax.cli.data import common
from zv_jax.data.public import catalogue, stats
from zv_jax.data.records.record import Record
from zv_jax.tables import align

USAGE = """
usage: zv data stats NAME --root=DIR
       zv data stats FILE ...

  zv data stats okvqa --root=/data/okvqa
  zv data stats mine.jsonl
"""
TAKES_WORDS = True
_WIDTHS = (18, 26, 13, 13)


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "root", None, "folder of the data set as its authors distribute it", flag_values=values
    )
    common.define_split(values)
    common.define_embedded(values)


def run(values: flags.FlagValues, names: list[str]) -> None:
    if names and all(map(common.is_file, names)):
        for name in names:
            existing_file(name, "record file")
        _print_counts(r for name in names for r in common.of_split(Path(name), values.split))
        return
    name = common.one_name("stats", names, common.EMBEDDED)
    if name == common.EMBEDDED:
        from zv_jax.data.openmoji import prepare

        scenes = prepare.open_split(common.embedded(values), values.split or "train")
        _print_counts(record for i in range(len(scenes)) for record in scenes[i]["records"])
        return
    catalogue.card(name)
    root = required(values, "root", "DIR")
    for count in stats.compare(name, root, [values.split] if values.split else []):
        published = "" if count.published is None else f"{count.published:,}"
        row = (count.split, count.what, f"{count.found:,}", published, count.verdict)
        print(*align([row], "llrrl", _WIDTHS))  # at once: counting the next split takes a while


def _print_counts(found: Iterator[Record]) -> None:
    counts = stats.by_task(found)
    rows = [(*key, str(number)) for key, number in sorted(counts.items())]
    rows.append(("all", "", "", str(sum(counts.values()))))
    print("\n".join(align(rows, "lllr")))
