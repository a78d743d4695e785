import io

import numpy as np
import pytest
from PIL import Image

from zv_jax.data.images import decode as images
from zv_jax.errors import DataError


def test_an_image_is_stretched_not_cropped():
    pixels = np.zeros((10, 40, 3), np.uint8)
    pixels[:, 30:] = 255
    small = images.resize(Image.fromarray(pixels), 8)
    assert small.shape == (8, 8, 3)
    assert (small[:, :5] < 30).all() and (small[:, 7:] > 225).all()


def test_an_image_is_resized_by_pillows_bicubic_filter():
    """A step of 16 columns, made 8: the edge rings, as a bicubic filter's does and no other's."""
    step = np.repeat(np.array([[60] * 8 + [200] * 8], np.uint8), 16, 0)
    small = images.resize(Image.fromarray(np.repeat(step[..., None], 3, 2)), 8)
    np.testing.assert_array_equal(small[4, :, 0], [60, 60, 58, 69, 191, 202, 200, 200])


def test_exif_orientation_and_modes(tmp_path):
    left = Image.new("RGB", (8, 4), "black")
    left.paste("white", (0, 0, 4, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to show
    left.save(tmp_path / "a.png", exif=exif)
    turned = np.asarray(images.decode(tmp_path / "a.png"))
    assert turned.shape == (8, 4, 3)
    assert turned[0].min() == 255 and turned[-1].max() == 0
    Image.new("L", (3, 3), 7).save(tmp_path / "grey.png")
    assert images.preprocess(str(tmp_path / "grey.png"), 2).shape == (2, 2, 3)


def test_same_pixels_from_path_bytes_pil_and_array():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 7, 3), np.uint8))
    file = io.BytesIO()
    image.save(file, "PNG")
    want = images.preprocess(image, 6)
    np.testing.assert_array_equal(images.preprocess(file.getvalue(), 6), want)
    np.testing.assert_array_equal(images.preprocess(np.asarray(image), 6), want)


@pytest.mark.parametrize("damage", ["text", "cut", "missing"])
def test_a_bad_file_is_named(tmp_path, damage):
    path = tmp_path / "broken.png"
    if damage == "text":
        path.write_text("no picture")
    elif damage == "cut":
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(noise).save(file, "PNG")
        path.write_bytes(file.getvalue()[:500])
    with pytest.raises(DataError, match=r"broken\.png"):
        images.decode(path)


def test_the_cache_reads_once_and_only_if_asked_to():
    reads = []

    def read():
        reads.append(1)
        return Image.new("RGB", (5, 5))

    for keep, expected in ((True, 1), (False, 2)):
        cache = images.ImageCache(4, keep)
        reads.clear()
        cache.get("a", read)
        assert cache.get("a", read).shape == (4, 4, 3)
        assert len(reads) == expected


def test_an_array_that_is_no_image_is_refused():
    with pytest.raises(DataError, match="uint8"):
        images.preprocess(np.zeros((4, 4, 3), np.float32), 4)
