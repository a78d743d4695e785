"""Phrases and boxes: Visual Genome, RefCOCO/+/g and VCR, each in both directions.

`#ground`: a phrase is asked, a box answered. `#caption`: a box is asked, the phrase answered. Two
records of one annotation, as the paper counts them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zv_jax.data.images.addresses import locate
from zv_jax.data.readers import files
from zv_jax.data.readers.base import Request, assistant, by_key, each, reader, user
from zv_jax.data.readers.boxes import from_xywh, from_xyxy
from zv_jax.data.readers.files import Row
from zv_jax.data.records.record import Box, ImageRef, Object, Record

# Folder, and by whom the images were split: the only splits that keep images apart.
REFERRING = {
    "refcoco": ("refcoco", "unc"),
    "refcoco_plus": ("refcoco+", "unc"),
    "refcocog": ("refcocog", "umd"),
}


def both_ways(
    request: Request, native: object, image: ImageRef, phrase: str, box: Box, **meta: Any
) -> Iterator[Record]:
    """The two records of a phrase and its box."""
    phrase = " ".join(phrase.split())
    if not phrase:
        return
    thing = (Object(box, phrase),)
    for name, task, answer in (
        ("ground", "ref_ground", "<obj_0>"),
        ("caption", "ref_caption", phrase),
    ):
        yield request.record(
            f"{native}#{name}", task, "en", [image], [assistant(answer)], objects=thing, meta=meta
        )


@reader("visual_genome")
def visual_genome(request: Request) -> Iterator[Record]:
    """Region phrases (`train`) or object names (`objects`).

    Boxes are pixels of Visual Genome's own images, not of the COCO images half of them are;
    regions call their sides width and height, objects w and h.
    """
    objects = request.one_of(["train", "objects"]) == "objects"

    def size(row: Row) -> tuple[int, tuple[ImageRef, int | None]]:
        path = "/".join(row["url"].split("/")[-2:])  # VG_100K/1.jpg or VG_100K_2/1.jpg
        image = ImageRef(path=path, width=row.of("width", int), height=row.of("height", int))
        return row["image_id"], (image, row.get("coco_id"))

    sizes = by_key(files.json_items(files.find(request.root, "image_data.json")), size)

    def make(row: Row) -> Iterator[Record]:
        for thing in row["objects" if objects else "regions"]:
            image, coco_id = sizes[thing.get("image_id", row.get("image_id", row.get("id")))]
            sides = ("w", "h") if objects else ("width", "height")
            corners = [thing["x"], thing["y"], *(thing[side] for side in sides)]
            box = from_xywh(corners, image.width, image.height)
            phrases = thing["names"][:1] if objects else [thing["phrase"]]
            native = thing["object_id" if objects else "region_id"]
            if box is not None and phrases:
                yield from both_ways(request, native, image, phrases[0], box, coco_id=coco_id)

    name = "objects.json" if objects else "region_descriptions.json"
    return each(files.json_items(files.find(request.root, name)), make)


@reader("refcoco", "refcoco_plus", "refcocog")
def refcoco(request: Request) -> Iterator[Record]:
    """Expressions of RefCOCO (UNC), RefCOCO+ (UNC) and RefCOCOg (UMD), one by one."""
    folder, by = REFERRING[request.name]
    tests = ["test"] if by == "umd" else ["testA", "testB"]
    split = request.one_of(["train", "val", *tests])
    refs = files.find(request.root, f"{folder}/refs({by}).p", f"refs({by}).p")
    instances = files.find(
        request.root,
        f"{folder}/instances.json",
        "instances.json",
        "annotations/instances_train2014.json",
        "instances_train2014.json",
    )
    chosen = [row for row in files.pickled_list(refs) if row["split"] == split]
    shown = {row.of("image_id", int) for row in chosen}
    wanted = {row.of("ann_id", int) for row in chosen}

    def image(row: Row) -> tuple[int, ImageRef]:
        path = f"train2014/COCO_train2014_{row['id']:012d}.jpg"
        return row["id"], ImageRef(path=path, width=row["width"], height=row["height"])

    rows = files.json_items(instances, "images.item")
    images = by_key((row for row in rows if row.of("id", int) in shown), image)
    rows = files.json_items(instances, "annotations.item")
    boxes = by_key(
        (row for row in rows if row.of("id", int) in wanted), lambda row: (row["id"], row["bbox"])
    )

    def make(row: Row) -> Iterator[Record]:
        image = images[row["image_id"]]
        box = from_xywh(boxes[row["ann_id"]], image.width, image.height)
        for sentence in row["sentences"]:
            if box is not None:
                yield from both_ways(
                    request,
                    sentence["sent_id"],
                    image,
                    sentence["sent"],
                    box,
                    ref_id=row["ref_id"],
                    raw=sentence.get("raw"),
                )

    return each(chosen, make)


@reader("vcr")
def vcr(request: Request) -> Iterator[Record]:
    """Questions about scenes of films; people and things are named by number and have boxes.

    `#caption`: the question, answered in words with boxes. `#ground`: the answer without boxes,
    and the boxes of all it names. `#choice`: the four options. The test split has `#choice` only,
    without the answer.
    """
    split = request.one_of(["train", "val", "test"])
    path = files.find(request.root, f"{split}.jsonl", f"vcr1annots/{split}.jsonl")

    def make(row: Row) -> Iterator[Record]:
        facts = files.json_file(_below(request.root / "vcr1images", row.of("metadata_fn", str)))
        scene = _Scene(facts)
        image = ImageRef(
            path=f"vcr1images/{row['img_fn']}", width=facts["width"], height=facts["height"]
        )
        native = row["annot_id"]
        choices = tuple(scene.said(words) for words in row["answer_choices"])
        label = row.get("answer_label")
        question = scene.said(row["question"])
        yield request.record(
            f"{native}#choice",
            "mc_vqa",
            "en",
            [image],
            [user(question)],
            objects=scene.objects,
            choices=choices,
            answer_index=label,
        )
        if label is None:
            return
        yield request.record(
            f"{native}#caption",
            "ref_caption",
            "en",
            [image],
            [user(question), assistant(choices[label])],
            objects=scene.objects,
        )
        named = scene.named(row["answer_choices"][label])
        if named:
            boxes = "; ".join(f"{scene.names[k]} {scene.places[k]}" for k in named)
            yield request.record(
                f"{native}#ground",
                "ref_ground",
                "en",
                [image],
                [user(scene.said(row["answer_choices"][label], boxes=False)), assistant(boxes)],
                objects=scene.objects,
                meta={"template": "ground_all"},
            )

    return each(files.json_lines(path), make)


def _below(folder: Path, name: str) -> Path:
    """The file `name` below a folder, out of which no name leads."""
    path = locate(folder, name).relative_to(os.path.normpath(folder))
    return files.find(folder, path.as_posix())


class _Scene:
    """The people and things of a VCR image: `person 2` is the second person, with its box."""

    def __init__(self, facts: Row):
        counts: dict[str, int] = {}
        self.names: list[str] = []
        self.places: list[str] = []
        objects = []
        for label, box in zip(facts["names"], facts["boxes"], strict=True):
            counts[label] = counts.get(label, 0) + 1
            self.names.append(f"{label} {counts[label]}")
            xyxy = from_xyxy(box, facts["width"], facts["height"])
            self.places.append(f"<obj_{len(objects)}>" if xyxy else "")
            if xyxy:
                objects.append(Object(xyxy, self.names[-1], score=float(box[4])))
        self.objects = tuple(objects)

    def said(self, words: list[Any], boxes: bool = True) -> str:
        """A text of words and lists of numbers: `[0, 2] are` becomes `person 1 <obj_0> and ...`."""
        parts = []
        for word in words:
            if isinstance(word, list):
                things = [
                    f"{self.names[k]} {self.places[k]}".strip() if boxes else self.names[k]
                    for k in word
                ]
                parts.append(" and ".join(things))
            else:
                parts.append(str(word))
        return _joined(parts)

    def named(self, words: list[Any]) -> list[int]:
        """What a text names and has a box, in the order it is named."""
        found = dict.fromkeys(k for word in words if isinstance(word, list) for k in word)
        return [k for k in found if self.places[k]]


def _joined(parts: list[str]) -> str:
    """Words as a sentence: punctuation closes up."""
    text = ""
    for part in parts:
        close = part[:1] in ".,!?;:'" or part == "n't"
        text += part if close or not text else f" {part}"
    return text
