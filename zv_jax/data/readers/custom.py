"""What people bring: records, tables, folders, tars; `rows` makes records of their entries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zv_jax import json_input
from zv_jax.data.readers import columns, files, rows, tables, tars
from zv_jax.data.readers.base import Request, reader
from zv_jax.data.readers.cells import Entry
from zv_jax.data.records import record as records_lib
from zv_jax.data.records.record import ImageRef, Record
from zv_jax.data.sources.open import no_split
from zv_jax.data.text import language
from zv_jax.errors import DataError


@reader("records", "vqav2_t", "gqa_t", "m3it_t", "llava_t", "bmmic")
def records(request: Request) -> Iterator[Record]:
    """Records of ours, one per line; those of other splits are left out."""
    path = request.root
    if path.is_dir():
        path = files.find(path, f"{request.split or 'train'}.jsonl", f"{request.name}.jsonl")
    splits: set[str] = set()
    for number, line in json_input.numbered(path):
        record = records_lib.loads(line, f"{path}:{number}")
        splits.add(record.split)
        if request.split in ("", record.split):
            yield record
    if request.split and request.split not in splits:
        raise no_split(request.split, sorted(splits), str(path), "set --split")


@reader("pairs_jsonl")
def pairs_jsonl(request: Request) -> Iterator[Record]:
    """JSON lines such as {"image", "text_input", "text_output"} or {"image", "caption"}."""
    paths = tables.files_of(request, ".jsonl", ".ndjson", ".json")
    return rows.records(request, tables.json_entries(request, paths))


@reader("llava_json")
def llava_json(request: Request) -> Iterator[Record]:
    """A list of {"id", "image": name or names, "conversations": [{"from", "value"}]}.

    Ids may repeat, as in LLaVA's own files: they name images rather than rows.
    """
    paths = tables.files_of(request, ".json", ".jsonl", ".ndjson")
    return rows.records(request, tables.json_entries(request, paths, identity="both"))


@reader("csv")
def csv_table(request: Request) -> Iterator[Record]:
    """CSV or TSV files with a line of column names each."""
    return rows.records(
        request, tables.csv_entries(request, tables.files_of(request, ".csv", ".tsv"))
    )


@reader("folder")
def folder(request: Request) -> Iterator[Record]:
    """Images with a text file of the same name beside each; `.txt`, or `.json` with fields."""
    return rows.records(request, _folder(request))


def _folder(request: Request) -> Iterator[Entry]:
    folders = (p for p in sorted(request.root.glob("*")) if p.is_dir() and request.is_mine(p))
    root = next(folders, request.root)
    if not root.is_dir():
        files.find(root, ".", folder=True)
    found = sorted(p for p in root.rglob("*") if p.suffix.lower()[1:] in tars.IMAGES)
    request.refuse_others(sorted({path.parent for path in found} - {request.root}))
    for path in found:
        if path.name.startswith("._"):
            continue
        text, fields = _beside(path)
        name = path.relative_to(request.root).as_posix()
        native = path.relative_to(root).with_suffix("").as_posix()
        images = (ImageRef(path=name),)
        parts = _by_language(fields["caption"]) if text.suffix == ".txt" else {}
        if len(parts) < 2:
            yield Entry(fields, str(root), str(text), native, images, identity="place")
            continue
        for lang, caption in parts.items():
            own = {"caption": caption, "lang": lang}
            yield Entry(own, str(root), str(text), f"{native}.{lang}", images, identity="place")


def _by_language(text: str) -> dict[str, str]:
    """The lines of a text by their language."""
    found: dict[str, list[str]] = {}
    for line in filter(str.strip, text.splitlines()):
        found.setdefault(language.of(line), []).append(line)
    return {lang: "\n".join(lines) for lang, lines in found.items()}


def _beside(path: Path) -> tuple[Path, dict[str, Any]]:
    """The file with the text of an image, and its fields."""
    for suffix in (".json", ".txt"):
        text = path.with_suffix(suffix)
        if text.is_file() and suffix == ".json":
            return text, _object(text.read_bytes(), str(text))
        if text.is_file():
            return text, {"caption": json_input.text(text.read_bytes(), str(text))}
    raise DataError(
        f"an image without a text: {path.name}",
        where=str(path),
        expected=f"{path.stem}.txt or {path.stem}.json beside it",
        fix="write its text, or move the image elsewhere",
    )


def _json(data: bytes | str, where: str) -> Any:
    """A value of JSON; halves of characters and NaN are for the columns to judge."""
    return json_input.parse(data, where, once=True, strict=False)


def _object(data: bytes | str, where: str) -> dict[str, Any]:
    """The fields of a sample; see `_json`."""
    found = _json(data, where)
    if not isinstance(found, dict):
        raise DataError(
            "The .json of a sample is no object",
            where=where,
            expected='an object such as {"question": "...", "answer": "..."}',
            fix="write an object with named fields",
        )
    return found


@reader("webdataset")
def webdataset(request: Request) -> Iterator[Record]:
    """Tars of samples with images and a `.txt` or `.json`, as img2dataset writes them."""
    return rows.records(request, _samples(request))


def _samples(request: Request) -> Iterator[Entry]:
    for shard in tables.files_of(request, ".tar"):
        keys: dict[str, None] = {}
        for sample in tars.samples(shard):
            if sample.key in keys:
                raise DataError(
                    f"The members of {sample.key!r} are apart, or two samples have this name",
                    where=sample.where,
                    expected="all members of a sample one after the other",
                    fix="pack the tar again, sorted: tar --sort=name -cf NEW.tar FOLDER",
                )
            keys[sample.key] = None
            fields = _fields(sample)
            if not sample.images and not _is_text(fields):
                # img2dataset keeps the texts of images it could not fetch.
                request.intake.left_out["samples of a tar without an image"] += 1
                continue
            for extension in sample.unread:
                request.intake.unused[f"*.{extension}"] += 1
            images = tuple(addresses(request, shard, sample))
            native = f"{shard.stem}/{sample.key}"
            yield Entry(fields, shard.name, sample.where, native, images, identity="place")


def _is_text(fields: dict[str, Any]) -> bool:
    named = {name.lower() for name in fields}
    roles = ("conversations", "question", "instruction")
    return any(named & set(names) for role in roles for names in columns.USUAL[role])


def addresses(request: Request, shard: Path, sample: tars.Sample) -> list[ImageRef]:
    """References to the images of a sample, in natural order of the names of their extensions."""
    name = shard.relative_to(tables.base(request)).as_posix()
    keys = sorted(sample.images, key=columns.natural)
    return [ImageRef(shard_key=f"{name}#{sample.images[key]}") for key in keys]


def _fields(sample: tars.Sample) -> dict[str, Any]:
    """The fields of a sample's .json, and its texts by the name before `.txt`."""
    fields: dict[str, Any] = {}
    for extension, text in sample.texts.items():
        name, _, kind = extension.rpartition(".")
        where = f"{sample.where}.{extension}"
        if kind == "json" and not name:
            fields |= _object(text, where)
        else:
            fields[name or kind] = _json(text, where) if kind == "json" else text
    return fields
