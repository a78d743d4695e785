"""What `zv eval agree` leaves behind: agree.json, a table of disagreements, training rows."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import zv_jax
from zv_jax.data.records import record as records_lib
from zv_jax.data.records.record import ImageRef, Record
from zv_jax.errors import DataError
from zv_jax.evaluation.agree import Agreement, Answered, right
from zv_jax.evaluation.predict import Finder
from zv_jax.files import write_atomic, write_json, writing
from zv_jax.tables import align

SCORES = "agree.json"
ROWS = "disagreements.jsonl"
TABLE = "disagreements.md"
_HEAD = "| | question | answer | 问题 | 回答 |"
_VERDICTS = {False: "differ · 不一致", None: "unreadable · 无法读懂"}


def write(found: Agreement, workdir: Path) -> None:
    """Writes scores, disagreements as JSON lines, and a table of them for people.

    Raises:
      DataError: the folder cannot be written.
    """
    rows = [row(one) for one in found.disagreements]
    with writing("the results", workdir, "give another --workdir"):
        workdir.mkdir(parents=True, exist_ok=True)
        write_json(
            workdir / SCORES,
            {**found.of, "scores": list(found.scores), "version": zv_jax.__version__},
        )
        lines = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in rows)
        write_atomic(workdir / ROWS, lines.encode())
        table = [_HEAD, "|---|---|---|---|---|", *map(_line, rows)]
        write_atomic(workdir / TABLE, ("\n".join(table) + "\n").encode())


def row(one: Answered) -> dict[str, Any]:
    """A question and its answers, as JSON."""
    sides = {}
    for side, item, said, read, is_right in zip(
        ("en", "zh"), one.question.items, one.said, one.read, right(one), strict=True
    ):
        sides[side] = {
            "id": item.id,
            "question": item.shown,
            "answer": said.text,
            "read": list(read) if isinstance(read, tuple) else read,
            "references": list(item.references[-1]),
            "right": is_right,
        }
    facts = {"key": one.question.key, "task": one.question.task, "kind": one.question.kind}
    return facts | {"same": one.same} | sides


def _line(of: dict[str, Any]) -> str:
    cells = [f"{of['key']}<br>{of['kind']}: {_VERDICTS[of['same']]}"]
    for side in ("en", "zh"):
        mark = {True: " ✓", False: " ✗", None: ""}[of[side]["right"]]
        cells += [_cell(of[side]["question"]), _cell(of[side]["answer"]) + mark]
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    """A text as it is, whatever Markdown and HTML would make of it."""
    for mark, written in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("\n", "<br>")):
        text = text.strip().replace(mark, written)
    return text


def render(found: Agreement) -> str:
    """The scores as a table for terminals."""
    rows = [("", "agree", "95 %", "chance", "questions", "unreadable")]
    for score in found.scores:
        low, high = score["interval"]
        chance = score["controls"]["chance"]
        rows.append(
            (
                score["metric"],
                f"{score['value']:.1f}",
                f"{low:.1f}..{high:.1f}",
                "-" if chance is None else f"{chance:.1f}",
                str(score["n"]),
                str(score["unreadable"]),
            )
        )
    return "\n".join(align(rows, "lrrrrr"))


def mine(found: Agreement, file: Path) -> tuple[int, int]:
    """Writes the records of all disagreements, in both languages, to train on; their images go
    into a folder beside the file.

    Returns:
      How many rows there are, and how many questions were left out since their truth is not known.

    Raises:
      DataError: the questions are those of a test split, or nothing can be written.
    """
    known = [
        one for one in found.disagreements if all(any(i.references[-1]) for i in one.question.items)
    ]
    for one in known:
        _check(one.question.items[0].record)
    place = file.with_name(f"{file.stem}_images")
    images: dict[ImageRef, ImageRef] = {}
    rows = []
    for one in known:
        for item in one.question.items:
            for ref in item.images:
                images[ref] = images.get(ref) or _stored(ref, one.question.image, place)
            kept = tuple(images[ref] for ref in item.images)
            rows.append(records_lib.dumps(dataclasses.replace(item.record, images=kept)) + "\n")
    with _rows_to(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, "".join(rows).encode())
    return len(rows), len(found.disagreements) - len(known)


def _check(record: Record) -> None:
    if record.split.startswith("test"):
        raise DataError(
            "a test question must not be trained on",
            where=record.id,
            expected="questions of another split",
            fix="--suite configs/eval/agree.py asks those of val, :train those of train",
        )


def _stored(ref: ImageRef, find: Finder, place: Path) -> ImageRef:
    """The image as a PNG of its own, named by its content."""
    image = find(ref)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    data = buffer.getvalue()
    sha1 = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    path = place / f"{sha1}.png"
    with _rows_to(path):
        place.mkdir(parents=True, exist_ok=True)
        write_atomic(path, data)
    return ImageRef(path=f"{place.name}/{path.name}", width=image.width, height=image.height)


def _rows_to(path: Path) -> AbstractContextManager[None]:
    return writing("training rows", path, "give another --mine")


def lines(found: Agreement, most: int) -> Iterator[str]:
    """The first `most` disagreements, a line each."""
    for one in found.disagreements[:most]:
        english, chinese = (said.text.strip().replace("\n", " ") for said in one.said)
        asked = one.question.items[0].shown.replace("\n", " ")
        verdict = "differ" if one.same is False else "unreadable"
        yield f"{verdict}  {one.question.key}  {asked}  en: {english!r}  zh: {chinese!r}"
