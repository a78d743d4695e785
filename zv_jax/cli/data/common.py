"""What several subcommands of `zv data` share: naming, finding and reading records."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from absl import flags

from zv_jax.cli.arguments import existing_file, required
from zv_jax.data.readers.intake import Intake
from zv_jax.data.records import record as records_lib
from zv_jax.data.records.record import Record
from zv_jax.errors import ConfigError

EMBEDDED = "zv_openmoji"


def define_source(values: flags.FlagValues) -> None:
    """Flags that say where records are and how their columns are named."""
    flags.DEFINE_string(
        "root",
        None,
        "folder (or file) of the data set as its authors distribute it",
        flag_values=values,
    )
    define_split(values)
    flags.DEFINE_string(
        "image_root",
        "",
        "folder of the pictures (default: --root, or that of the file)",
        flag_values=values,
    )
    flags.DEFINE_list(
        "columns", [], "which columns hold what: image=a,caption=b", flag_values=values
    )
    flags.DEFINE_list("ignore", [], "columns to leave out on purpose", flag_values=values)
    flags.DEFINE_bool(
        "paper_mixture",
        False,
        "read evaluation splits for training too, as the paper's counts need",
        flag_values=values,
    )


def define_split(values: flags.FlagValues) -> None:
    """The flag --split."""
    flags.DEFINE_string(
        "split",
        "",
        "split, by its own name (default: the first; all of a file)",
        flag_values=values,
    )


def define_purpose(values: flags.FlagValues) -> None:
    """The flag --purpose."""
    flags.DEFINE_enum(
        "purpose", "train", ["train", "eval"], "what records are for", flag_values=values
    )


def define_training(values: flags.FlagValues) -> None:
    """Flags of those that write what a model may learn from."""
    define_purpose(values)
    flags.DEFINE_string(
        "guard",
        None,
        "folder of `zv data guard`: leave out the pictures it lists",
        flag_values=values,
    )


def define_embedded(values: flags.FlagValues) -> None:
    """Flags of the embedded data set."""
    flags.DEFINE_enum(
        "concepts",
        "everyday",
        ["everyday", "all"],
        "zv_openmoji: what scenes show",
        flag_values=values,
    )
    flags.DEFINE_string(
        "data_dir", None, "zv_openmoji: where it lies (default: the cache)", flag_values=values
    )


def one_name(command: str, names: list[str], default: str | None = None) -> str:
    """The only one of `names`, or `default` where there is none.

    Raises:
        ConfigError: there are more, or none and no default.
    """
    if not names and default:
        return default
    if len(names) != 1:
        raise ConfigError(
            f"zv data {command} needs one name" + (f", not {len(names)}" if names else ""),
            expected="a data set of `zv data list`, or a .jsonl file",
            fix=f"zv data {command} --help",
        )
    return names[0]


def is_file(name: str) -> bool:
    """Whether `name` is a file of records rather than a data set."""
    return name.endswith(".jsonl") or Path(name).is_file()


def embedded(values: flags.FlagValues) -> Path:
    """The folder of the embedded data set, made where it is not there yet."""
    from zv_jax.data.openmoji import prepare

    return prepare.prepare(data_dir=values.data_dir, concepts=values.concepts)


def records(
    values: flags.FlagValues, name: str, training: bool, intake: Intake | None = None
) -> tuple[Iterator[Record], Path]:
    """The records of a file or a data set, and what their image paths are relative to."""
    from zv_jax.data.public import catalogue, guard

    if is_file(name):
        path = existing_file(name, "record file")
        return of_split(path, values.split), Path(values.image_root or path.parent)
    card = catalogue.card(name)
    root = Path(required(values, "root", "DIR"))
    counts = intake or Intake()
    if training and not values.guard and card.space and card.splits:
        print(
            f"zv: no --guard: pictures of {name} that evaluations show too are not left out",
            file=sys.stderr,
        )
    found = catalogue.read(
        name,
        root,
        values.split or next(iter(card.splits), "train"),
        columns=_columns(values.columns),
        ignore=values.ignore,
        intake=counts,
        training=training,
        paper_mixture=values.paper_mixture,
        guard=guard.Guard.load(values.guard) if training and values.guard else None,
    )
    folder = Path(values.image_root or (root if root.is_dir() else root.parent))
    return (found if intake else _reported(found, counts)), folder


def of_split(path: Path, split: str) -> Iterator[Record]:
    """The records of a file that are of `split`, or all; `DataError` if it has none of it."""
    from zv_jax.data.sources.open import no_split

    splits = set()
    for record in records_lib.read_jsonl(path):
        splits.add(record.split)
        if split in ("", record.split):
            yield record
    if split and split not in splits:
        raise no_split(split, sorted(splits), str(path), "set --split")


def pairs(words: list[str], where: str, example: str) -> Iterator[tuple[str, str]]:
    """NAME=VALUE words as pairs; `ConfigError` for another form."""
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals and value):
            raise ConfigError(f"{word!r} is no NAME=VALUE", where=where, expected=example)
        yield name, value


def _reported(found: Iterator[Record], intake: Intake) -> Iterator[Record]:
    """The records, and after the last one what of their table was left out or unused."""
    yield from found
    for line in intake.lines():
        print(f"zv: {line}", file=sys.stderr)


def _columns(words: list[str]) -> dict[str, list[str]]:
    """{role: columns}; a role that is named again has several."""
    found: dict[str, list[str]] = {}
    for role, column in pairs(words, "--columns", "image=photo,caption=words"):
        found.setdefault(role, []).append(column)
    return found
