"""All that a new kind of sample adds to the data: images, and how bright each is."""

from typing import NamedTuple

import numpy as np

from zv_jax.data.pipeline.batches.kind import Kind, Words, register
from zv_jax.stages import BATCHES, STAGES, ArraySpec, Stage


class Bright(NamedTuple):
    pixels: np.ndarray
    level: float
    text: None = None


class Brightness(Kind):
    tasks = ("caption",)

    def row(self, sample):
        pixels = self.tools.images.pixels(sample.drawn.source, sample.record.images[0])
        return Bright(pixels, pixels.mean() / 255)

    def words(self, sample):
        return Words([], [])

    def collate(self, shape, rows):
        return {
            "images": np.stack([row.pixels for row in rows]),
            "levels": np.array([row.level for row in rows], np.float32),
        }


def arrays(config):
    rows, size = config.train.batch_size, config.model.vision.image_size
    return {
        "images": ArraySpec((rows, size, size, 3), np.dtype(np.uint8)),
        "levels": ArraySpec((rows,), np.dtype(np.float32)),
    }


def add():
    """The kind, its arrays, and a stage that is fed with it."""
    register("brightness", Brightness)
    BATCHES["brightness"] = arrays
    stage = Stage("brightness", ("error",), (r"params/ln_vision/.*",))
    STAGES["brightness", "base"] = STAGES["brightness", "chat"] = stage
