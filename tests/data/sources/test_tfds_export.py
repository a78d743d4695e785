"""Records as a TensorFlow data set and back, without TensorFlow."""

import dataclasses
import sys

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from zv_jax.data.images import addresses as image_store
from zv_jax.data.public import catalogue
from zv_jax.data.records import record as R
from zv_jax.data.sources import tfds_export


def test_records_and_images_come_back(toy, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    Image.fromarray(pixels).save(toy.parent / "images" / "0.png", exif=exif)
    records = list(R.read_jsonl(toy))[:10]
    two = dataclasses.replace(
        records[0],
        id="toy/train/two",
        images=records[0].images + records[-1].images,
        turns=(R.Turn("user", "<image><image>?"), R.Turn("assistant", "好")),
    )
    splits = {"train": [*records, two], "val": records[:2]}
    path = tfds_export.export(splits, toy.parent, tmp_path / "out", "bmmic", licence="CC0")
    assert "tensorflow" not in sys.modules
    rows = tfds.builder_from_directory(path).as_data_source("train")
    assert rows[0]["images"][0].shape == (30, 20, 3), "upright"
    assert len(rows) == 11 and len(rows[10]["images"]) == 2
    expected = np.asarray(image_store.load(toy.parent, two.images[1]))
    np.testing.assert_array_equal(rows[10]["images"][1], expected)
    again = list(catalogue.read("tfds", path))
    for before, after in zip(splits["train"], again, strict=True):
        assert dataclasses.replace(after, images=before.images) == before
        for one, other in zip(before.images, after.images, strict=True):
            np.testing.assert_array_equal(
                np.asarray(image_store.load(toy.parent, one)),
                np.asarray(image_store.load(path, other)),
            )
    assert len(list(catalogue.read("tfds", path, "val"))) == 2
