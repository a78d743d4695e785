"""Emoji drawings as Iconify packs them for npm: `@iconify-json/twemoji`, `noto` and others.

A package holds `icons.json`, with the body of every SVG by name, and `chars.json`, with the name of
every sequence of code points. Both are read from the `.tgz` that `npm pack` fetches; nothing in it
is executed.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from zv_jax import json_input
from zv_jax.data.openmoji import render
from zv_jax.errors import DataError
from zv_jax.html.markup import Html, tag

_W3 = "http://www.w3.org"
_LARGEST = 1 << 26  # bytes of a file in a package
_OVERSAMPLE = 4  # as the embedded scenes are drawn
_VISIBLE = 24  # alpha (of 255) below which an edge pixel counts as background
_NO_NAME = "FE0F"  # asks for the coloured form; the names of files leave it out


@dataclass(frozen=True)
class Style:
    """One package.

    Attributes:
      name: its prefix, as ``"twemoji"``.
      licence: as the package states it.
      bodies: the inside of each SVG with its view box, by code points, as ``"1F436"``.
    """

    name: str
    licence: str
    bodies: Mapping[str, tuple[str, tuple[float, float, float, float]]]

    def draw(self, hex_code: str, size: int) -> Image.Image:
        """RGBA, cropped to what is visible, whose longer side has `size` pixels.

        Raises:
          DataError: the style has no such drawing, or it is blank.
          SetupError: the SVG renderer is not installed.
        """
        try:
            body, box = self.bodies[bare(hex_code)]
        except KeyError:
            raise DataError(f"{self.name} does not draw {hex_code!r}", where=self.name) from None
        names = {"xmlns": f"{_W3}/2000/svg", "xmlns:xlink": f"{_W3}/1999/xlink"}
        svg = tag("svg", Html(body), **names, viewBox=" ".join(map(str, box)))
        png = render._module("resvg_py").svg_to_bytes(
            svg_string=str(svg), width=size * _OVERSAMPLE, skip_system_fonts=True
        )
        drawn = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
        seen = _visible(drawn)
        if seen is None:
            raise DataError(f"{hex_code!r} is blank", where=self.name)
        drawn = drawn.crop(seen)
        scale = size / max(drawn.size)
        wanted = tuple(max(1, round(side * scale)) for side in drawn.size)
        small = drawn.resize(wanted, Image.Resampling.LANCZOS, reducing_gap=3.0)
        return small.crop(_visible(small) or (0, 0, *small.size))


def bare(hex_code: str) -> str:
    """Code points as the names of this module: upper case, without the selector of colour."""
    points = hex_code.upper().split("-")
    return "-".join(point for point in points if point != _NO_NAME)


def open_package(file: str | Path) -> Style:
    """The drawings in a package.

    Raises:
      DataError: it cannot be read, or is no package of emoji with `chars.json`.
    """
    try:
        with tarfile.open(file, "r:gz") as package:
            about = _member(package, "package.json", file)
            icons = _member(package, "icons.json", file)
            chars = _member(package, "chars.json", file)
        return Style(str(icons["prefix"]), str(about.get("license", "")), _bodies(icons, chars))
    except (OSError, tarfile.TarError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"no package of emoji: {type(error).__name__}: {error}",
            where=str(file),
            expected="a .tgz of npm with icons.json and chars.json",
            fix="npm pack @iconify-json/twemoji@1.2.5",
        ) from None


def _member(package: tarfile.TarFile, name: str, file: str | Path) -> dict[str, Any]:
    member = package.getmember(f"package/{name}")
    if not member.isfile() or member.size > _LARGEST:
        raise ValueError(f"{name} is no file of at most {_LARGEST} bytes")
    found = json_input.parse(package.extractfile(member).read(), f"{file}: {name}")
    if not isinstance(found, dict):
        raise ValueError(f"{name} holds {json.dumps(found)[:40]}")
    return found


def _bodies(
    icons: Mapping[str, Any], chars: Mapping[str, str]
) -> dict[str, tuple[str, tuple[float, float, float, float]]]:
    found = {}
    for points, name in chars.items():
        seen: set[str] = set()
        while name in icons.get("aliases", {}) and name not in seen:
            seen.add(name)
            name = icons["aliases"][name]["parent"]
        icon = icons["icons"].get(name)
        if icon is not None:
            sides = [
                float(icon.get(key, icons.get(key, usual)))
                for key, usual in (("left", 0), ("top", 0), ("width", 16), ("height", 16))
            ]
            found[bare(points)] = (str(icon["body"]), (sides[0], sides[1], sides[2], sides[3]))
    return found


def _visible(image: Image.Image) -> tuple[int, int, int, int] | None:
    return image.getchannel("A").point(lambda a: 255 if a >= _VISIBLE else 0).getbbox()
