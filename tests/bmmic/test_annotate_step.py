"""`zv bmmic symbols` over bare images, with parts of one's own in place of the large models."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from zv_jax.bmmic import config as config_lib
from zv_jax.bmmic import view as views
from zv_jax.bmmic.annotate.captions import CaptionTagger
from zv_jax.bmmic.annotate.chain import Chain, Limits
from zv_jax.bmmic.annotate.open import open_chain
from zv_jax.bmmic.annotate.parts import Found, Tag
from zv_jax.bmmic.prompts import pack as pack_lib
from zv_jax.bmmic.steps import generate, symbols
from zv_jax.bmmic.steps.shards import Shards
from zv_jax.bmmic.view import View
from zv_jax.cli import main as cli
from zv_jax.data.records.record import ImageRef
from zv_jax.errors import ConfigError

DOG, CAT, UFO = Tag("dog", "狗"), Tag("cat", "猫"), Tag("flux box")


class Parts:
    """Reads the answer off the image: its red value says how many boxes there are."""

    def __init__(self, settings=None):
        self.about, self.seen = {"kind": "own", "revision": "1"}, []

    def tags(self, images, views):
        self.seen.append(len(images))
        return [[DOG, CAT, DOG] if image.getpixel((0, 0))[0] else [] for image in images]

    def detect(self, images, names):
        rows = np.array([[8, 8, 24, 24], [8, 8, 25, 24], [8, 8, 24, 25], [40, 0, 60, 99]], float)
        labels, scores = np.array([0, 0, 1, 1]), np.array([0.9, 0.8, 0.85, 0.31234567])
        counts = [image.getpixel((0, 0))[0] for image in images]
        return [Found(rows[:n], labels[:n], scores[:n]) for n in counts]

    def masks(self, images, boxes):
        for image, own in zip(images, boxes, strict=True):
            masks = np.zeros((len(own), image.height, image.width), bool)
            masks[:, 10:24, 10:24] = True
            yield masks


def chain(**limits):
    parts = Parts()
    return Chain(parts, parts, parts, Limits(**limits))


@pytest.fixture
def folder(tmp_path):
    """Seven images in two folders, two of one name, one without anything, one broken."""
    for number, red in enumerate((4, 2, 0, 1, 4, 3)):
        path = tmp_path / "in" / "ab"[number % 2] / f"{number // 2}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (80, 40), (red, 0, 0)).save(path)
    (tmp_path / "in" / "b" / "3.jpg").write_bytes(b"no image")
    (tmp_path / "in" / "notes.txt").write_text("not an image")
    return tmp_path


def recipe(root, **annotate):
    own = {part: {"kind": f"{__name__}:Parts"} for part in ("tagger", "detector", "segmenter")}
    sources = ({"name": "images", "root": str(root / "in")},)
    return config_lib.recipe(
        symbols={"sources": sources, "licence": "CC0"},
        annotate={**own, "batch": 2, **annotate},
        shard_size=3,
    )


def read(out):
    return [v for n in Shards(out).numbers() for v in symbols.read(Shards(out), n)]


def test_each_box_has_one_label_is_tight_and_comes_once():
    view = View("images/train/a", ImageRef(path="a"), captions={"en": ("A dog.",)})
    (made,) = chain().annotate([view], [Image.new("RGB", (80, 40), (4, 0, 0))])
    dog, cat = made.objects
    assert (dog.label, dog.tag_zh, dog.score) == ("dog", "狗", 0.9)
    assert dog.box == (10 / 80, 10 / 40, 24 / 80, 24 / 40), "the bounds of the mask"
    assert cat.box == (0.5, 0, 0.75, 1) and cat.score == 0.3123, "its mask is elsewhere"
    assert made.tags == {"en": ("dog", "cat"), "zh": ("狗", "猫")}
    assert made.captions == view.captions and not made.exhaustive
    said = made.meta["annotate"]
    assert said["detector"]["revision"] == "1" and said["limits"]["nms"] == 0.5
    assert views.loads(json.dumps(views.to_json(made))) == made
    (fewer,) = chain(most=1).annotate([view], [Image.new("RGB", (80, 40), (4, 0, 0))])
    assert fewer.objects == (dog,)


def test_bare_images_become_views_and_none_is_lost(folder):
    out = folder / "out"
    counts = symbols.run(config_lib.validate(recipe(folder)), out)
    assert counts == {"views": 7, "unreadable": 1, "empty": 1}
    assert symbols.told(counts) == (
        "7 views, 1 with an image that cannot be read, 1 with nothing found"
    )
    found = {view.id: view for view in read(out / "symbols")}
    assert list(found) == [f"images/train/{p}" for p in
                           ("a/0.png", "a/1.png", "a/2.png", "b/0.png", "b/1.png", "b/2.png",
                            "b/3.jpg")]  # fmt: skip
    assert [len(v.objects) for v in found.values()] == [2, 0, 2, 1, 1, 1, 0]
    assert "fault" in found["images/train/b/3.jpg"].meta["annotate"]
    assert all(v.licence == "CC0" and v.meta["source"] == "images" for v in found.values())


def test_models_see_what_is_clear_as_people_do(folder):
    """White: not the colour that lies hidden below, here one without any box."""
    Image.new("RGBA", (80, 40), (0, 0, 0, 0)).save(folder / "in" / "a" / "clear.png")
    symbols.run(config_lib.validate(recipe(folder)), folder / "out")
    (clear,) = (v for v in read(folder / "out" / "symbols") if v.id.endswith("clear.png"))
    assert clear.objects


def test_killed_and_shared_runs_write_the_same_bytes(folder):
    config, whole, out = config_lib.validate(recipe(folder)), folder / "whole", folder / "out"
    symbols.run(config, whole)
    symbols.run(config, out, (1, 2))
    assert Shards(out / "symbols").numbers() == [1]
    symbols.run(config, out)
    (out / "symbols" / "00002.jsonl").unlink()
    symbols.run(config, out)
    for file in (whole / "symbols").iterdir():
        assert (out / "symbols" / file.name).read_bytes() == file.read_bytes()
    other = config_lib.validate(recipe(folder, nms=0.4))
    with pytest.raises(ConfigError, match=r"settings\.annotate\.limits\.nms: 0\.5 then, 0\.4 now"):
        symbols.run(other, out)


def test_nothing_is_asked_about_an_image_of_which_nothing_is_known(folder):
    config = config_lib.validate(recipe(folder))
    symbols.run(config, folder / "out")
    packs = {kind: pack_lib.load(kind) for kind in config.generate.kinds}
    for view in read(folder / "out" / "symbols"):
        asked = list(generate.jobs(config, packs, "any", view))
        assert bool(asked) == bool(view.objects)
        assert all("dog" in str(job.request.body) or "狗" in str(job.request.body) for job in asked)


def test_boxes_that_people_drew_stay(folder):
    record = {"id": "records/train/1", "source": "records", "split": "train", "task": "ref_ground",
              "lang": "en", "images": [{"path": "a/0.png"}],
              "turns": [{"role": "user", "text": "?"}, {"role": "assistant", "text": "<obj_0>",
                                                        "boxes": [[0]]}],
              "objects": [{"box": [0, 0, 0.5, 0.5], "label": "sofa"}]}  # fmt: skip
    (folder / "in" / "own.jsonl").write_text(json.dumps(record) + "\n")
    own = recipe(folder)
    own.symbols.sources = ({"name": "records", "root": str(folder / "in" / "own.jsonl")},)
    symbols.run(config_lib.validate(own), folder / "out")
    (view,) = read(folder / "out" / "symbols")
    assert [o.label for o in view.objects] == ["sofa"] and "annotate" not in view.meta


def test_captions_of_both_languages_give_tags():
    view = View(
        "a", ImageRef(path="a"), captions={"en": ("A dog on a sofa.",), "zh": ("一只猫。",)}
    )
    (tags,) = CaptionTagger().tags([None], [view])
    assert [(t.en, t.zh) for t in tags] == [("dog", "狗"), ("sofa", "沙发"), ("cat", "猫")]


def test_the_command_annotates_and_explains(folder, capsys):
    source = {"name": "images", "root": str(folder / "in")}
    flags = [f"--workdir={folder / 'out'}", "--config=configs/bmmic/annotate.py",
             f"--config.symbols.sources=({source!r},)"]  # fmt: skip
    kinds = [f"--config.annotate.{part}.kind={__name__}:Parts"
             for part in ("tagger", "detector", "segmenter")]  # fmt: skip
    assert cli.main(["bmmic", "symbols", *flags, *kinds]) == 0
    assert "7 views, 1 with an image" in capsys.readouterr().out
    assert cli.main(["bmmic", "symbols", *flags, *kinds[:-1],
                     "--config.annotate.segmenter.kind=sam4"]) == 2  # fmt: skip
    assert "did you mean 'sam2'" in capsys.readouterr().err


def test_parts_that_are_none_are_one_clear_error(folder):
    config = config_lib.validate(recipe(folder))
    for kind in ("nowhere.to.be:found", "json:dumps", f"{__name__}:DOG"):
        part = dataclasses.replace(config.annotate.tagger, kind=kind)
        with pytest.raises(ConfigError, match="makes no part"):
            open_chain(dataclasses.replace(config.annotate, tagger=part))
    off = recipe(folder)
    off.annotate.detector.kind = ""
    with pytest.raises(ConfigError, match="no detector is named"):
        symbols.run(config_lib.validate(off), folder / "other")
    off.symbols.sources = ({"name": "images", "root": str(folder / "none")},)
    with pytest.raises(ConfigError, match="no such folder of images"):
        symbols.run(config_lib.validate(off), folder / "other")
    assert not (folder / "other").exists()
