"""Images of requests: from a data URI or an address to the pixels that the model sees.

Decoding happens outside the event loop, a few at a time: an image of the greatest size takes
hundreds of megabytes until it is resized.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from zv_jax.data.images import decode
from zv_jax.errors import DataError
from zv_jax.serving.messages import Shown
from zv_jax.serving.remote import Remote

_DATA = re.compile(r"data:image/[\w.+-]+;base64,", re.ASCII | re.IGNORECASE)
_TOGETHER = 2  # images decoded at once


class Images:
    """Reads the images of requests.

    Args:
        size, transparency: those of the model.
        remote: fetches addresses; None refuses them.
    """

    def __init__(self, size: int, transparency: str, remote: Remote | None = None):
        self.size, self.transparency, self.remote = size, transparency, remote
        self._turn = asyncio.Semaphore(_TOGETHER)

    async def read(self, shown: Sequence[Shown]) -> list[UInt8[np.ndarray, "size size 3"]]:
        """The images, resized.

        Raises:
            DataError: naming the field of an image that cannot be had or read.
        """
        return [await self._one(image) for image in shown]

    async def _one(self, image: Shown) -> UInt8[np.ndarray, "size size 3"]:
        data: bytes | str = image.url
        if re.match(r"https?:", image.url, re.IGNORECASE):
            if self.remote is None:
                raise _refused("images are not fetched from addresses here", image)
            data = await self.remote.fetch(image.url, image.where)
        elif not _DATA.match(image.url):
            raise _refused("an image that is neither a data URI nor an address", image)
        async with self._turn:
            return await asyncio.to_thread(self._pixels, data, image.where)

    def _pixels(self, data: bytes | str, where: str) -> UInt8[np.ndarray, "size size 3"]:
        if isinstance(data, str):
            data = _unpacked(data, where)
        try:
            return decode.resize(decode.decode(data, where, self.transparency), self.size)
        except decode.ImageError as error:
            fix = "send another file"
            raise decode.ImageError(error.what, error.where, error.expected, fix) from None


def _unpacked(uri: str, where: str) -> bytes:
    """The bytes in a data URI."""
    try:
        return base64.b64decode(uri[uri.index(",") + 1 :], validate=True)
    except ValueError as error:
        raise DataError(
            f"an image that is no base64: {error}",
            where=where,
            expected="data:image/png;base64,...",
            fix="encode the bytes of the file once more, without line breaks",
        ) from None


def _refused(what: str, image: Shown) -> DataError:
    return DataError(
        what,
        where=image.where,
        expected="data:image/png;base64,...",
        fix="send the file itself, in base64",
    )
