"""Views from annotated sets: captions of both languages and boxes, joined by image."""

import json

import pytest

from zv_jax.bmmic import config as config_lib
from zv_jax.bmmic import view as views
from zv_jax.bmmic.filters import concepts
from zv_jax.bmmic.steps import symbols
from zv_jax.data.public import guard
from zv_jax.errors import ConfigError, DataError


@pytest.fixture
def coco(tmp_path):
    """Karpathy's file with two images, COCO-CN's captions of one, boxes of both."""
    rows = [
        {"filepath": "val2014", "filename": f"COCO_val2014_{n:012d}.jpg", "cocoid": n,
         "split": "train", "sentences": [{"raw": f"A dog number {n}."}, {"raw": "A dog."}]}
        for n in (7, 8)
    ]  # fmt: skip
    root = tmp_path / "coco"
    root.mkdir()
    (root / "dataset_coco.json").write_text(json.dumps({"images": rows}))
    box = {"image_id": 7, "category_id": 18, "bbox": [64, 48, 64, 48]}
    crowd = {"image_id": 7, "category_id": 1, "bbox": [0, 0, 320, 240], "iscrowd": 1}
    instances = {
        "images": [{"id": n, "width": 640, "height": 480} for n in (7, 8)],
        "categories": [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}],
        "annotations": [box, crowd],
    }
    (root / "instances.json").write_text(json.dumps(instances))
    chinese = tmp_path / "coco_cn"
    chinese.mkdir()
    (chinese / "coco-cn_train.txt").write_text("COCO_val2014_000000000007\n")
    (chinese / "imageid.human-written-caption.txt").write_text(
        "COCO_val2014_000000000007#0\t一只狗。\n", encoding="utf-8"
    )
    return tmp_path


def recipe(root, **fields):
    sources = ({"name": "coco_caption", "root": str(root / "coco"), "split": "train"},)
    more = ({"name": "coco_cn", "root": str(root / "coco_cn"), "split": "train"},)
    own = {"sources": sources, "more": more, "instances": str(root / "coco" / "instances.json")}
    return config_lib.validate(config_lib.recipe(symbols={**own, **fields}, shard_size=1))


def test_captions_of_two_sets_and_boxes_of_a_third_meet_by_image(coco):
    first, second = symbols.every(recipe(coco))
    assert first.captions == {"en": ("A dog number 7.", "A dog."), "zh": ("一只狗。",)}
    assert (first.id, second.id) == ("coco_caption/train/7", "coco_caption/train/8")
    dog, crowd = first.objects
    assert (dog.label, dog.tag_zh, dog.box) == ("dog", "狗", (0.1, 0.1, 0.2, 0.2))
    assert crowd.label == "crowd of person", "a crowd cannot be counted"
    assert first.exhaustive and (first.image.width, first.image.height) == (640, 480)
    assert second.captions == {"en": ("A dog number 8.", "A dog.")} and not second.objects
    assert first.shown == (("coco", "7"),) and first.licence
    assert concepts.known(first).count("dog") == 1


def test_guarded_images_are_left_out(coco):
    guard.write(coco / "guard", {"coco": {"okvqa/val": ["7"]}})
    assert [v.id for v in symbols.every(recipe(coco, guard=str(coco / "guard")))] == [
        "coco_caption/train/8"
    ]


def test_shards_are_kept_and_other_settings_refused(coco, tmp_path):
    config, out = recipe(coco), tmp_path / "run"
    assert symbols.run(config, out) == {"views": 2}
    lines = [(out / "symbols" / f"0000{n}.jsonl").read_text("utf-8") for n in (0, 1)]
    assert views.loads(lines[0]) == next(symbols.every(config))
    (out / "symbols" / "00001.jsonl").unlink()
    symbols.run(config, out)
    assert (out / "symbols" / "00001.jsonl").read_text("utf-8") == lines[1]
    with pytest.raises(ConfigError, match="made with other settings: settings.limit: 0 then, 1"):
        symbols.run(recipe(coco, limit=1), out)


def test_a_recipe_without_images_is_one_clear_error(tmp_path):
    empty = config_lib.validate(config_lib.recipe())
    with pytest.raises(ConfigError, match="no source of images"):
        symbols.run(empty, tmp_path)
    nowhere = config_lib.recipe(symbols={"sources": ({"name": "flickr30k"},)})
    with pytest.raises(ConfigError, match="flickr30k has no root"):
        symbols.run(config_lib.validate(nowhere), tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [[], {"id": "a"}, {"id": "a", "image": {"path": "1.png"}, "captions": {"fr": ["un"]}},
     {"id": "a", "image": {"path": "1.png"}, "caption": {}},
     {"id": "a", "image": {"path": "1.png"}, "objects": [{"label": "x", "box": [1, 2, 3, 4]}]}],
)  # fmt: skip
def test_a_view_that_is_none_names_its_field(wrong):
    with pytest.raises(DataError):
        views.from_json(wrong)
