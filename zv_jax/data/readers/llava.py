"""Conversations in LLaVA's JSON, its translation, SVIT, and the LLaVA benchmark with its twin."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from zv_jax.data.readers import files
from zv_jax.data.readers.base import Request, assistant, by_key, each, reader, user
from zv_jax.data.readers.boxes import from_xyxy
from zv_jax.data.readers.files import Row
from zv_jax.data.records.record import ImageRef, Object, Record
from zv_jax.data.text import language
from zv_jax.errors import DataError

IMAGE = "<image>"
_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}

# Files of LLaVA-Instruct-150K and of the pre-training set, with the task of their answers.
INSTRUCT = {
    "conversation": ("conversation_58k.json", "conversation"),
    "detail": ("detail_23k.json", "detail"),
    "complex_reasoning": ("complex_reasoning_77k.json", "reason"),
    "instruct_150k": ("llava_instruct_150k.json", "conversation"),
}
SVIT = {
    "conversation": ("conversation", "conversation"),
    "complex_reasoning": ("complex_reasoning", "reason"),
    "detail_description": ("detail_description", "detail"),
    "referring_qa": ("referring_qa", "conversation"),
}
BENCH_TASKS = {"conv": "conversation", "detail": "detail", "complex": "reason"}


def turns_of(conversation: Any, images: int) -> list[tuple[str, str]]:
    """(role, text) of the turns, from `from`/`value` or `role`/`content` objects.

    `<image>` stays only where a record has several images, since its place in the first question
    is a matter of the template. A conversation that begins with an answer keeps it.

    Raises:
      DataError: a role is unknown.
    """
    turns = []
    for turn in conversation:
        said = turn["from"] if "from" in turn else turn["role"]
        if said == "system":
            continue
        if said not in _ROLES:
            raise files.not_as_published(
                turn.where, f"a turn from {said!r} instead of {', '.join(_ROLES)}"
            )
        text = str(turn["value"] if "value" in turn else turn["content"])
        if images <= 1:
            text = text.replace(IMAGE, "")
        turns.append((_ROLES[said], text.strip()))
    return turns


def _images(value: Any) -> list[str]:
    return [name for name in (value if isinstance(value, list) else [value]) if name]


def _conversation(
    request: Request, row: Row, task: str, lang: str | None, folder: str = ""
) -> list[Record]:
    names = _images(row.get("image"))
    images = [ImageRef(path=name if "/" in name else folder + name) for name in names]
    turns = turns_of(row["conversations"], len(images))
    while turns and turns[-1][0] == "user":
        turns.pop()  # a question that was never answered teaches nothing
    if not any(role == "assistant" and text for role, text in turns):
        return []
    said = " ".join(text for role, text in turns if role == "assistant")
    native = f"{row.number}#{row['id']}" if "id" in row else row.number
    return [request.record(native, task, lang or language.of(said), images, turns)]


@reader("llava_pretrain")
def llava_pretrain(request: Request) -> Iterator[Record]:
    """The 595k captions of Conceptual Captions 3M as one-turn conversations."""
    request.one_of(["train"])
    path = files.find(request.root, "chat.json")
    return each(
        files.json_items(path), lambda row: _conversation(request, row, "caption", "en", "images/")
    )


@reader("llava_instruct")
def llava_instruct(request: Request) -> Iterator[Record]:
    """One of the files of LLaVA-Instruct-150K; images are those of COCO 2017."""
    name, task = INSTRUCT[request.one_of(INSTRUCT)]
    path = files.find(request.root, name)
    return each(
        files.json_items(path), lambda row: _conversation(request, row, task, "en", "train2017/")
    )


@reader("llava_zh")
def llava_zh(request: Request) -> Iterator[Record]:
    """The public Chinese translation of LLaVA's conversations, details and reasoning."""
    request.one_of(["train"])
    path = files.find(request.root, "llava_instruct_150k_zh.json", "*zh*.json")
    rows = files.json_items(path)
    return each(rows, lambda row: _conversation(request, row, "conversation", "zh", "train2017/"))


_REFERRED = re.compile(r"<st>(.*?)<ed>\s*\[([^\]]*)\]")


@reader("svit")
def svit(request: Request) -> Iterator[Record]:
    """SVIT: several conversations per image of Visual Genome, boxes written into the text."""
    name, task = SVIT[request.one_of(SVIT)]
    path = files.find(request.root, f"{name}.json", f"data/{name}.json", f"SVIT_{name}*.json")
    folders = genome_folders(request)

    def make(row: Row) -> Iterator[Record]:
        image = ImageRef(path=folders(row["image_id"]))
        for number, conversation in enumerate(row["conversations"]):
            objects: list[Object] = []
            turns = [
                (role, _referred(text, objects, row.where))
                for role, text in turns_of(conversation["content"], 1)
            ]
            if any(role == "assistant" for role, _ in turns):
                yield request.record(
                    f"{row['image_id']}#{number}",
                    task,
                    "en",
                    [image],
                    turns,
                    objects=tuple(objects),
                )

    return each(files.json_items(path), make)


def _referred(text: str, objects: list[Object], where: str) -> str:
    """Text with `<st>man<ed> [x1, y1, x2, y2]` written as `man <obj_k>`; appends the objects."""

    def place(match: re.Match) -> str:
        label = match[1].strip()
        box = from_xyxy([float(v) for v in match[2].split(",")], 1, 1)
        if box is None or not label:
            return label
        objects.append(Object(box, label))
        return f"{label} <obj_{len(objects) - 1}>"

    return _REFERRED.sub(place, text)


def genome_folders(request: Request) -> Any:
    """A function from a Visual Genome image id to its path.

    Images lie in two folders; `image_data.json` says which, or the folders themselves do.
    """
    data = request.root / "image_data.json"
    if data.is_file():
        paths = by_key(
            files.json_items(data),
            lambda row: (row.of("image_id", int), "/".join(row["url"].split("/")[-2:])),
        )
    else:
        folders = [request.root / name for name in ("VG_100K", "VG_100K_2")]
        if not any(folder.is_dir() for folder in folders):
            files.find(request.root, "image_data.json", "VG_100K", folder=True)
        names = (f"{d.name}/{p.name}" for d in folders if d.is_dir() for p in d.iterdir())
        numbered = ((name.split("/")[1].split(".")[0], name) for name in names)
        paths = {
            int(number): name
            for number, name in numbered
            if number.isdecimal() and len(number) < 20
        }

    def path(image_id: Any) -> str:
        try:
            return paths[int(image_id)]
        except KeyError:
            raise DataError(
                f"Visual Genome has no image {image_id}",
                where=str(request.root),
                expected="an image of image_data.json",
                fix="use image_data.json of version 1.4",
            ) from None

    return path


@reader("llava_bench", "llava_bench_zh")
def llava_bench(request: Request) -> Iterator[Record]:
    """The 90 questions about 30 images of COCO val2014 with GPT-4's reference answers."""
    request.one_of(["test"])
    zh = request.name.endswith("_zh")
    tail = "_zh" if zh else ""
    root = request.root
    questions = files.find(root, f"qa90_questions{tail}.jsonl")
    answers = by_key(
        files.json_lines(files.find(root, f"qa90_gpt4_answer{tail}.jsonl")),
        lambda row: (row["question_id"], row["text"]),
    )
    shown = by_key(
        files.json_lines(files.find(root, f"caps_boxes_coco2014_val_80{tail}.jsonl")),
        lambda row: (row["image"], row),
    )

    def make(row: Row) -> Iterator[Record]:
        number = int(row["image"].split(".")[0].split("_")[-1])
        image = ImageRef(path=f"val2014/COCO_val2014_{number:012d}.jpg")
        context = shown.get(row["image"], {})
        yield request.record(
            row["question_id"],
            BENCH_TASKS[row["category"]],
            "zh" if zh else "en",
            [image],
            [user(row["text"]), assistant(answers[row["question_id"]])],
            translated_from="en" if zh else None,
            meta={
                "question_type": row["category"],
                "captions": context.get("captions"),
                "instances": context.get("instances"),
            },
        )

    return each(files.json_lines(questions), make)
