"""Image files to arrays of bytes: decode, resize by stretching. No crops and no flips.

A stretch leaves boxes in 0..1 unchanged; a flip would make "left" wrong. PIL's bicubic filter, as
BLIP-2's evaluation processor has it. The model normalises (`zv_jax.models.vit.normalise`).
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from zv_jax.errors import DataError

MAX_PIXELS = 89_478_485  # Pillow's own bound for a picture that is no decompression bomb
# Beyond it we raise an error; a warning beside it, once in a process, would say nothing more.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)


class ImageError(DataError):
    """One picture cannot be read; the pipeline may put another sample in its place."""


def decode(data: bytes | str | Path, where: str | None = None) -> Image.Image:
    """The picture in a file or in its bytes: RGB, turned as its EXIF orientation says.

    Raises:
      ImageError: naming `where` (the path, unless given) and what is wrong.
    """
    where = where or (str(data) if not isinstance(data, bytes) else "bytes")
    try:
        with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data) as file:
            _check_size(file)
            ImageOps.exif_transpose(file, in_place=True)  # most have nothing to turn: no copy
            return _rgb(file)
    except FileNotFoundError:
        raise ImageError(
            "image file not found",
            where=where,
            expected="an image file",
            fix="check the record's path and data.sources.path",
        ) from None
    except Exception as error:  # Pillow raises many kinds for broken files, SyntaxError among them
        # Pillow would name the file once more, or the address of its bytes in memory.
        unknown = isinstance(error, UnidentifiedImageError)
        raise ImageError(
            f"image cannot be decoded: {'its format is unknown' if unknown else error}",
            where=where,
            expected="a complete JPEG, PNG, WebP or GIF file",
            fix="replace the file or remove its records",
        ) from None


def _check_size(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        # Pillow itself only warns here; decoding would take gigabytes.
        raise ValueError(f"{image.width} x {image.height} pixels are too many")


def _rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB, decoded; 16-bit grey is scaled, where Pillow's own conversion would clip it to
    white."""
    if image.mode.startswith("I"):
        grey = np.asarray(image, np.int64).clip(0, 65535) // 257
        image = Image.fromarray(grey.astype(np.uint8))
    image.load()
    return image if image.mode == "RGB" else image.convert("RGB")


def resize(image: Image.Image, size: int) -> np.ndarray:
    """uint8 [size, size, 3]: stretched to a square with PIL's bicubic filter."""
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image, np.uint8)


def preprocess(image: Any, size: int) -> np.ndarray:
    """uint8 [size, size, 3] from a path, bytes, PIL image or uint8 array [H, W, 3]."""
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
            raise DataError(
                f"an array of {image.dtype} {image.shape} is no picture",
                where="image",
                expected="uint8 [H, W, 3], RGB",
                fix="convert it, or give the path of a file",
            )
        image = Image.fromarray(image)
    elif isinstance(image, Image.Image):
        image = _rgb(ImageOps.exif_transpose(image))
    else:
        image = decode(image)
    return resize(image, size)


class ImageCache:
    """Resized pictures by key, kept in memory when `keep`; safe to use from several threads."""

    def __init__(self, size: int, keep: bool):
        self.size, self.keep = size, keep
        self._kept: dict[Hashable, np.ndarray] = {}

    def __reduce__(self):
        # A worker process starts with an empty cache: pictures are cheaper to read than to send.
        return ImageCache, (self.size, self.keep)

    def get(self, key: Hashable, read: Callable[[], Image.Image]) -> np.ndarray:
        """uint8 [size, size, 3] of the picture `key`, which `read()` decodes on the first call."""
        pixels = self._kept.get(key)
        if pixels is None:
            pixels = resize(read(), self.size)
            if self.keep:
                self._kept[key] = pixels
        return pixels
