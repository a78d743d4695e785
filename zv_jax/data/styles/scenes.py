"""Test scenes in other styles as a record file with its images: what `zv data styles` writes.

Scenes, words and questions are those of the embedded data set, of arrangements that its training
never shows; only the drawings differ. So a score here, beside the one on the embedded test scenes,
says what of it was learned about things and what about one way to draw them.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from zv_jax.data.openmoji import concepts as concepts_lib
from zv_jax.data.openmoji import render, tasks
from zv_jax.data.openmoji import scenes as scenes_lib
from zv_jax.data.openmoji.scene import Placed, Scene
from zv_jax.data.records import record as records_lib
from zv_jax.data.records.record import ImageRef, Record
from zv_jax.data.styles.iconify import Style, bare
from zv_jax.files import write_atomic, writing

NAME, SPLIT = "openmoji_styles", "test"
LANGS = ("en", "zh")
_NOT_KEPT = ("views",)  # of a record's meta: the scene in symbols, for warm-ups


def write(
    styles: Sequence[Style], out: str | Path, scenes: int = 300, seed: int = 0, canvas: int = 128
) -> Path:
    """Writes `scenes` scenes of every style below the folder `out`.

    Args:
      styles: opened packages.
      scenes: of each style, the same arrangements where both draw all that is in them.
      seed: of sampling and wording. canvas: side of the images in pixels.

    Returns:
      the record file, for `data.sources` and suites of the source `jsonl`; ``ATTRIBUTION.md`` lies
      beside it.

    Raises:
      DataError: a style draws fewer than three of the concepts, or the folder cannot be written.
      SetupError: the SVG renderer is not installed.
    """
    out, lines = Path(out), []
    with writing("the scenes", out, "give another --out"):
        for style in styles:
            (out / "images" / style.name).mkdir(parents=True, exist_ok=True)
            for index, nominal in enumerate(_sampled(style, scenes, seed)):
                image, scene = _composed(nominal, style, canvas)
                ref = ImageRef(path=f"images/{style.name}/{index}.png", width=canvas, height=canvas)
                write_atomic(out / ref.path, render.png_bytes(image))
                lines += [records_lib.dumps(record) for record in _records(scene, style, ref, seed)]
        said = "".join(f"- {s.name}: {s.licence or 'see the package'}\n" for s in styles)
        write_atomic(out / "ATTRIBUTION.md", f"Drawings, by their packages:\n\n{said}".encode())
        write_atomic(out / f"{SPLIT}.jsonl", ("\n".join(lines) + "\n").encode())
    return out / f"{SPLIT}.jsonl"


def _sampled(style: Style, count: int, seed: int) -> list[Scene]:
    """Scenes of what the style draws, with nominal boxes."""
    known = [c for c in concepts_lib.load_concepts("everyday") if bare(c.hex) in style.bodies]
    return scenes_lib.sample_scenes(SPLIT, count, seed, known)


def _composed(scene: Scene, style: Style, canvas: int) -> tuple[Image.Image, Scene]:
    """The RGB image of a scene, and the scene with the exact boxes that its drawings have there."""
    image = Image.new("RGB", (canvas, canvas), concepts_lib.COLOURS[scene.canvas][0])
    objects = []
    for placed in scene.objects:
        drawn, (x, y) = _drawn(placed, style, canvas)
        image.paste(drawn, (x, y), drawn)
        corners = (x, y, x + drawn.width, y + drawn.height)
        x1, y1, x2, y2 = (corner / canvas for corner in corners)
        objects.append(dataclasses.replace(placed, box=(x1, y1, x2, y2)))
    return image, dataclasses.replace(scene, objects=tuple(objects))


def _drawn(placed: Placed, style: Style, canvas: int) -> tuple[Image.Image, tuple[int, int]]:
    """A drawing of a nominal square and its top-left pixel, centred in that square."""
    x1, y1, x2, y2 = placed.box
    image = style.draw(placed.concept.hex, max(4, round(max(x2 - x1, y2 - y1) * canvas)))
    left = round((x1 + x2) / 2 * canvas - image.width / 2)
    top = round((y1 + y2) / 2 * canvas - image.height / 2)
    left = min(max(left, 0), canvas - image.width)
    return image, (left, min(max(top, 0), canvas - image.height))


def _records(scene: Scene, style: Style, ref: ImageRef, seed: int) -> Iterator[Record]:
    """The records of a scene in both languages, under names of their own."""
    for lang in LANGS:
        words = random.Random(f"{NAME}/{style.name}/{seed}/{scene.id}/{lang}")
        for record in tasks.scene_records(scene, ref, lang, words):
            name = record.id.removeprefix("zv_openmoji/")
            meta = {k: v for k, v in record.meta.items() if k not in _NOT_KEPT}
            yield dataclasses.replace(
                record,
                id=f"{NAME}/{style.name}/{name}",
                source=NAME,
                split=SPLIT,
                meta=meta | {"style": style.name},
            )
