"""`zv data`: make, look at, count and check data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from absl import flags

from zv_jax.cli.arguments import existing_file
from zv_jax.data import records
from zv_jax.data.records import Record
from zv_jax.errors import ConfigError, DataError, nearest

USAGE = """
usage: zv data prepare  [zv_openmoji]            make the data set in the cache, once
       zv data peek     [zv_openmoji]            draw a sheet of scenes, print their records
       zv data stats    [zv_openmoji | FILE ...] count records by task, language and split
       zv data validate FILE ...                 check every line of record files (.jsonl)

  zv data prepare zv_openmoji --concepts=all
  zv data peek zv_openmoji --split=test --n=12 --out=sheet.png
  zv data validate mine.jsonl
"""
SUBCOMMANDS = ("prepare", "peek", "stats", "validate")
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
    flags.DEFINE_string("out", "peek.png", "where peek writes its sheet", flag_values=values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    command, names = words[0], words[1:]
    if command == "validate":
        _validate(names)
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


def _validate(names: list[str]) -> None:
    if not names:
        raise ConfigError(
            "zv data validate needs a file",
            expected="one or more .jsonl files",
            fix="zv data validate mine.jsonl",
        )
    bad = 0
    for name in names:
        good = 0
        with existing_file(name, "record file").open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    record = records.loads(line, f"{name}:{number}")
                    _check_images(record, Path(name), number)
                    good += 1
                except DataError as error:
                    bad += 1
                    print(error)
        print(f"{name}: {good} records are right")
    if bad:
        raise DataError(
            f"{bad} records are wrong (listed above)",
            where=", ".join(names),
            fix="mend or remove these lines",
        )


def _check_images(record: Record, file: Path, number: int) -> None:
    for image in record.images:
        path = image.path
        if (
            path
            and "://" not in path
            and not (file.parent / path).is_file()
            and not (Path(path).is_file())
        ):
            raise DataError(
                f"there is no picture {path!r}",
                where=f"{file}:{number}",
                expected="a path relative to the record file or to this folder",
            )
