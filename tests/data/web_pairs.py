"""Pairs of image and text as a crawl gives them, drawn from a seed: good and bad of each kind.

The images lie in one tar, as crawls are distributed, and are small, so that many can be made.
"""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from zv_jax.data.cleaning.rules import Rules
from zv_jax.data.records import record as R

RULES = Rules(min_side=40)
THINGS = {
    "en": ["dog", "cat", "old house", "red bus", "wooden table", "boat", "child", "mountain"],
    "zh": ["小狗", "猫", "老房子", "红色公交车", "木头桌子", "小船", "孩子", "高山"],
}
PLACES = {
    "en": ["in the garden", "by the river", "on the street", "under a tree", "at the market"],
    "zh": ["在花园里", "在河边", "在街上", "在树下", "在市场上"],
}
# What is done to a text -> what `zv data filter` calls it.
SPOILED = {
    "language": {"en": "这是另一种语言的文字", "zh": "this is in another language"},
    "short": {"en": "dog", "zh": "狗"},
    "long": {
        "en": " ".join(f"word{k}" for k in range(101)),
        "zh": "".join(map(chr, range(0x4E00, 0x4ED0))),
    },
    "letters": {"en": "no 1234567 8901234567", "zh": "型号1234567890123"},
    "repeats": {"en": "buy buy buy now", "zh": "哈哈哈哈哈哈哈哈"},
}


def write(folder: Path, count: int, seed: int = 0) -> Path:
    """Writes the images and `web.jsonl`, the path of which is returned."""
    path = folder / "web.jsonl"
    with tarfile.open(folder / "pairs.tar", "w") as tar, path.open("w", encoding="utf-8") as file:
        for number, (text, lang, data, meta) in enumerate(_pairs(count, seed)):
            key = add(tar, number, data)
            record = R.Record(
                id=f"web/train/{number}",
                source="web",
                split="train",
                task="caption",
                lang=lang,
                images=(R.ImageRef(shard_key=key),),
                turns=(),
                answers=(text,),
                meta=meta,
            )
            file.write(R.dumps(record) + "\n")
    return path


def add(tar: tarfile.TarFile, number: int, data: bytes) -> str:
    """Puts an image into `pairs.tar`; where it is, as a record says it."""
    info = tarfile.TarInfo(f"{number:08d}.jpg")
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
    start = tar.offset - -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    return f"pairs.tar#{start}:{len(data)}"


def _pairs(count: int, seed: int) -> Iterator[tuple[str, str, bytes, dict]]:
    rng = np.random.default_rng(seed)
    kinds = [*SPOILED, "unsafe", "watermark", "picture", "small", "aspect", "markup", "again"]
    before = []
    for number in range(count):
        lang = ("en", "zh")[rng.integers(2)]
        kind = kinds[rng.integers(len(kinds))] if rng.random() < 0.5 else "good"
        text = sentence(rng, lang, number)
        drawing, size, quality, meta = number, (64, 56), 90, {}
        if kind in SPOILED:
            text = SPOILED[kind][lang]
        elif kind in ("unsafe", "watermark"):
            meta = {f"p{kind}": 0.9}
        elif kind == "small":
            size = (64, 30)
        elif kind == "aspect":
            size = (40, 160)
        elif kind == "markup":
            text = f"<b>{text}</b> &amp; https://x.example/{number} 😀"
        elif kind == "again" and before:
            # Recompressed at another size, its text with a full stop more, from anywhere before.
            drawing, text, lang = before[rng.integers(len(before))]
            text, size, quality = text + ("." if lang == "en" else "。"), (80, 70), 80
        if kind == "good":
            before.append((drawing, text, lang))
        data = b"no picture" if kind == "picture" else jpeg((seed, drawing), size, quality)
        yield text, lang, data, meta


def sentence(rng: np.random.Generator, lang: str, number: int) -> str:
    one, two, place = (
        words[lang][rng.integers(len(words[lang]))] for words in (THINGS, THINGS, PLACES)
    )
    if lang == "en":
        return f"a {one} and a {two} {place}, seen on walk {number}"
    return f"{place}有一个{one}和一个{two}，第{number}次散步时看到"


def jpeg(seed: tuple[int, int], size: tuple[int, int], quality: int) -> bytes:
    out = io.BytesIO()
    image = Image.fromarray(blots(seed)).resize(size, Image.Resampling.BICUBIC)
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


def blots(seed: tuple[int, int]) -> np.ndarray:
    """Soft blots of colour, when enlarged; the same seed is the same drawing at any size."""
    return np.random.default_rng(seed).integers(0, 255, (6, 7, 3), np.uint8)


def light(seed: tuple[int, int]) -> float:
    """How light the image of (seed of all, number) is, about."""
    return float(blots(seed).mean())
