"""Images inside the page: small data URIs, with boxes or heat laid over them."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from zv_jax.data.images import decode as images
from zv_jax.html.markup import Html, label, t, tag
from zv_jax.json_input import finite

LONGEST = 288  # pixels; an image is shown at half of that on a dense screen
HEAT_SIDE = 64
HEAT = ((24, 16, 60), (110, 30, 110), (205, 70, 80), (250, 160, 60), (252, 240, 160))


def data_uri(path: Path) -> str | None:
    """The image, at most `LONGEST` pixels long, as WebP; `None` if it cannot be read."""
    try:
        image = images.decode(path, transparency=images.KEPT)
    except images.ImageError:
        return None
    image.thumbnail((LONGEST, LONGEST))
    return _encode(image, "WEBP", quality=86, method=4)


def heat_uri(weights: Sequence[float], grid: tuple[int, int]) -> str:
    """The weights, smoothly enlarged, as colours whose light and opacity rise with the weight."""
    low, high = min(weights), max(weights)
    span = high - low or 1.0
    height, width = grid
    levels = Image.new("L", (width, height))
    levels.putdata([round(255 * (weight - low) / span) for weight in weights])
    levels = levels.resize((HEAT_SIDE, HEAT_SIDE), Image.Resampling.BICUBIC)
    table = [_heat(level / 255) for level in range(256)]
    colours = Image.merge(
        "RGBA", [levels.point([colour[band] for colour in table]) for band in range(4)]
    )
    return _encode(colours, "WEBP", quality=70, method=4)


def _heat(share: float) -> tuple[int, int, int, int]:
    at = share * (len(HEAT) - 1)
    low = min(int(at), len(HEAT) - 2)
    mix = at - low
    red, green, blue = (
        round(a + (b - a) * mix) for a, b in zip(HEAT[low], HEAT[low + 1], strict=True)
    )
    return red, green, blue, round(255 * (0.5 + 0.25 * share))


def _encode(image: Image.Image, kind: str, **options: object) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    body = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"data:image/{kind.lower()};base64,{body}"


def figure(path: Path | None, en: str, zh: str, over: Html | None = None) -> Html:
    """The image with `over` laid on it, or a frame that says it is missing."""
    uri = data_uri(path) if path else None
    if uri is None:
        return tag("span", t("picture missing", "图片缺失"), cls="picture none")
    shown = tag("img", src=uri, loading="lazy", decoding="async", **label("alt", en, zh))
    return tag("span", shown, over, cls="picture")


def heat(entry: dict) -> Html | None:
    """The attention map of one query to lay over its image; `None` if it is malformed."""
    grid, weights = entry.get("grid"), entry.get("weights")
    if not (isinstance(grid, list) and len(grid) == 2 and isinstance(weights, list)):
        return None
    if not all(isinstance(n, int) and 0 < n <= 256 for n in grid):
        return None
    known = [finite(weight) for weight in weights]
    if len(known) != grid[0] * grid[1] or any(weight is None for weight in known):
        return None
    return tag("img", src=heat_uri(known, (grid[0], grid[1])), alt="", cls="heat")
