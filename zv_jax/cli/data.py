"""`zv data`: make, look at, count and check data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

from absl import flags

from zv_jax.cli.arguments import existing_file
from zv_jax.data import records
from zv_jax.data.records import Record
from zv_jax.data.schema import json_schema
from zv_jax.data.validate import check_file
from zv_jax.errors import ConfigError, DataError, nearest

USAGE = """
usage: zv data prepare  [zv_openmoji]            make the data set in the cache, once
       zv data peek     [zv_openmoji]            draw a sheet of scenes, print their records
       zv data stats    [zv_openmoji | FILE ...] count records by task, language and split
       zv data validate FILE ...                 check every line of record files (.jsonl)
       zv data schema                            print the record as JSON Schema

  zv data prepare zv_openmoji --concepts=all
  zv data peek zv_openmoji --split=test --n=12 --out=sheet.png
  zv data validate mine.jsonl --image_root=photos --decode
"""
SUBCOMMANDS = ("prepare", "peek", "stats", "validate", "schema")
BUILT_IN = ("zv_openmoji",)


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_enum(
        "concepts",
        "everyday",
        ["everyday", "all"],
        "which concepts the scenes show",
        flag_values=values,
    )
    flags.DEFINE_string(
        "data_dir", None, "where the data set lies (default: the cache)", flag_values=values
    )
    flags.DEFINE_string("split", "train", "split to look at or count", flag_values=values)
    flags.DEFINE_integer("n", 12, "scenes to draw", 1, flag_values=values)
    flags.DEFINE_string(
        "image_root", "", "folder of the pictures (default: that of the file)", flag_values=values
    )
    flags.DEFINE_bool("decode", False, "validate: decode every picture too", flag_values=values)
    flags.DEFINE_string("out", "peek.png", "where peek writes its sheet", flag_values=values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    command, names = words[0], words[1:]
    if command == "validate":
        _validate(values, names)
    elif command == "schema":
        print(json.dumps(json_schema(), ensure_ascii=False, indent=2))
    elif command == "stats" and names and names[0] not in BUILT_IN:
        _count(record for name in names for record in _read(name))
    else:
        _built_in(values, command, names)


def _built_in(values: flags.FlagValues, command: str, names: list[str]) -> None:
    for name in names:
        if name not in BUILT_IN:
            raise ConfigError(
                f"there is no data set {name!r}{nearest(name, BUILT_IN)}",
                where=f"zv data {command}",
                expected="one of " + ", ".join(BUILT_IN),
                fix=f"zv data {command} {BUILT_IN[0]}",
            )
    from zv_jax.data.openmoji import prepare as openmoji

    path = openmoji.prepare(data_dir=values.data_dir, concepts=values.concepts)
    if command == "prepare":
        print(f"zv_openmoji ({values.concepts}): {path}")
    elif command == "peek":
        print(f"sheet: {openmoji.peek(path, values.split, values.n, values.out)}")
    else:
        scenes = openmoji.open_split(path, values.split)
        _count(record for i in range(len(scenes)) for record in scenes[i]["records"])


def _read(name: str) -> Iterator[Record]:
    return records.read_jsonl(existing_file(name, "record file"))


def _count(found: Iterator[Record]) -> None:
    counts: Counter = Counter()
    for record in found:
        counts[record.split, record.task, record.lang] += 1
    for (split, task, lang), number in sorted(counts.items()):
        print(f"{split:<8}{task:<14}{lang:<6}{number:>9}")
    print(f"{'all':<28}{counts.total():>9}")


def _validate(values: flags.FlagValues, names: list[str]) -> None:
    if not names:
        raise ConfigError(
            "zv data validate needs a file",
            expected="one or more .jsonl files",
            fix="zv data validate mine.jsonl",
        )
    bad = 0
    for name in names:
        good = 0
        path = existing_file(name, "record file")
        for _, errors in check_file(path, values.image_root, values.decode):
            good += not errors
            bad += bool(errors)
            for error in errors:
                print(error)
        print(f"{name}: {good} records are right")
    if bad:
        raise DataError(
            f"{bad} records are wrong (listed above)",
            where=", ".join(names),
            fix="mend or remove these lines",
        )
