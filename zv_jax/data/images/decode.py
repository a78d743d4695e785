"""Image files to arrays of bytes: decode, resize by stretching.

A stretch leaves boxes in 0..1 unchanged; crops and mirrored images, which do not, are for training
alone (`view.py`). PIL's bicubic filter, as BLIP-2's evaluation processor has it. The model
normalises (`zv_jax.models.vit.normalise`).

Every image that a model sees, in training, evaluation and use, comes through this module, so that
all of them read the same files, refuse the same files and see the same pixels.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, JpegImagePlugin, UnidentifiedImageError

from zv_jax.errors import DataError

# Pillow knows many more, and runs Ghostscript for one of them.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
MAX_SCANS = 1000  # of a JPEG; an image that appears step by step has about ten
MAX_PIXELS = 89_478_485  # Pillow's own bound for an image that is no decompression bomb
# Beyond it we raise an error; a warning beside it, once in a process, would say nothing more.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)

TRANSPARENCY = ("white", "black")
"""What becomes of transparency. `white`: the image is laid on a white ground, as people see it.
`black`: alpha is dropped, as LAVIS and transformers do; clear parts show the colour stored below
them, which mostly is black."""
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # by the EXIF orientation
_STRIP = 64  # rows
KEPT = "kept"  # until a model's own way is known: the image is RGBA where anything is clear


class ImageError(DataError):
    """One image cannot be read; the pipeline may put another sample in its place."""


def decode(
    data: bytes | str | Path, where: str | None = None, transparency: str = TRANSPARENCY[0]
) -> Image.Image:
    """The image in a file or in its bytes: RGB, turned as its EXIF orientation says.

    Of a moving image it is the first frame. The size is read from the header and checked before
    any pixel is decoded.

    Args:
      data: one of `FORMATS`, of at most `MAX_PIXELS`.
      where: what errors name; the path, unless given.
      transparency: one of `TRANSPARENCY`, or `KEPT`; see `opaque`.

    Raises:
      ImageError: naming `where` and what is wrong.
    """
    where = where or (str(data) if not isinstance(data, bytes) else "bytes")
    if isinstance(data, bytes):
        return _guarded(lambda: _plain(data) or _open(io.BytesIO(data), transparency), where)
    return _guarded(lambda: _open(_regular(Path(data)), transparency), where)


_PLAIN = re.compile(rb"P6\n(\d{1,5}) (\d{1,5})\n255\n")
"""How a PPM of prepared shards begins: Pillow reads such a header byte by byte."""


def _plain(data: bytes) -> Image.Image | None:
    """The image of a PPM as `zv data prepare` writes it; None for any other file."""
    found = _PLAIN.match(data)
    if found is None:
        return None
    size, pixels = (int(found[1]), int(found[2])), memoryview(data)[found.end() :]
    fits = 0 < len(pixels) == 3 * size[0] * size[1] and size[0] * size[1] <= MAX_PIXELS
    return Image.frombytes("RGB", size, pixels) if fits else None


def _regular(path: Path) -> Path:
    """`path`, if it is a regular file: to open a pipe would wait for ever."""
    if not path.is_file():
        if path.exists():
            raise ValueError("it is no regular file")
        raise FileNotFoundError(path)
    return path


def _open(file: io.BytesIO | Path, transparency: str) -> Image.Image:
    return _rgb(_loaded(file), transparency)


def _loaded(file: io.BytesIO | Path) -> Image.Image:
    # A function of its own: what it leaves behind is gone before the next step takes memory.
    with Image.open(file, formats=FORMATS) as image:
        _check_scans(image)
        return _upright(image)


def _check_scans(image: Image.Image) -> None:
    """Refuses a JPEG of very many scans: each passes over all pixels, and a few bytes make one."""
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        image.fp.seek(0)  # its loader seeks for itself
        data = np.frombuffer(image.fp.read(), np.uint8)
        # Begin of a scan: FF DA, which nothing else may hold.
        if np.count_nonzero((data[:-1] == 0xFF) & (data[1:] == 0xDA)) > MAX_SCANS:
            raise ValueError(f"it has more than {MAX_SCANS:,} scans")


def _guarded(read: Callable[[], Image.Image], where: str) -> Image.Image:
    """What `read` gives; all that Pillow raises for broken files becomes an `ImageError`."""
    try:
        return read()
    except FileNotFoundError:
        raise ImageError(
            "image file not found",
            where=where,
            expected="an image file",
            fix="check the record's path and data.sources.path",
        ) from None
    except Exception as error:  # Pillow raises many kinds, SyntaxError among them
        raise ImageError(
            f"image cannot be decoded: {_reason(error)}",
            where=where,
            expected=f"a complete file of {', '.join(FORMATS)}, at most {MAX_PIXELS:,} pixels",
            fix="replace the file or remove its records",
        ) from None


def _reason(error: Exception) -> str:
    # Pillow would name the file once more, or the address of its bytes in memory.
    if isinstance(error, UnidentifiedImageError):
        return "its format is unknown"
    if isinstance(error, Image.DecompressionBombError):
        return "its pixels are too many"
    return str(error)


def _check(image: Image.Image) -> None:
    """Refuses what the header shows to be too large, or to have no colours that can be known."""
    if image.width * image.height > MAX_PIXELS:
        # Pillow itself only warns here; decoding would take gigabytes.
        raise ValueError(f"{image.width} x {image.height} pixels are too many")
    if image.mode == "F":
        # Of 0..1, of 0..255, of metres? Pillow clips, and makes the first of them black.
        raise ValueError("its pixels are floating point numbers of an unknown range")


def _upright(image: Image.Image) -> Image.Image:
    """The pixels of an image that can be read, turned by its EXIF; `image` is not changed."""
    _check(image)
    image.load()
    turn = _TURNS.get(orientation(image))
    if turn is None:
        return image
    turned = image.transpose(turn)
    # Not its EXIF: who opens the image again would turn it again.
    turned.info = {k: v for k, v in image.info.items() if k == "transparency"}
    return turned


def _rgb(image: Image.Image, transparency: str) -> Image.Image:
    """8-bit RGB of an upright image; RGBA for what is transparent, if that is kept."""
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    if image.has_transparency_data:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
        return image if transparency == KEPT else opaque(image, transparency)
    return image if image.mode == "RGB" else image.convert("RGB")


def is_named_so(path: Path) -> bool:
    """Whether a file has the name of an image that `decode` may read."""
    return Image.registered_extensions().get(path.suffix.lower()) in FORMATS and path.is_file()


def orientation(image: Image.Image) -> Any:
    """The EXIF orientation of an image that is loaded: before, Pillow has not seen all of it."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # damaged EXIF says nothing, and the image is there all the same
        return None


def opaque(image: Image.Image, transparency: str) -> Image.Image:
    """RGB of an image that `decode` gave: RGBA becomes what `transparency` of `TRANSPARENCY` says.

    Raises:
      ValueError: it is none of these.
    """
    if transparency not in TRANSPARENCY:
        raise ValueError(f"{transparency!r} is none of {TRANSPARENCY}")
    if image.mode == "RGB":
        return image
    if transparency == "black":
        return image.convert("RGB")
    ground = Image.new("RGB", image.size, transparency)
    ground.paste(image, mask=image)  # its alpha
    return ground


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey, scaled, where Pillow's own conversion would clip it to white."""
    clear = image.info.get("transparency")  # the one grey that is
    scaled = np.empty((image.height, image.width), np.uint8)
    alpha = None if clear is None else np.empty_like(scaled)
    low, high = 0, 0
    for top in range(0, image.height, _STRIP):  # numpy has no view of them, only copies
        values = np.asarray(image.crop((0, top, image.width, min(top + _STRIP, image.height))))
        low, high = min(low, values.min()), max(high, values.max())
        scaled[top : top + _STRIP] = values // 257
        if alpha is not None:
            alpha[top : top + _STRIP] = np.where(values == clear, 0, 255)
    if image.mode == "I" and 0 <= low <= high < 256:
        raise ValueError("its pixels are 32-bit numbers: of a range of 8 bits or of 16?")
    if low < 0 or high > 65535:
        raise ValueError("its pixels are whole numbers of more than 16 bits")
    grey = Image.fromarray(scaled)
    if alpha is not None:
        grey.putalpha(Image.fromarray(alpha))
    return grey


def resize(image: Image.Image, size: int) -> np.ndarray:
    """uint8 [size, size, 3]: stretched to a square with PIL's bicubic filter."""
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image, np.uint8)


def preprocess(image: Any, size: int, transparency: str = TRANSPARENCY[0]) -> np.ndarray:
    """uint8 [size, size, 3] from a path, bytes, PIL image or uint8 array [H, W, 3].

    Raises:
      DataError: it is none of these, or cannot be read; see `decode`.
    """
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
        given = image
        image = _guarded(lambda: _rgb(_upright(given), transparency), "image")
    else:
        image = decode(image, transparency=transparency)
    return resize(image, size)


class ImageCache:
    """Resized images by key, kept in memory when `keep`; safe to use from several threads."""

    def __init__(self, size: int, keep: bool, transparency: str = TRANSPARENCY[0]):
        self.size, self.keep, self.transparency = size, keep, transparency
        self._kept: dict[Hashable, np.ndarray] = {}

    def __reduce__(self):
        # A worker process starts with an empty cache: images are cheaper to read than to send.
        return ImageCache, (self.size, self.keep, self.transparency)

    def get(self, key: Hashable, read: Callable[[], Image.Image]) -> np.ndarray:
        """uint8 [size, size, 3] of the image `key`, which `read()` decodes on the first call."""
        pixels = self._kept.get(key)
        if pixels is None:
            pixels = resize(opaque(read(), self.transparency), self.size)
            if self.keep:
                self._kept[key] = pixels
        return pixels
