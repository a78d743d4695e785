"""What people bring: records, tables, folders, tars; columns are found by their usual names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from zv_jax.data import language, lines
from zv_jax.data import records as records_lib
from zv_jax.data.readers import files, llava, tars
from zv_jax.data.readers.base import Request, assistant, each, reader, texts, user
from zv_jax.data.readers.files import Row
from zv_jax.data.records import ImageRef, Record
from zv_jax.data.sources import no_split
from zv_jax.errors import DataError, nearest

USUAL = {
    "image": ("image", "image_path", "img_path", "img", "file_name", "filename", "图片"),
    "caption": ("caption", "text", "title", "description", "描述", "文本"),
    "question": ("question", "text_input", "instruction", "query", "prompt", "问题"),
    "answer": ("answer", "text_output", "output", "response", "answers", "回答", "答案"),
    "conversations": ("conversations", "messages"),
    "id": ("id", "uid", "question_id"),
    "lang": ("lang", "language"),
    "task": ("task",),
    "url": ("url",),
}
"""What a column may be called when `--columns` does not name it."""


def chosen(request: Request, have: Iterable[str], where: str) -> dict[str, str]:
    """{role: column} among the columns there are.

    Raises:
      DataError: `--columns` names a role or a column that does not exist.
    """
    have = list(have)
    lower = {name.lower(): name for name in reversed(have)}
    found = {}
    for role, column in request.columns.items():
        if role not in USUAL or column not in have:
            valid = list(USUAL) if role not in USUAL else have
            wrong = role if role not in USUAL else column
            raise DataError(
                f"--columns names {wrong!r}{nearest(wrong, valid)}",
                where=where,
                expected="ROLE=COLUMN with a role of "
                f"{', '.join(USUAL)} and a column of {', '.join(have)}",
                fix="correct --columns",
            )
        found[role] = column
    for role, names in USUAL.items():
        for name in names:
            if role not in found and name in lower and lower[name] not in found.values():
                found[role] = lower[name]
    return found


def from_fields(
    request: Request,
    row: Row,
    native: object = None,
    images: Sequence[ImageRef] | None = None,
) -> Record:
    """The record of one row of any table: a conversation, a question with its answer, or a caption.

    Args:
      native: the row's identity where it has no column for it; its number by default.
      images: its pictures, where they are not named in a column.
    """
    roles = chosen(request, row, row.where)

    def value(role: str) -> Any:
        return row.get(roles[role]) if role in roles else None

    if images is None:
        images = [ImageRef(path=name) for name in names(value("image"))]
        if not images and value("url"):
            images = [ImageRef(url=value("url"))]
    if value("id") is not None:
        native = value("id")
    elif native is None:
        native = row.number
    if value("conversations") is not None:
        turns = llava.turns_of(value("conversations"), len(images))
        said = " ".join(text for role, text in turns if role == "assistant")
        task = _task(value("task"), "conversation")
        return request.record(native, task, language.of(said), images, turns)
    answers = texts(value("answer") if isinstance(value("answer"), list) else [value("answer")])
    if value("question") is not None and value("answer") is not None and answers:
        lang = _lang(value("lang"), str(value("question")) + " ".join(answers))
        if len(answers) == 1:
            turns = [user(str(value("question"))), assistant(str(value("answer")).strip())]
            answers = None
        else:
            turns = [user(str(value("question")))]
        task = _task(value("task"), "vqa")
        return request.record(native, task, lang, images, turns, answers=answers)
    captions = value("caption") if value("caption") is not None else value("answer")
    captions = texts(captions if isinstance(captions, list) else [captions or ""])
    if captions is None:
        raise DataError(
            "A row without a text to learn",
            where=row.where,
            expected="a caption, a question with an answer, or conversations; it has the columns "
            + ", ".join(row),
            fix="say which column is which: --columns=image=...,question=...,answer=...",
        )
    lang = _lang(value("lang"), " ".join(captions))
    task = _task(value("task"), "caption")
    return request.record(native, task, lang, images, answers=captions)


def one(request: Request, row: Row, native: object, images: Sequence[ImageRef]) -> Iterator[Record]:
    """`from_fields` of a single row, with the errors of `each`."""
    return each([row], lambda row: [from_fields(request, row, native, images)])


def names(value: Any) -> list[str]:
    """Image paths of a cell: one, a list, or none."""
    values = value if isinstance(value, list) else [value]
    return [str(name) for name in values if name]


def _lang(given: Any, text: str) -> str:
    return given if given in records_lib.LANGS else language.of(text)


def _task(given: Any, usual: str) -> str:
    return given if given in records_lib.TASKS else usual


@reader("records", "vqav2_t", "gqa_t", "m3it_t", "llava_t", "bmmic")
def records(request: Request) -> Iterator[Record]:
    """Records of ours, one per line; those of other splits are left out."""
    path = request.root
    if path.is_dir():
        path = files.find(path, f"{request.split or 'train'}.jsonl", f"{request.name}.jsonl")
    splits: set[str] = set()
    for number, line in lines.numbered(path):
        record = records_lib.loads(line, f"{path}:{number}")
        splits.add(record.split)
        if request.split in ("", record.split):
            yield record
    if request.split and request.split not in splits:
        raise no_split(request.split, sorted(splits), str(path), "set --split")


@reader("pairs_jsonl")
def pairs_jsonl(request: Request) -> Iterator[Record]:
    """JSON lines such as {"image", "text_input", "text_output"} or {"image", "caption"}."""
    path = _file(request, ".jsonl")
    return each(files.json_lines(path), lambda row: [from_fields(request, row)])


@reader("csv")
def csv_table(request: Request) -> Iterator[Record]:
    """A CSV or TSV file with a line of column names."""
    path = _file(request, ".csv", ".tsv")
    rows = files.table(path, "\t" if path.suffix == ".tsv" else ",")
    return each(rows, lambda row: [from_fields(request, row)])


def _file(request: Request, *suffixes: str) -> Path:
    if request.root.is_file():
        return request.root
    path = files.find(
        request.root, *(f"{request.split}{s}" for s in suffixes), *(f"*{s}" for s in suffixes)
    )
    return request.unnamed([path])[0]


@reader("folder")
def folder(request: Request) -> Iterator[Record]:
    """Pictures with a text file of the same name beside each; `.txt`, or `.json` with fields."""
    root = request.root / request.split if (request.root / request.split).is_dir() else request.root
    if not root.is_dir():
        files.find(root, ".")
    found = sorted(p for p in root.rglob("*") if p.suffix.lower()[1:] in tars.IMAGES)
    request.unnamed(sorted({path.parent for path in found} - {request.root}))
    for path in found:
        fields = _beside(path)
        if fields is None:
            raise DataError(
                f"a picture without a text: {path.name}",
                where=str(path),
                expected=f"{path.stem}.txt or {path.stem}.json beside it",
                fix="write its text, or move the picture elsewhere",
            )
        images = [ImageRef(path=path.relative_to(request.root).as_posix())]
        native = path.relative_to(root).with_suffix("").as_posix()
        yield from one(request, fields, native, images)


def _beside(path: Path) -> Row | None:
    for suffix in (".json", ".txt"):
        text = path.with_suffix(suffix)
        if text.is_file() and suffix == ".json":
            return files.json_file(text)
        if text.is_file():
            return Row({"caption": "\n".join(t for _, t in files.text_lines(text))}, str(text))
    return None


@reader("webdataset")
def webdataset(request: Request) -> Iterator[Record]:
    """Tars of samples with a picture and a `.txt` or `.json`, as img2dataset writes them."""
    root = request.root
    shards = (
        [root]
        if root.is_file()
        else request.unnamed(
            files.find_all(root, f"{request.split}/*.tar", f"{request.split}*.tar", "*.tar")
        )
    )
    for shard in shards:
        for sample in tars.samples(shard):
            if sample.images:  # img2dataset keeps the texts of pictures it could not fetch
                images = addresses(request, shard, sample)
                yield from one(request, _fields(sample), f"{shard.stem}/{sample.key}", images)


def addresses(request: Request, shard: Path, sample: tars.Sample) -> list[ImageRef]:
    """References to the pictures of a sample, by the names of their extensions."""
    root = request.root if request.root.is_dir() else request.root.parent
    name = shard.relative_to(root).as_posix()
    return [ImageRef(shard_key=f"{name}#{sample.images[key]}") for key in sorted(sample.images)]


def _fields(sample: tars.Sample) -> Row:
    fields: Mapping[str, Any] = {}
    if "json" in sample.texts:
        try:
            fields = json.loads(sample.texts["json"])
        except ValueError as error:
            raise files.not_as_published(sample.where, f"its .json is no JSON ({error})") from None
    text = sample.texts.get("txt", sample.texts.get("caption"))
    if text is not None:
        fields = {**fields, "caption": text}
    fields = {k: v for k, v in fields.items() if k.lower() not in ("key", "url", "id")}
    return files.rows_of(fields, sample.where)
