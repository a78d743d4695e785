"""Photographs with captions written in English and Chinese: the stamps of Tux Paint, from Debian.

Beside every image lies a text: its English caption, then a line `zh_CN.utf8=...` and many more. A
hundred images are taken, of things and living beings, none of a `cartoon` folder, no two with the
same caption in either language; which they are depends on their paths alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from zv_jax.data.readers import files
from zv_jax.data.readers.base import Request, reader, texts
from zv_jax.data.records.record import ImageRef, Record

COUNT = 100
# Of the folders; the others hold letters, signs, coins, houses and seasonal drawings.
THINGS = ("animals", "clothes", "food", "hobbies", "household", "medical", "plants", "space",
          "sports", "vehicles")  # fmt: skip
_DRAWN = ("cartoon", "dinosaur")
_CHINESE = "zh_CN.utf8="


@reader("stamps")
def stamps(request: Request) -> Iterator[Record]:
    """The captions of one language; both splits show the same images under the same numbers."""
    lang = request.one_of(["en", "zh"])
    places = ("usr/share/tuxpaint/stamps/animals", "stamps/animals", "animals")
    root = files.find(request.root, *places, folder=True).parent
    for path, captions in _chosen(root):
        name = path.relative_to(root)
        yield request.record(
            name.with_suffix("").as_posix(),
            "caption",
            lang,
            [ImageRef(path=path.relative_to(request.root).as_posix())],
            answers=texts([captions[lang]]),
            meta={"question_type": name.parts[0]},
        )


def _chosen(root: Path) -> list[tuple[Path, dict[str, str]]]:
    """The images with their captions by language."""
    found: list[tuple[Path, dict[str, str]]] = []
    seen: set[str] = set()
    images = (path for folder in THINGS for path in (root / folder).rglob("*.png"))
    for path in sorted(images, key=lambda p: _draw(p.relative_to(root))):
        captions = _captions(path.with_suffix(".txt"))
        drawn = not set(path.relative_to(root).parts).isdisjoint(_DRAWN)
        if drawn or len(captions) < 2 or not seen.isdisjoint(captions.values()):
            continue
        seen.update(captions.values())
        found.append((path, captions))
    if len(found) < COUNT:
        raise files.not_as_published(str(root), f"{len(found)} images with both captions")
    return found[:COUNT]


def _draw(path: Path) -> bytes:
    return hashlib.sha1(path.as_posix().encode()).digest()


def _captions(file: Path) -> dict[str, str]:
    """By language; without a file or a line there is none."""
    if not file.is_file():
        return {}
    lines = [line for _, line in files.text_lines(file)]
    found = {"en": lines[0].strip()} if lines and lines[0].strip() else {}
    for line in lines[1:]:
        if line.startswith(_CHINESE) and line.removeprefix(_CHINESE).strip():
            found["zh"] = line.removeprefix(_CHINESE).strip()
    return found
