"""`zv data`: find, read, prepare, look at, count, check and guard data."""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from zv_jax.cli import runners
from zv_jax.cli.arguments import existing_file, required
from zv_jax.data.records import record as records_lib
from zv_jax.data.records.record import Record
from zv_jax.data.storage import array_records
from zv_jax.errors import ConfigError, DataError

if TYPE_CHECKING:
    from zv_jax.data.readers.intake import Intake

USAGE = """
usage: zv data list     [NAME]                all data sets that can be read, or the card of one
       zv data convert  NAME --root=DIR       write the records of a data set to a .jsonl file
       zv data prepare  NAME --root=DIR       write records and pictures to shards for training
       zv data filter   NAME --root=DIR       clean web pairs: rules, duplicates, CLIP score
       zv data stats    NAME --root=DIR       count a copy, beside what was published
       zv data guard    NAME=DIR ...          list pictures of evaluations, to keep them out
       zv data validate FILE ...              check every line of record files
       zv data peek     [NAME | FILE]         show samples as the model gets them, as a page
       zv data schema                         print the record as JSON Schema

NAME is one of `zv data list`, or zv_openmoji, the embedded data set, which needs no --root.
FILE holds records, one JSON object per line; prepare, filter and stats take one in place of NAME.

  zv data convert llava_json --root=chats.json --image_root=photos --out=mine.jsonl
  zv data prepare coco_caption --root=/data/coco --out=/shards/coco --image_size=224 --workers=8
  zv data prepare wukong.jsonl --runner=beam --beam_options=runner=FlinkRunner,flink_master=m:8081
  zv data filter wukong --root=/data/wukong --scorer=models/chinese_clip --out=wukong.jsonl
  zv data guard okvqa=/data/okvqa coco_caption=/data/coco visual_genome=/data/vg --out=guard
  zv data convert csv --root=mine.csv --columns=image=pic,caption=words --out=mine.jsonl
  zv data convert pairs_jsonl --root=mine.jsonl --ignore=system,notes --out=records.jsonl
  zv data validate mine.jsonl --image_root=photos --decode
  zv data peek mine.jsonl --image_root=photos --stage=stage1 --n=20 --out=peek.html
  zv data peek --config configs/quickstart.py:stage1_chat
  zv data peek zv_openmoji --n=12 --out=sheet.png      (a sheet of scenes, sheet/1.png, ...)
"""
SUBCOMMANDS = (
    "list",
    "convert",
    "prepare",
    "filter",
    "stats",
    "guard",
    "validate",
    "peek",
    "schema",
)
TAKES_CONFIG = "config"
EMBEDDED = "zv_openmoji"


def define(values: flags.FlagValues) -> None:
    def text(name: str, default: str | None, about: str) -> None:
        flags.DEFINE_string(name, default, about, flag_values=values)

    def whole(name: str, default: int, about: str, lower: int = 0) -> None:
        flags.DEFINE_integer(name, default, about, lower, flag_values=values)

    def switch(name: str, about: str) -> None:
        flags.DEFINE_bool(name, False, about, flag_values=values)

    text("root", None, "folder (or file) of the data set as its authors distribute it")
    text("split", "", "split, by the data set's own name (default: the first; all of a file)")
    text("image_root", "", "folder of the pictures (default: --root, or that of the file)")
    text("out", None, "where to write")
    flags.DEFINE_list(
        "columns", [], "which columns hold what: image=a,caption=b", flag_values=values
    )
    flags.DEFINE_list("ignore", [], "columns to leave out on purpose", flag_values=values)
    flags.DEFINE_enum(
        "purpose", "train", ["train", "eval"], "what records are for", flag_values=values
    )
    text("guard", None, "folder of `zv data guard`: leave out the pictures it lists")
    switch("paper_mixture", "read evaluation splits for training too, as the paper's counts need")
    flags.DEFINE_float(
        "max_bad",
        0.01,
        "convert: share of bad rows, above ten of them",
        0,
        1,
        flag_values=values,
    )
    whole("image_size", 0, "prepare: side of the stored pictures in pixels; 0: as they are")
    flags.DEFINE_enum(
        "encoding",
        "jpeg",
        ["jpeg", "png", "ppm"],
        "prepare: of resized pictures; ppm: uncompressed",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "transparency",
        "white",
        ["white", "black"],
        "prepare: as data.transparency of the recipe",
        flag_values=values,
    )
    whole("quality", 95, "prepare: of JPEG pictures", 1)
    whole("shard_size", 2048, "prepare: records per shard", 1)
    runners.define(values)
    flags.DEFINE_float(
        "max_rejected", 0.01, "prepare: share of pictures that may be bad", flag_values=values
    )
    text("scorer", None, "filter: directory of a CLIP model; none: rules only")
    flags.DEFINE_float(
        "keep", None, "filter: share of scored pairs kept (default: Table 1)", flag_values=values
    )
    flags.DEFINE_float(
        "precision", None, "filter: calibrate by shuffled pairs instead", flag_values=values
    )
    flags.DEFINE_list("rules", [], "filter: limits, such as min_side=100", flag_values=values)
    text("report", None, "filter: where to write the page (default: beside --out)")
    switch("decode", "validate: decode every picture too")
    whole("n", 12, "peek: samples to show", 1)
    flags.DEFINE_enum(
        "stage",
        "stage2",
        ["language", "stage0", "stage1", "stage2"],
        "peek: whose batches",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "concepts",
        "everyday",
        ["everyday", "all"],
        "zv_openmoji: what scenes show",
        flag_values=values,
    )
    text("data_dir", None, "zv_openmoji: where it lies (default: the cache)")
    flags.DEFINE_enum("lang", "en", ["en", "zh"], "list: language of the cards", flag_values=values)
    switch("markdown", "list: as a page of the documentation")


def run(values: flags.FlagValues, words: list[str]) -> None:
    command, names = words[0], words[1:]
    functions = {
        "list": _list,
        "convert": _convert,
        "prepare": _prepare,
        "filter": _filter,
        "stats": _stats,
        "guard": _guard,
        "validate": _validate,
        "peek": _peek,
        "schema": _schema,
    }
    functions[command](values, names)


def _one(command: str, names: list[str], default: str | None = None) -> str:
    if not names and default:
        return default
    if len(names) != 1:
        raise ConfigError(
            f"zv data {command} needs one name" + (f", not {len(names)}" if names else ""),
            expected="a data set of `zv data list`, or a .jsonl file",
            fix="zv data --help",
        )
    return names[0]


def _is_file(name: str) -> bool:
    return name.endswith(".jsonl") or Path(name).is_file()


def _records(
    values: flags.FlagValues, name: str, training: bool, intake: Intake | None = None
) -> tuple[Iterator[Record], Path]:
    """The records of a file or a data set, and what their image paths are relative to."""
    from zv_jax.data.public import catalogue, guard
    from zv_jax.data.readers.intake import Intake

    if _is_file(name):
        path = existing_file(name, "record file")
        return _of_split(path, values.split), Path(values.image_root or path.parent)
    card = catalogue.card(name)
    root = Path(required(values, "root", "DIR"))
    counts = intake or Intake()
    if training and not values.guard and card.space and card.splits:
        print(
            f"zv: no --guard: pictures of {name} that evaluations show too are not left out",
            file=sys.stderr,
        )
    records = catalogue.read(
        name,
        root,
        values.split or next(iter(card.splits), "train"),
        columns=_columns(values.columns),
        ignore=values.ignore,
        intake=counts,
        training=training,
        paper_mixture=values.paper_mixture,
        guard=guard.Guard.load(values.guard) if values.guard and training else None,
    )
    folder = Path(values.image_root or (root if root.is_dir() else root.parent))
    return (records if intake else _reported(records, counts)), folder


def _reported(records: Iterator[Record], intake: Intake) -> Iterator[Record]:
    """The records, and after the last one what of their table was left out or unused."""
    yield from records
    for line in intake.lines():
        print(f"zv: {line}", file=sys.stderr)


def _columns(words: list[str]) -> dict[str, list[str]]:
    """{role: columns}; a role that is named again has several."""
    found: dict[str, list[str]] = {}
    for role, column in _pairs(words, "--columns", "image=photo,caption=words"):
        found.setdefault(role, []).append(column)
    return found


def _of_split(path: Path, split: str) -> Iterator[Record]:
    """The records of a file that are of `split`, or all; `DataError` if it has none of it."""
    from zv_jax.data.sources.open import no_split

    splits = set()
    for record in records_lib.read_jsonl(path):
        splits.add(record.split)
        if split in ("", record.split):
            yield record
    if split and split not in splits:
        raise no_split(split, sorted(splits), str(path), "set --split")


def _pairs(words: list[str], where: str, example: str) -> Iterator[tuple[str, str]]:
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals and value):
            raise ConfigError(f"{word!r} is no NAME=VALUE", where=where, expected=example)
        yield name, value


def _list(values: flags.FlagValues, names: list[str]) -> None:
    from zv_jax.data.public import catalogue, catalogue_page

    if values.markdown:
        print(catalogue_page.page(values.lang), end="")
    elif names:
        for name in names:
            print(catalogue_page.card_text(catalogue.card(name), values.lang))
    else:
        print(catalogue_page.table_text())


def _convert(values: flags.FlagValues, names: list[str]) -> None:
    from zv_jax.data.readers.intake import Intake
    from zv_jax.data.sources import convert

    intake = Intake(values.max_bad)
    records, root = _records(values, _one("convert", names), values.purpose == "train", intake)
    out = Path(required(values, "out", "mine.jsonl"))
    count = convert.write_jsonl(records, out)
    rejected = intake.write_rejected(out)
    for line in intake.lines():
        print(line)
    if rejected:
        print(f"bad rows are listed in {rejected}")
    if intake.images["inside"]:
        table = Path(values.root)
        table = table if table.is_dir() else table.parent
        if intake.images["path"] and table != root:
            print(
                f"zv: {intake.images['inside']:,} images are inside the table and relative to "
                f"{table}, {intake.images['path']:,} are files relative to {root}: put both below "
                "one folder and convert again with it as --root and --image_root",
                file=sys.stderr,
            )
        root = root if intake.images["path"] else table
    if intake.images["url"]:
        print(f"zv: {intake.images['url']:,} images are URLs: download them before training")
    print(f"{out}: {count:,} records; images are relative to {root}")


def _prepare(values: flags.FlagValues, names: list[str]) -> None:
    name = _one("prepare", names, EMBEDDED)
    if name == EMBEDDED:
        from zv_jax.data.openmoji import prepare as openmoji

        path = openmoji.prepare(data_dir=values.data_dir, concepts=values.concepts)
        print(f"zv_openmoji ({values.concepts}): {path}")
        return
    from zv_jax.data.sources import prepare
    from zv_jax.data.sources.shards import Settings

    settings = Settings(
        values.image_size,
        values.encoding,
        values.quality,
        values.shard_size,
        values.transparency,
        values.purpose,
    )
    records, root = _records(values, name, values.purpose == "train")
    out = Path(required(values, "out", "DIR"))
    manifest = prepare.prepare(
        records,
        root,
        out,
        settings,
        workers=values.workers,
        max_rejected=values.max_rejected,
        writer=runners.shard_writer(values),
    )
    print(
        f"{out}: {manifest['records']:,} records, {manifest['pictures']:,} pictures, "
        f"{manifest['shards']:,} shards, {manifest['rejected']:,} records left out"
    )


def _filter(values: flags.FlagValues, names: list[str]) -> None:
    from zv_jax.data.cleaning import report, rules, run

    limits = rules.parse(values.rules)
    records, root = _records(values, _one("filter", names), values.purpose == "train")
    out = Path(required(values, "out", "clean.jsonl"))
    out.parent.mkdir(parents=True, exist_ok=True)
    runner = runners.cleaning(values, out.with_suffix(".scores.sqlite"))
    outcome = run.clean(
        records, root, out, limits, keep=values.keep, precision=values.precision, runner=runner
    )
    page = values.report or out.with_suffix(".html")
    report.write(outcome, root, page)
    kept, seen = sum(outcome.kept.values()), sum(outcome.seen.values())
    print(f"{out}: {kept:,} of {seen:,} records kept ({kept / seen:.1%}); report: {page}")


def _stats(values: flags.FlagValues, names: list[str]) -> None:
    from zv_jax.data.public import catalogue, stats

    if all(map(_is_file, names)) and names:
        for name in names:
            existing_file(name, "record file")
        _print_counts(r for name in names for r in _of_split(Path(name), values.split))
        return
    name = _one("stats", names, EMBEDDED)
    if name == EMBEDDED:
        from zv_jax.data.openmoji import prepare as openmoji

        path = openmoji.prepare(data_dir=values.data_dir, concepts=values.concepts)
        scenes = openmoji.open_split(path, values.split or "train")
        _print_counts(record for i in range(len(scenes)) for record in scenes[i]["records"])
        return
    catalogue.card(name)
    root = required(values, "root", "DIR")
    for count in stats.compare(name, root, [values.split] if values.split else []):
        published = "" if count.published is None else f"{count.published:>13,}"
        print(
            f"{count.split:<20}{count.what:<28}{count.found:>13,}{published:>13}  {count.verdict}"
        )


def _print_counts(found: Iterator[Record]) -> None:
    from zv_jax.data.public import stats

    counts = stats.by_task(found)
    for (split, task, lang), number in sorted(counts.items()):
        print(f"{split:<8}{task:<14}{lang:<6}{number:>9}")
    print(f"{'all':<28}{sum(counts.values()):>9}")


def _guard(values: flags.FlagValues, names: list[str]) -> None:
    from zv_jax.data.public import guard, guard_lists

    if not names:
        raise ConfigError(
            "zv data guard needs copies of evaluation sets",
            expected="NAME=DIR ... with names of " + ", ".join(guard_lists.guarded_sets()),
            fix="zv data guard okvqa=/data/okvqa --out=guard",
        )
    out = required(values, "out", "guard")
    found = guard_lists.collect(dict(_pairs(names, "zv data guard", "okvqa=/data/okvqa")))
    guard.write(out, found)
    for space, parts in sorted(found.items()):
        for origin, ids in sorted(parts.items()):
            print(f"{space:<16}{origin:<36}{len(ids):>9,}  {guard.digest(ids)[:16]}")


def _validate(values: flags.FlagValues, names: list[str]) -> None:
    from zv_jax.data.records.validate import check_file

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
        for _, errors in check_file(
            path,
            values.image_root,
            values.decode,
            answered=values.purpose == "train",
            split=values.split,
        ):
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


def _peek(values: flags.FlagValues, names: list[str]) -> None:
    from zv_jax.data.pipeline import peek

    if (not names or names == [EMBEDDED]) and (values.out or "").endswith(".png"):
        from zv_jax.data.openmoji import prepare as openmoji

        path = openmoji.prepare(data_dir=values.data_dir, concepts=values.concepts)
        print(f"sheet: {openmoji.peek(path, values.split or 'train', values.n, values.out)}")
        return
    with tempfile.TemporaryDirectory() as folder:
        config = _peek_config(values, names, Path(folder))
        out = values.out or "peek.html"
        print(f"{out}: {peek.write_page(config, values.n, out)} samples")


def _peek_config(values: flags.FlagValues, names: list[str], folder: Path) -> Any:
    """The recipe that is given, or a small one that reads the file or data set that is named."""
    from zv_jax.config import build
    from zv_jax.data.sources import convert

    if values.config is not None and not names:
        return build.validate(values.config)
    name = _one("peek", names, EMBEDDED)
    source = {"name": "jsonl", "path": name, "split": values.split, "image_root": values.image_root}
    if name == EMBEDDED:
        source = {"name": name, "path": values.data_dir or "", "split": values.split or "train"}
    elif any((Path(name) / part / array_records.MANIFEST).is_file() for part in ("", values.split)):
        source |= {"name": "prepared"}
    elif not _is_file(name):
        records, root = _records(values, name, training=False)
        source |= {"path": str(folder / "first.jsonl"), "image_root": str(root), "split": ""}
        convert.write_jsonl(itertools.islice(records, values.n), source["path"])
    if values.config is not None:
        with values.config.unlocked():
            values.config.data.sources = (source,)
        return build.validate(values.config)
    tokens = 8192
    return build.validate(
        build.recipe(
            "tiny_chat",
            stage={"name": values.stage},
            data={
                "sources": (source,),
                "paper_mixture": True,  # looking is not learning
                "max_length": 1024,
                "max_qformer_text": 64,
                "max_images": 4,
            },
            model={
                "vision": {"image_size": 224},
                "llm": {"vocab_size": tokens},
                "qformer": {"vocab_size": tokens},
                "image_token_id": tokens - 1,
            },
            train={"batch_size": 1},
        )
    )


def _schema(values: flags.FlagValues, names: list[str]) -> None:
    from zv_jax.data.records.schema import json_schema

    print(json.dumps(json_schema(), ensure_ascii=False, indent=2))
