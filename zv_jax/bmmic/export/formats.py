"""The forms that a set is written in: our records, LLaVA's JSON, shards, TFDS, Parquet."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zv_jax.data.images import addresses
from zv_jax.data.records import record as records_lib
from zv_jax.data.records.record import OBJECT, Record
from zv_jax.data.sources import convert, prepare
from zv_jax.data.sources.shards import Settings
from zv_jax.files import write_atomic

ROWS = 1000  # of a Parquet file: images are inside


@dataclass(frozen=True)
class Set:
    """A set that is to be written.

    Attributes:
      name: `bmmic`, `vqav2_t`...; split: of its records.
      file: its records, one a line, which is written first.
      root: of their image paths.
      licence, description: for cards.
      image_size: of shards, in pixels; 0: images as they are.
    """

    name: str
    split: str
    file: Path
    root: Path
    licence: str
    description: str
    image_size: int = 0

    def records(self) -> Iterator[Record]:
        """Its records, read again for each form."""
        return records_lib.read_jsonl(self.file)


def llava(made: Set, out: Path) -> Path:
    """LLaVA's JSON: a list of {"id", "image", "conversations"}; boxes as numbers in the text.

    A question with several references takes the one that was given most often.
    """
    rows = (_conversation(record) for record in made.records())
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    path = out / f"{made.name}_{made.split}.llava.json"
    write_atomic(path, f"[\n{lines}\n]\n".encode())
    return path


def _conversation(record: Record) -> dict[str, Any]:
    said = []
    for number, (role, text) in enumerate(dialogue(record)):
        mark = "<image>\n" * (number == 0 and bool(record.images))
        said.append({"from": "human" if role == "user" else "gpt", "value": mark + text})
    names = [ref.path or ref.shard_key or ref.url for ref in record.images]
    image = {"image": names[0] if len(names) == 1 else names} if names else {}
    return {"id": record.id, **image, "conversations": said}


def dialogue(record: Record) -> list[tuple[str, str]]:
    """(role, text) of a record, its boxes as numbers, its answers as a last turn."""
    turns = [(turn.role, _numbers(turn.text, record)) for turn in record.turns]
    if record.answers and (not turns or turns[-1][0] == "user"):
        most = max(dict.fromkeys(record.answers), key=record.answers.count)
        turns.append(("assistant", _numbers(most, record)))
    return turns


def _numbers(text: str, record: Record) -> str:
    def box(match: Any) -> str:
        return "[" + ", ".join(f"{c:.3f}" for c in record.objects[int(match[1])].box) + "]"

    return OBJECT.sub(box, text.replace("<image>", "").strip())


def shards(made: Set, out: Path) -> Path:
    """The shards of `zv data prepare`, where configs/paper.py looks for them below `shards/`."""
    folder = out / "shards" / made.name / made.split
    folder.parent.mkdir(parents=True, exist_ok=True)
    prepare.prepare(made.records(), made.root, folder, Settings(image_size=made.image_size))
    return folder


def tfds(made: Set, out: Path) -> Path:
    """A TensorFlow data set of ArrayRecord files, with its builder's metadata."""
    from zv_jax.data.sources import tfds_export

    return tfds_export.export(
        {made.split: made.records()},
        made.root,
        out / "tfds",
        made.name,
        licence=made.licence,
        description=made.description,
    )


def parquet(made: Set, out: Path) -> Path:
    """Parquet files with the images inside, as the Hugging Face hub shows and loads them."""
    import pyarrow
    import pyarrow.parquet

    folder = out / "parquet" / made.name
    folder.mkdir(parents=True, exist_ok=True)
    schema = _schema(pyarrow)
    for number, rows in enumerate(_chunks(made.records(), ROWS)):
        table = pyarrow.Table.from_pylist([_row(r, made.root) for r in rows], schema=schema)
        sink = pyarrow.BufferOutputStream()
        pyarrow.parquet.write_table(table, sink, row_group_size=100)
        path = folder / f"{made.split}-{number:05d}.parquet"
        write_atomic(path, sink.getvalue().to_pybytes())
    return folder


def _schema(pyarrow: Any) -> Any:
    text, image = (
        pyarrow.string(),
        pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()}),
    )
    message = pyarrow.struct({"role": text, "content": text})
    value = {"dtype": "string", "_type": "Value"}
    features = {
        **dict.fromkeys(("id", "lang", "task"), value),
        "images": {"feature": {"_type": "Image"}, "_type": "Sequence"},
        "messages": [{"role": value, "content": value}],
        "record": value,
    }
    about = json.dumps({"info": {"features": features}})
    fields = [
        *((name, text) for name in ("id", "lang", "task")),
        ("images", pyarrow.list_(image)),
        ("messages", pyarrow.list_(message)),
        ("record", text),
    ]
    return pyarrow.schema(fields, metadata={"huggingface": about})


def _row(record: Record, root: Path) -> dict[str, Any]:
    images = [
        {"bytes": addresses.read(root, ref), "path": Path(ref.path or f"{record.id}.png").name}
        for ref in record.images
    ]
    return {
        "id": record.id,
        "lang": record.lang,
        "task": record.task,
        "images": images,
        "messages": [{"role": role, "content": text} for role, text in dialogue(record)],
        "record": records_lib.dumps(record),
    }


def _chunks(records: Iterable[Record], size: int) -> Iterator[list[Record]]:
    chunk: list[Record] = []
    for record in records:
        chunk.append(record)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def records(found: Iterable[Record], name: str, split: str, out: Path) -> Path:
    """Our own records, one a line: `<name>/<split>.jsonl`, as the readers of translated sets and of
    `bmmic` take it."""
    path = out / name / f"{split}.jsonl"
    convert.write_jsonl(found, path)
    return path


WRITERS: dict[str, Callable[[Set, Path], Path]] = {
    "llava": llava,
    "shards": shards,
    "tfds": tfds,
    "parquet": parquet,
}
