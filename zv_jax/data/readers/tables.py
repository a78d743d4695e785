"""Own tables in JSON and CSV as entries, whatever the file: a list, lines, several objects."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ijson

from zv_jax import json_input
from zv_jax.data.readers import files
from zv_jax.data.readers.base import Request
from zv_jax.data.readers.cells import Entry, looks_like_image
from zv_jax.data.readers.columns import USUAL, natural
from zv_jax.data.readers.intake import REJECTED
from zv_jax.errors import DataError

_ROW_ROLES = ("image", "caption", "question", "instruction", "input", "answer", "conversations")
_ROW_COLUMNS = {name for role in _ROW_ROLES for group in USUAL[role] for name in group}


def files_of(request: Request, *suffixes: str) -> list[Path]:
    """All files of a table, in natural order of their names: those of the split if any are named
    after it, else every one. What stays unread is counted by name.

    Raises:
      DataError: there is none, some are named after other splits and none after this one, or two
        files differ in their suffix alone.
    """
    root = request.root
    if root.is_file():
        return [root]
    packed = tuple(suffix + end for suffix in suffixes for end in _UNPACK)
    every = _below(root, (*suffixes, *packed, *((".tgz",) if ".tar" in suffixes else ())))
    for path in every:
        if path.suffix.lower() in _UNPACK:
            raise _packed(path, suffixes)
    here = [path for path in every if path.parent == root]
    mine = [path for path in here if request.is_mine(path)]
    if not mine:
        mine = [p for p in every if p.parent.parent == root and request.is_mine(p.parent)]
    if not mine:
        mine = [p for p in every if p.parent == root / "data" and request.is_mine(p)]
    if not mine:
        request.refuse_others(here)
        mine = here
    if not mine:
        return [files.find(root, *(f"*{suffix}" for suffix in suffixes))]
    for path in every:
        if path not in mine and not request.is_anothers(path):
            name = path.relative_to(root).as_posix()
            request.intake.left_out[f"file {name}, not of split {request.split}"] += 1
    _check_once_each(mine)
    return mine


def _below(root: Path, endings: Sequence[str]) -> list[Path]:
    """The files whose names end so, in any folder, but hidden ones and lists of bad rows."""
    found = (
        path
        for path in root.rglob("*")
        if path.name.lower().endswith(tuple(endings)) and path.is_file() and path.name != REJECTED
    )
    shown = (path for path in found if not any(p[0] == "." for p in path.relative_to(root).parts))
    return sorted(
        shown, key=lambda path: (natural(path.relative_to(root).with_suffix("")), path.suffix)
    )


_UNPACK = {".gz": "gunzip", ".tgz": "gunzip", ".bz2": "bunzip2", ".xz": "unxz"}
_UNPACK |= {".zst": "unzstd", ".zip": "unzip"}


def _packed(path: Path, suffixes: Sequence[str]) -> DataError:
    """The error for a table that is packed: beside others it would stay unread."""
    return DataError(
        f"{path.name} is packed",
        where=str(path),
        expected="files " + ", ".join(suffixes),
        fix=f"unpack it ({_UNPACK[path.suffix.lower()]} {path.name}), or move it elsewhere",
    )


def _check_once_each(paths: list[Path]) -> None:
    stems: dict[Path, Path] = {}
    for path in paths:
        other = stems.setdefault(path.with_suffix(""), path)
        if other != path:
            raise DataError(
                f"{other.name} and {path.name}: one table twice, or two of one name?",
                where=str(path.parent),
                expected="a name of its own for every file",
                fix="rename one, move it elsewhere, or give the file itself as --root",
            )


def base(request: Request) -> Path:
    """The folder that addresses inside files are relative to."""
    return request.root if request.root.is_dir() else request.root.parent


def native(request: Request, path: Path, number: int, several: bool) -> object:
    """A row's identity without a column for it: its number, and its file where there are more."""
    if not several:
        return number
    return f"{path.relative_to(base(request)).with_suffix('').as_posix()}/{number}"


def csv_entries(request: Request, paths: list[Path]) -> Iterator[Entry]:
    """The rows of CSV or TSV files."""
    for path in paths:
        for row in files.table(path):
            if row.number == 0:
                _check_header(row, path)
            identity = native(request, path, row.number, len(paths) > 1)
            yield Entry(row, path.name, row.where, identity, typed=False)


def _check_header(row: files.Row, path: Path) -> None:
    """Refuses a first line that is a row: it would be lost."""
    image = next((name for name in row if looks_like_image(name)), None)
    if image is not None:
        raise DataError(
            f"The first line has no names of columns but an image, {image!r}",
            where=f"{path}:1",
            expected="a line with the names of the columns, such as image,caption",
            fix="put such a line before it",
        )


def json_entries(request: Request, paths: list[Path], **options: Any) -> Iterator[Entry]:
    """The rows of JSON files; `options` are fields of `Entry`."""

    def unused(name: str) -> None:
        request.intake.unused[name] += 1

    for path in paths:
        name = path.relative_to(base(request)).as_posix()
        for number, (where, offset, row) in enumerate(_rows(path, request, unused)):
            if not isinstance(row, dict):
                raise DataError(
                    f"A row that is no JSON object but {type(row).__name__}",
                    where=where,
                    expected='objects such as {"image": "1.jpg", "caption": "a dog"}',
                    fix="write an object with named fields for every row",
                )
            if {"source", "split", "task", "turns"} <= row.keys():
                raise DataError(
                    "This file holds records already, not rows of a table",
                    where=where,
                    expected="what you have, not what `zv data convert` wrote",
                    fix="name the file of your rows: --root=FILE",
                )
            identity = native(request, path, number, len(paths) > 1)
            inside = None
            if offset is not None and path.suffix == ".jsonl":
                inside = _address(f"{name}#{offset}")
            yield Entry(row, path.name, where, identity, inside=inside, **options)


def _address(place: str) -> Any:
    """A function from the path of a value in a row to its address: `<file>#<offset>:/<pointer>`."""

    def inside(path: tuple[str | int, ...]) -> str:
        parts = (str(p).replace("~", "~0").replace("/", "~1") for p in path)
        return f"{place}:/" + "/".join(parts)

    return inside


class _Object(dict):
    """A JSON object that remembers a name it was given twice."""

    repeated: str | None = None

    def __setitem__(self, key: str, value: Any) -> None:
        if key in self:
            self.repeated = key
        super().__setitem__(key, value)


def _rows(
    path: Path, request: Request, unused: Callable[[str], None]
) -> Iterator[tuple[str, int | None, Any]]:
    """(where, byte offset of the line or None, value) of each row."""
    with path.open("rb") as file:
        files.skip_mark(file, str(path))
        line, _, rest = file.read(2**20).lstrip().partition(b"\n")
    if line[:1] == b"[":
        yield from _items(path, "item")
    elif line[:1] == b"{" and _goes_on(line, rest, request):
        yield from _objects(path, request, unused)
    else:
        for number, offset, line in json_input.at(path):
            where = f"{path}:{number}"
            yield where, offset, json_input.parse(line, where, once=True, strict=False)


def _goes_on(line: bytes, rest: bytes, request: Request) -> bool:
    """Whether the objects of a file are not one per line, by its first line."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return bool(rest) and line.rstrip().endswith((b"{", b"[", b","))
    lists = {k for k, v in value.items() if isinstance(v, list) and v and isinstance(v[0], dict)}
    shows = any(map(looks_like_image, value.values()))
    return not rest.strip() and not shows and _holds_rows(set(value), lists, request)


def _holds_rows(names: set[str], lists: set[str], request: Request) -> bool:
    """Whether an object with these names, and lists of objects among them, is a table and no row.

    A row may have such lists too (turns, answers); then it has columns of other kinds beside them,
    or `--columns` names some of it.
    """
    named = {
        c
        for given in request.columns.values()
        for c in ([given] if isinstance(given, str) else given)
    }
    if named & names:
        return False
    row = {"conversations", "answer", "caption"}
    texts = {n for role in row for group in USUAL[role] for n in group}
    of_a_row = {n for n in names - lists if n.lower() in _ROW_COLUMNS}
    return bool(lists) and not of_a_row and not any(n.lower() in texts for n in lists)


def _items(path: Path, prefix: str) -> Iterator[tuple[str, None, Any]]:
    multiple = {"multiple_values": True} if not prefix else {}
    stream = files.stream(path, ijson.items, prefix, map_type=_Object, **multiple)
    for number, value in enumerate(stream):
        where = f"{path} item {number}"
        _check_once(value, where)
        yield where, None, value


def _check_once(value: Any, where: str) -> None:
    if isinstance(value, _Object):
        if value.repeated is not None:
            raise json_input.repeated(value.repeated, where)
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            _check_once(item, where)


def _objects(
    path: Path, request: Request, unused: Callable[[str], None]
) -> Iterator[tuple[str, None, Any]]:
    """Objects over several lines each, or one that holds the list of rows."""
    names, lists, shows = set(), set(), False
    with path.open("rb") as file:
        files.skip_mark(file, str(path))
        try:
            for prefix, event, value in ijson.parse(
                files.Shallow(file, str(path)), multiple_values=True
            ):
                if prefix == "" and event == "map_key":
                    names.add(value)
                elif event == "string" and prefix in names:
                    shows |= looks_like_image(value)
                elif event == "start_map" and prefix.endswith(".item") and prefix[:-5] in names:
                    lists.add(prefix[:-5])
                elif prefix == "" and event == "end_map":
                    break
        except (ijson.JSONError, UnicodeDecodeError):
            lists = set()  # reading the rows says what is wrong
    if not shows and _holds_rows(names, lists, request):
        if len(lists) > 1:
            raise DataError(
                f"Several lists in one file: {', '.join(sorted(lists))}",
                where=str(path),
                expected="one list of rows, or a row per line",
                fix="write the rows as one list; a public data set is read by its name: "
                "zv data list",
            )
        (rows,) = lists
        for name in names - lists:
            unused(f"{name} (of the whole file)")
        yield from _items(path, f"{rows}.item")
    else:
        yield from _items(path, "")
