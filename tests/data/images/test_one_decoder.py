"""Whatever way an image comes in, the model sees the same pixels, or the user the same error."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from zv_jax.cli import generate
from zv_jax.config import build
from zv_jax.config import schema as config_lib
from zv_jax.convert import config_json
from zv_jax.data.images import addresses as image_store
from zv_jax.data.images import decode as images
from zv_jax.data.images.decode import ImageError
from zv_jax.data.pipeline import pipeline
from zv_jax.data.records.record import ImageRef
from zv_jax.errors import ConfigError, DataError
from zv_jax.inference import prompts
from zv_jax.models import presets

SIZE = 16
RAMP = np.tile(np.arange(0, 256, 16, dtype=np.uint8), (16, 1))
HALF = np.where(np.arange(16) < 8, 0, 255).astype(np.uint8)[None].repeat(16, 0)  # clear at the left


def encoded(image, kind="PNG", **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def header(width, height, colours=0):
    """A PNG of a size that only its header says."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    about = struct.pack(">IIBBBBB", width, height, 8, colours, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(b"\0" * 100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", about) + rows + chunk(b"IEND", b"")


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


ORIENTATION_IN_WORDS = b"Exif\0\0II*\0" + struct.pack("<IHHHI4sI", 8, 1, 0x0112, 2, 4, b"six\0", 0)


def red(mode="RGB"):
    return Image.new("RGB", (16, 16), (255, 0, 0)).convert(mode)


def half_clear(colour=(255, 0, 0)):
    image = Image.new("RGBA", (16, 16), (*colour, 255))
    image.putalpha(Image.fromarray(HALF))
    return image


def clear_palette(kind):
    image = Image.fromarray((HALF // 255).astype(np.uint8), "L").convert("P")
    image.putpalette([0, 0, 0, 255, 0, 0])
    return encoded(image, kind, transparency=0)


def moving(kind):
    others = [Image.new("RGB", (16, 16), "blue")]
    return encoded(red(), kind, save_all=True, append_images=others, lossless=True)


NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
SOLID = np.full((16, 16, 3), (255, 0, 0), np.uint8)
ON_WHITE = np.where(HALF[..., None] == 0, 255, SOLID).astype(np.uint8)
GREY = np.stack([RAMP] * 3, -1)
WIDE = Image.fromarray(GREY).resize((16, 8))
LA = Image.merge("LA", (Image.new("L", (16, 16), 0), Image.fromarray(HALF)))
# name: (file, what a model that sees white grounds sees)
GOOD = {
    "plain": (encoded(red()), SOLID),
    "grey": (encoded(Image.fromarray(RAMP)), GREY),
    "grey of 16 bits": (encoded(Image.fromarray(RAMP.astype(np.uint16) * 257)), GREY),
    "grey of 16 bits in a TIFF": (
        encoded(Image.fromarray(RAMP.astype(np.uint16) * 257), "TIFF"),
        GREY,
    ),
    "grey of 16 bits, others' byte order": (
        encoded(Image.frombytes("I;16B", (16, 16), (RAMP.astype(">u2") * 257).tobytes()), "TIFF"),
        GREY,
    ),
    "clear": (encoded(half_clear()), ON_WHITE),
    "clear, black on nothing": (
        encoded(half_clear((0, 0, 0))),
        np.where(HALF[..., None] == 0, 255, np.zeros_like(SOLID)),
    ),
    "clear grey": (encoded(LA), np.where(HALF[..., None] == 0, 255, np.zeros_like(SOLID))),
    "clear WebP": (encoded(half_clear(), "WEBP", lossless=True, exact=True), ON_WHITE),
    "clear palette": (clear_palette("PNG"), ON_WHITE),
    "clear GIF": (clear_palette("GIF"), ON_WHITE),
    "a clear colour": (
        encoded(Image.fromarray(np.where(HALF[..., None] == 0, 7, SOLID).astype(np.uint8)),
                transparency=(7, 7, 7)),
        ON_WHITE,
    ),
    "moving GIF": (moving("GIF"), SOLID),
    "moving WebP": (moving("WEBP"), SOLID),
    "turned": (encoded(WIDE, exif=exif(8)), None),
    "turned to nowhere": (encoded(red(), exif=exif(9)), SOLID),
    "turned by a word": (encoded(red(), exif=ORIENTATION_IN_WORDS), SOLID),
    "EXIF of noise": (encoded(red(), exif=b"Exif\0\0noise and noise"), SOLID),
    "EXIF cut short": (encoded(red(), exif=exif(6).tobytes()[:12]), SOLID),
    "CMYK": (encoded(red("CMYK"), "JPEG", quality=100), None),
    "Lab": (encoded(Image.new("LAB", (16, 16), (128, 0, 0)), "TIFF"), None),
    "one pixel wide": (encoded(Image.new("RGB", (1, 4000), (255, 0, 0))), SOLID),
    "BMP": (encoded(red(), "BMP"), SOLID),
    "PPM": (encoded(red(), "PPM"), SOLID),
}  # fmt: skip
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF"
BAD = {
    "cut": encoded(Image.fromarray(NOISE), "JPEG")[:900],
    "empty": b"",
    "text": "不是图片".encode(),
    "200 megapixels": header(20_000, 10_000),
    "100 megapixels": header(10_000, 10_000),
    "floats": encoded(Image.fromarray(np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)),
                      "TIFF"),
    "32 bits": encoded(Image.fromarray(np.full((16, 16), 70_000, np.int32)), "TIFF"),
    "32 bits, range unknown": encoded(Image.fromarray(np.full((16, 16), 200, np.int32)), "TIFF"),
    "PostScript": EPS,
}  # fmt: skip


def doors(path, ground):
    """What each way in makes of a file: training and evaluation, `Model`, `zv generate`."""
    cache = images.ImageCache(SIZE, False, ground)
    ref = ImageRef(path=path.name)

    def asked(image):
        return prompts.pixels([[image]], SIZE, ground)[0, 0]

    return {
        "training": lambda: cache.get(0, lambda: image_store.load(path.parent, ref, images.KEPT)),
        "training at once": lambda: images.resize(image_store.load(path.parent, ref, ground), SIZE),
        "evaluation": lambda: asked(image_store.load(path.parent, ref, images.KEPT)),
        "a path": lambda: asked(path),
        "a path in words": lambda: asked(str(path)),
        "bytes": lambda: asked(path.read_bytes()),
        "zv generate and zv chat": lambda: asked(generate.read_image(str(path))),
    }


@pytest.fixture
def file(tmp_path):
    def write(data):
        path = tmp_path / "一 张+#1.jpg"  # its name says nothing about what it holds
        path.write_bytes(data)
        return path

    return write


@pytest.mark.parametrize("ground", images.TRANSPARENCY)
@pytest.mark.parametrize("name", GOOD)
def test_every_way_in_gives_the_same_pixels(file, name, ground):
    data, wanted = GOOD[name]
    path = file(data)
    found = {door: see() for door, see in doors(path, ground).items()}
    found["a PIL image"] = prompts.pixels([[Image.open(path)]], SIZE, ground)[0, 0]
    first = found["training"]
    for door, pixels in found.items():
        np.testing.assert_array_equal(pixels, first, door)
    if wanted is not None and ground == "white":
        np.testing.assert_array_equal(first, wanted)


@pytest.mark.parametrize("name", BAD)
def test_every_way_in_gives_the_same_error(file, name):
    told = set()
    for door, see in doors(file(BAD[name]), "white").items():
        with pytest.raises(ImageError) as caught:
            see()
        assert caught.value.expected and caught.value.fix, door
        told.add(caught.value.what)
    assert len(told) == 1, told


def test_a_file_names_what_is_wrong_with_it(file):
    for name, words in {
        "200 megapixels": "pixels are too many", "100 megapixels": "10000 x 10000 pixels",
        "floats": "unknown range", "32 bits": "more than 16 bits", "PostScript": "is unknown",
    }.items():  # fmt: skip
        with pytest.raises(ImageError, match=words) as caught:
            images.decode(file(BAD[name]))
        assert "#1.jpg" in str(caught.value)


def test_an_image_of_others_that_cannot_be_read_is_an_error_of_ours(file):
    opened = Image.open(file(BAD["cut"]))
    floats = Image.open(io.BytesIO(BAD["floats"]))
    large = Image.open(io.BytesIO(BAD["100 megapixels"]))
    for image in (opened, floats, large):
        with pytest.raises(ImageError, match="cannot be decoded"):
            images.preprocess(image, SIZE)


def test_an_image_given_stays_as_it_was(file):
    image = Image.open(file(GOOD["turned"][0]))
    images.preprocess(image, SIZE)
    assert image.getexif()[0x0112] == 8 and image.size == (16, 8)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_pillow_turns_it(orientation, kind):
    data = encoded(WIDE, kind, exif=exif(orientation))
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(np.asarray(images.decode(data)), np.asarray(upright))


def test_black_is_what_lavis_and_transformers_make_of_transparency():
    """Their processors call `convert("RGB")`: the stored colour comes out, clear or not."""
    for name in ("clear", "clear grey", "clear palette", "clear WebP", "a clear colour"):
        theirs = np.asarray(Image.open(io.BytesIO(GOOD[name][0])).convert("RGB"))
        ours = images.decode(GOOD[name][0], transparency="black")
        np.testing.assert_array_equal(np.asarray(ours), theirs, name)


@pytest.mark.parametrize(("ground", "value"), [("white", 255), ("black", 0)])
@pytest.mark.parametrize("stage", ["stage0", "stage2"])
def test_training_sees_the_ground_of_its_recipe(make_config, tokenizer, toy, stage, ground, value):
    for image in (toy.parent / "images").iterdir():
        Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(image)
    config = make_config(stage, transparency=ground)
    stream = pipeline.make_pipeline(config, tokenizers=(tokenizer, tokenizer))
    assert (next(stream)["images"] == value).all()
    stream.close()


def test_models_of_before_and_of_others_keep_their_ground():
    """A checkpoint that does not know the field, LAVIS and transformers all drop alpha."""
    old = build.to_dict(config_lib.Config(model=presets.preset("tiny_chat")))
    assert old["data"].pop("transparency") == "white"
    assert build.validate(build.of_checkpoint(old)).data.transparency == "black"
    old["data"]["transparency"] = "white"
    assert build.validate(build.of_checkpoint(old)).data.transparency == "white"
    model = presets.preset("tiny_chat")
    assert config_json.run_of(model, "stage2", "chat", "there").data.transparency == "black"
    with pytest.raises(ConfigError, match="data.transparency"):
        build.validate(old | {"data": old["data"] | {"transparency": "grey"}})


def test_half_clear_colours_are_mixed_with_the_ground():
    glass = Image.new("RGBA", (1, 1), (255, 0, 0, 128))
    (pixel,) = np.asarray(images.decode(encoded(glass)))[0].tolist()
    assert pixel == [255, 127, 127]


def test_a_jpeg_of_very_many_scans_is_refused_before_it_is_decoded(monkeypatch):
    """An empty scan has ten bytes and takes as long as any other: some 5 ms at full size."""
    sound = encoded(Image.fromarray(NOISE), "JPEG", progressive=True)
    scan = sound[sound.rindex(b"\xff\xda") :][:10]
    images.decode(sound[:-2] + scan * 900 + sound[-2:])
    monkeypatch.setattr(Image.Image, "load", lambda image: pytest.fail("it was decoded"))
    with pytest.raises(ImageError, match="1,000 scans"):
        images.decode(sound[:-2] + scan * 1000 + sound[-2:])


def test_a_pipe_is_refused_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    for read in (image_store.load, image_store.read):
        with pytest.raises(ImageError, match="no file"):
            read(tmp_path, ImageRef(path="a.png"))
    with pytest.raises(ImageError, match="no regular file"):
        images.decode(tmp_path / "a.png")
    with pytest.raises(DataError):
        generate.read_image(str(tmp_path / "a.png"))


def test_a_size_is_refused_before_anything_is_decoded(file, monkeypatch):
    path = file(header(10_000, 10_000))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ImageError, match="too many"):
        images.decode(path)


def test_a_ppm_of_shards_is_read_as_pillow_reads_it():
    pixels = np.random.default_rng(0).integers(0, 255, (7, 5, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PPM")
    data = file.getvalue()
    commented = data.replace(b"P6\n", b"P6\n# by another program\n", 1)
    for given in (data, commented, data + b"trailing"):
        assert np.array_equal(np.asarray(images.decode(given)), pixels)
    for damaged in (data[:-1], data[:13], b"P6\n0 0\n255\n", b"P6\n99999 99999\n255\n"):
        with pytest.raises(ImageError):
            images.decode(damaged)
