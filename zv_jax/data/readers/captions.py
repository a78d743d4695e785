"""Captions written for images: COCO, AI Challenger, COCO-CN, Flickr30k and its Chinese twins,
TextCaps, NoCaps. One record per image, all its captions as answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from zv_jax.data.readers import files, wording
from zv_jax.data.readers.base import Request, by_key, each, grouped, reader, texts
from zv_jax.data.readers.files import Row
from zv_jax.data.records.record import ImageRef, Record
from zv_jax.errors import DataError

CHALLENGER = {
    "train": ("train", "20170902"),
    "val": ("validation", "20170910"),
}


@reader("coco_caption")
def coco_caption(request: Request) -> Iterator[Record]:
    """Karpathy's splits; `train` also holds his `restval`, as in BLIP and BLIP-2."""
    split = request.one_of(["train", "val", "test"])
    wanted = {"train", "restval"} if split == "train" else {split}
    path = files.find(request.root, "dataset_coco.json", "annotations/dataset_coco.json")

    def make(row: Row) -> Iterator[Record]:
        if row["split"] in wanted:
            image = ImageRef(path=f"{row['filepath']}/{row['filename']}")
            answers = texts(s["raw"] for s in row["sentences"])
            yield request.record(row["cocoid"], "caption", "en", [image], answers=answers)

    return each(files.json_items(path, "images.item"), make)


@reader("coco_objects")
def coco_objects(request: Request) -> Iterator[Record]:
    """Karpathy's val or test with the categories that COCO annotates in each image, in
    `meta["objects"]`: what a caption may name (CHAIR)."""
    split = request.one_of(["val", "test"])
    path = files.find(request.root, "dataset_coco.json", "annotations/dataset_coco.json")
    instances = files.find(
        request.root, "annotations/instances_val2014.json", "instances_val2014.json"
    )
    rows = files.json_items(instances, "categories.item")
    category = by_key(rows, lambda row: (row.of("id", int), row.of("name", str)))
    rows = files.json_items(instances, "annotations.item")
    there = grouped(rows, lambda row: (row["image_id"], category[row["category_id"]]))

    def make(row: Row) -> Iterator[Record]:
        if row["split"] == split:
            yield request.record(
                row["cocoid"],
                "caption",
                "en",
                [ImageRef(path=f"{row['filepath']}/{row['filename']}")],
                answers=texts(s["raw"] for s in row["sentences"]),
                meta={"objects": sorted(set(there.get(row["cocoid"], ())))},
            )

    return each(files.json_items(path, "images.item"), make)


@reader("ai_challenger")
def ai_challenger(request: Request) -> Iterator[Record]:
    """Five Chinese captions per image; image ids are file names."""
    request.one_of(CHALLENGER)
    name, date = CHALLENGER[request.split]
    folder = f"ai_challenger_caption_{name}_{date}"
    file = f"caption_{name}_annotations_{date}.json"
    path = files.find(request.root, f"{folder}/{file}", file)
    images = f"{path.parent.relative_to(request.root).as_posix()}/caption_{name}_images_{date}/"
    images = images.removeprefix("./")

    def make(row: Row) -> Iterator[Record]:
        image = ImageRef(path=images + row["image_id"])
        yield request.record(
            row["image_id"].rpartition(".")[0],
            "caption",
            "zh",
            [image],
            answers=texts(row["caption"]),
        )

    return each(files.json_items(path), make)


@reader("coco_cn")
def coco_cn(request: Request) -> Iterator[Record]:
    """Captions by native speakers; `test_translated` has the translated ones of the test images.

    Which of the two a number was measured on changes CIDEr by far more than models do.
    """
    split = request.one_of(["train", "val", "test", "test_translated"])
    translated = split == "test_translated"
    root = request.root
    if not (root / "coco-cn_train.txt").is_file() and (root / "coco-cn-version1805v1.1").is_dir():
        root = root / "coco-cn-version1805v1.1"
    ids = files.find(root, f"coco-cn_{split.removesuffix('_translated')}.txt")
    kind = "manually-translated" if translated else "human-written"
    captions = _keyed(files.find(root, f"imageid.{kind}-caption.txt"))
    for where, name in files.text_lines(ids):
        name = name.strip()
        if name not in captions:
            raise files.not_as_published(where, f"no {kind} caption of {name!r}")
        if "_" not in name:
            raise files.not_as_published(where, f"{name!r} is no picture of COCO")
        yield request.record(
            name,
            "caption",
            "zh",
            [ImageRef(path=f"{name.split('_')[1]}/{name}.jpg")],
            answers=texts(captions[name]),
            translated_from="en" if translated else None,
        )


def _keyed(path: Path) -> dict[str, list[str]]:
    """{image: texts} of lines `key#k text`; behind the key stands a tab or, in some, a blank."""
    found: dict[str, list[str]] = {}
    for where, line in files.text_lines(path):
        key, *rest = line.split(None, 1)
        if not rest:
            raise files.not_as_published(where, "a key without a text")
        name = key.partition("#")[0]
        if name.lower().endswith((".jpg", ".jpeg")):
            name = name.rpartition(".")[0]
        found.setdefault(name, []).append(rest[0])
    return found


@reader("flickr30k")
def flickr30k(request: Request) -> Iterator[Record]:
    """Karpathy's splits, or all images of the original token file (split `all`)."""
    if request.split == "all":
        captions = _keyed(files.find(request.root, "results_20130124.token"))
        for name, said in captions.items():
            yield _flickr(request, name, "en", said)
        return
    split = request.one_of(["train", "val", "test"])
    path = files.find(request.root, "dataset_flickr30k.json")

    def make(row: Row) -> Iterator[Record]:
        if row["split"] == split:
            name = row["filename"].rpartition(".")[0]
            yield _flickr(request, name, "en", [s["raw"] for s in row["sentences"]])

    yield from each(files.json_items(path, "images.item"), make)


def _flickr(
    request: Request, name: str, lang: str, said: list[str], origin: str | None = None
) -> Record:
    image = ImageRef(path=f"flickr30k-images/{name}.jpg")
    return request.record(
        name, "caption", lang, [image], answers=texts(said), translated_from=origin
    )


@reader("flickr30k_cn", "flickr30k_cna")
def flickr30k_zh(request: Request) -> Iterator[Record]:
    """The machine (CN) and the human (CNA) translation, five lines per image.

    A public copy of CN carries part-of-speech tags inside the texts; they are removed.
    """
    split = request.one_of(["train", "val", "test"])
    captions = _keyed(files.find(request.root, f"{request.name}_{split}.txt", f"{split}.txt"))
    for name, said in captions.items():
        yield _flickr(request, name, "zh", [wording.without_tags(t) for t in said], "en")


@reader("textcaps")
def textcaps(request: Request) -> Iterator[Record]:
    """Captions that read the text in the image; several rows of the file per image."""
    split = request.one_of(["train", "val", "test"])
    path = files.find(request.root, f"TextCaps_0.1_{split}.json")
    # Images of val come from the training part of Open Images.
    folder = "test_images" if split == "test" else "train_images"
    found = grouped(
        files.json_items(path, "data.item"),
        lambda row: (row.of("image_id", str), row.get("caption_str") or ""),
    )
    for name, said in found.items():
        image = ImageRef(path=f"{folder}/{name}.jpg")
        yield request.record(name, "caption", "en", [image], answers=texts(said))


@reader("nocaps")
def nocaps(request: Request) -> Iterator[Record]:
    """Ten captions each of 4,500 images of Open Images, with the domain in `question_type`."""
    request.one_of(["val"])
    path = files.find(
        request.root, "nocaps_val_4500_captions.json", "annotations/nocaps_val_4500_captions.json"
    )
    said = grouped(
        files.json_items(path, "annotations.item"), lambda row: (row["image_id"], row["caption"])
    )

    def make(row: Row) -> Iterator[Record]:
        if row["id"] not in said:
            raise DataError("a picture without captions", where=row.where)
        image = ImageRef(
            path=f"val/{row['file_name']}", width=row.get("width"), height=row.get("height")
        )
        meta = {"question_type": row["domain"], "open_images_id": row.get("open_images_id")}
        yield request.record(
            row["id"], "caption", "en", [image], answers=texts(said[row["id"]]), meta=meta
        )

    return each(files.json_items(path, "images.item"), make)
