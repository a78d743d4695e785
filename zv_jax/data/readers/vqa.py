"""Questions with short answers: VQAv2, OKVQA, VizWiz, GQA, OCR-VQA, TextVQA, CLEVR, ScienceQA.

Answers stay as they were given: all ten where ten people answered, so that one drawn in proportion
to how often it was given is one drawn evenly.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

from zv_jax.data.readers import files
from zv_jax.data.readers.base import Request, by_key, each, reader, texts, user
from zv_jax.data.readers.files import Row
from zv_jax.data.records.record import ImageRef, Record

# Per split: name in the question file, in the annotation file, and the folder of the images.
VQA = {
    "train": ("train2014", "train2014", "train2014"),
    "val": ("val2014", "val2014", "val2014"),
    "test-dev": ("test-dev2015", None, "test2015"),
    "test": ("test2015", None, "test2015"),
}
OCR_SPLITS = {"train": {1}, "val": {2}, "test": {3}, "all": {1, 2, 3}}


def _question(
    request: Request,
    native: object,
    question: str,
    answers: Iterable[Any],
    image: str,
    **meta: Any,
) -> Record:
    return request.record(
        native,
        "vqa",
        "en",
        [ImageRef(path=image)],
        [user(" ".join(question.split()))],
        answers=texts(answers),
        meta={"template": "vqa", **meta},
    )


@reader("vqav2", "okvqa")
def vqa(request: Request) -> Iterator[Record]:
    """The layout of the VQA challenge: a file of questions and a file of annotations."""
    known = VQA if request.name == "vqav2" else ("train", "val")
    asked, answered, folder = VQA[request.one_of(known)]
    prefix = "v2_" if request.name == "vqav2" else ""
    questions = files.find(request.root, f"{prefix}OpenEnded_mscoco_{asked}_questions.json")
    given: dict[int, Row] = {}
    if answered:
        path = files.find(request.root, f"{prefix}mscoco_{answered}_annotations.json")
        rows = files.json_items(path, "annotations.item")
        given = by_key(rows, lambda row: (row["question_id"], _short(request, row)))

    def make(row: Row) -> Iterator[Record]:
        number = row["question_id"]
        if answered and number not in given:
            raise files.not_as_published(row.where, f"question {number} has no annotation")
        facts = dict(given.get(number, {}))
        image = f"{folder}/COCO_{folder}_{row['image_id']:012d}.jpg"
        yield _question(request, number, row["question"], facts.pop("answers", ()), image, **facts)

    return each(files.json_items(questions, "questions.item"), make)


def _short(request: Request, row: Row) -> Row:
    """The part of an annotation that is kept while the questions are read."""
    # Version 1.0 of OKVQA has stemmed words in `answer` ("poni tail"), which no one should learn;
    # scoring goes by them all the same.
    key = "raw_answer" if request.name == "okvqa" and request.split == "train" else "answer"
    facts = {"question_type": row.get("question_type"), "answer_type": row.get("answer_type")}
    return Row(facts | {"answers": [a[key] for a in row["answers"]]}, row.where)


@reader("pope")
def pope(request: Request) -> Iterator[Record]:
    """Whether an object is in an image of COCO val2014. Half of the objects asked for are not:
    drawn at random, from the frequent ones, or from those that often appear beside what is there.
    """
    split = request.one_of(["random", "popular", "adversarial"])
    path = files.find(
        request.root, f"coco_pope_{split}.json", f"output/coco/coco_pope_{split}.json"
    )

    def make(row: Row) -> Iterator[Record]:
        if row["label"] not in ("yes", "no"):
            raise files.not_as_published(row.where, f"the label is {row['label']!r:.40}")
        image = f"val2014/{row['image']}"
        yield _question(request, row["question_id"], row["text"], [row["label"]], image)

    return each(files.json_lines(path), make)


@reader("vizwiz")
def vizwiz(request: Request) -> Iterator[Record]:
    """Questions blind people asked about photographs they took; many cannot be answered."""
    split = request.one_of(["train", "val", "test"])
    path = files.find(request.root, f"Annotations/{split}.json", f"{split}.json")

    def make(row: Row) -> Iterator[Record]:
        answers = [a["answer"] for a in row.get("answers", ())]
        yield _question(
            request,
            row["image"].rpartition(".")[0],
            row["question"],
            answers,
            f"{split}/{row['image']}",
            answer_type=row.get("answer_type"),
            answerable=row.get("answerable"),
        )

    return each(files.json_items(path), make)


@reader("gqa")
def gqa(request: Request) -> Iterator[Record]:
    """Splits such as train_balanced and testdev_balanced; train_all is a folder of parts."""
    splits = [f"{s}_{k}" for s in ("train", "val", "testdev", "test") for k in ("balanced", "all")]
    split = request.one_of(splits)
    path = files.find(
        request.root,
        f"{split}_questions.json",
        f"questions/{split}_questions.json",
        f"{split}_questions",
        folder=True,
    )
    for part in sorted(path.glob("*.json")) if path.is_dir() else [path]:
        yield from each(_with_key(part), lambda row: [_gqa(request, row)])


def _with_key(path: Any) -> Iterator[Row]:
    for key, row in files.json_entries(path):
        row["key"] = key
        yield row


def _gqa(request: Request, row: Row) -> Record:
    types = row.get("types") or {}
    return _question(
        request,
        row["key"],
        row["question"],
        [row["answer"]] if "answer" in row else [],
        f"images/{row['imageId']}.jpg",
        full_answer=row.get("fullAnswer"),
        question_type=types.get("structural"),
        group=(row.get("groups") or {}).get("global"),  # missing in some releases
    )


@reader("ocr_vqa")
def ocr_vqa(request: Request) -> Iterator[Record]:
    """Questions about book covers; the file holds three splits, which must be told apart."""
    wanted = OCR_SPLITS[request.one_of(OCR_SPLITS)]
    path = files.find(request.root, "dataset.json")

    def make(row: Row) -> Iterator[Record]:
        if row["split"] not in wanted:
            return
        suffix = PurePosixPath(row["imageURL"]).suffix or ".jpg"
        pairs = zip(row["questions"], row["answers"], strict=True)
        for number, (question, answer) in enumerate(pairs):
            yield _question(
                request,
                f"{row['key']}#{number}",
                question,
                [answer],
                f"images/{row['key']}{suffix}",
                genre=row.get("genre"),
            )

    return each(_with_key(path), make)


@reader("textvqa")
def textvqa(request: Request) -> Iterator[Record]:
    """Questions about text in images; OCR tokens go to `meta` where their file is there."""
    split = request.one_of(["train", "val", "test"])
    path = files.find(request.root, f"TextVQA_0.5.1_{split}.json")
    folder = "test_images" if split == "test" else "train_images"
    tokens = {}
    ocr = request.root / f"TextVQA_Rosetta_OCR_v0.2_{split}.json"
    if ocr.is_file():
        rows = files.json_items(ocr, "data.item")
        tokens = by_key(rows, lambda row: (row["image_id"], row["ocr_tokens"]))

    def make(row: Row) -> Iterator[Record]:
        yield _question(
            request,
            row["question_id"],
            row["question"],
            row.get("answers") or (),
            f"{folder}/{row['image_id']}.jpg",
            ocr_tokens=tokens.get(row["image_id"]),
        )

    return each(files.json_items(path, "data.item"), make)


@reader("clevr")
def clevr(request: Request) -> Iterator[Record]:
    """Questions about drawn solids, each with the program that answers it."""
    split = request.one_of(["train", "val", "test"])
    name = f"questions/CLEVR_{split}_questions.json"
    path = files.find(request.root, name, f"CLEVR_v1.0/{name}")
    base = path.parent.parent.relative_to(request.root).as_posix()
    base = "" if base == "." else f"{base}/"

    def make(row: Row) -> Iterator[Record]:
        program = row.get("program") or []
        last = program[-1] if program else {}
        yield _question(
            request,
            row.get("question_index", row.number),
            row["question"],
            [row["answer"]] if "answer" in row else [],
            f"{base}images/{split}/{row['image_filename']}",
            question_type=last.get("function") or last.get("type"),
        )

    return each(files.json_items(path, "questions.item"), make)


@reader("scienceqa")
def scienceqa(request: Request) -> Iterator[Record]:
    """The questions of ScienceQA that have an image (IMG), with their options; the hint, which
    goes before the question, is in `meta`."""
    split = request.one_of(["train", "val", "test"])
    path = files.find(request.root, "problems.json", "data/scienceqa/problems.json")

    def make(row: Row) -> Iterator[Record]:
        if row["split"] != split or not row["image"]:
            return
        yield request.record(
            row["key"],
            "mc_vqa",
            "en",
            [ImageRef(path=f"{split}/{row['key']}/{row['image']}")],
            [user(row["question"].strip())],
            choices=tuple(str(choice) for choice in row["choices"]),
            answer_index=int(row["answer"]),
            meta={k: row.get(k) or None for k in ("subject", "topic", "lecture", "solution")}
            | {"question_type": row.get("subject"), "hint": " ".join(row["hint"].split()) or None},
        )

    return each(_with_key(path), make)
