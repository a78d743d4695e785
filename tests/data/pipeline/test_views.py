"""`data.augment`: what is cropped, what is mirrored, and that it is the same on any machine."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from zv_jax.config.build import to_dict, validate
from zv_jax.data.pipeline import pipeline, views
from zv_jax.data.records import record as R
from zv_jax.errors import ConfigError


def said(text: str, source: str = "cc3m", **more) -> R.Record:
    image = R.ImageRef(path="a.jpg")
    return R.Record("cc3m/train/1", source, "train", "caption", "en", (image,), (), **{
        "answers": (text,), **more,
    })  # fmt: skip


@pytest.mark.parametrize(
    "text, allowed",
    [
        ("a brown dog runs over the grass", True),
        ("a bright copyrighted photograph", True),
        ("两只猫坐在花园里", True),
        ("a dog left of a cat", False),
        ("the right-hand door", False),
        ("LEFT: a dog", False),
        ("the wheel turns clockwise", False),
        ("狗在猫的左边", False),
        ("右侧是一棵树", False),
        ("时针指向三点，指针顺时针转", False),
        ("a sign that says stop", False),
        ("a shirt with the letters ABC", False),
        ('a cake with "Happy Birthday"', False),
        ("墙上写着“欢迎”", False),
        ("一块招牌", False),
        ("the dog is at [0.12,0.25,0.50,0.62]", False),
    ],
)
def test_an_image_is_mirrored_only_where_all_that_is_said_stays_true(text, allowed):
    assert views.may_be_mirrored(said(text)) is allowed
    assert not views.may_be_mirrored(said("a dog", answers=("a dog", "it looks to the left")))


def test_images_to_read_and_images_with_boxes_are_never_mirrored():
    assert not views.may_be_mirrored(said("a bottle of juice", "textcaps"))
    thing = R.Object((0.1, 0.1, 0.4, 0.4), "dog")
    assert not views.may_be_mirrored(said("a dog", objects=(thing,)))


@pytest.fixture
def textured(toy):
    """Images in which every place looks different: red to the right, green downwards."""
    x, y = np.meshgrid(np.arange(64) * 4, np.arange(48) * 5)
    for path in (toy.parent / "images").glob("*.png"):
        Image.fromarray(np.stack([x, y, 0 * x], -1).astype(np.uint8)).save(path)
    return toy


@pytest.fixture
def batches(textured, make_config, tokenizer):
    def take(stage, count, start_step=0, rows=None, **data):
        config = make_config(stage, **data)
        stream = pipeline.make_pipeline(
            config, tokenizers=(tokenizer, tokenizer), start_step=start_step, rows=rows
        )
        got = [next(stream) for _ in range(count)]
        stream.close()
        return got

    return take


def spans(image: np.ndarray) -> tuple[int, int]:
    """From where to where an image of the fixture goes; backwards where it is mirrored."""
    return int(image[..., 0].mean(0)[0]), int(image[..., 0].mean(0)[-1])


def test_stage_0_sees_parts_and_mirrored_images_and_they_change_from_epoch_to_epoch(batches):
    plain, seen = batches("stage0", 8), batches("stage0", 8, augment=True)
    for a, b in zip(plain, seen, strict=True):
        for name in a.keys() - {"images"}:
            np.testing.assert_array_equal(a[name], b[name])
    views_of: dict[int, set] = {}
    for batch in seen:  # 32 rows of 16 samples
        for index, image in zip(batch["index"].tolist(), batch["images"], strict=True):
            views_of.setdefault(index, set()).add(image.tobytes())
    assert all(len(found) == 2 for found in views_of.values()), "two epochs, two views"
    ways = [np.sign(np.diff(spans(image))[0]) for batch in seen for image in batch["images"]]
    assert {-1, 1} == set(ways)


def test_a_step_is_the_same_for_any_start_any_process_and_any_number_of_workers(batches):
    alone = batches("stage0", 4, augment=True)
    np.testing.assert_array_equal(
        batches("stage0", 1, start_step=3, augment=True)[0]["images"], alone[3]["images"]
    )
    for rows in ([0, 2], [1, 3]):
        part = batches("stage0", 4, rows=rows, augment=True)
        for a, b in zip(alone, part, strict=True):
            np.testing.assert_array_equal(a["images"][rows], b["images"])


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_worker_processes_draw_the_same_views(batches, workers):
    alone = batches("stage0", 6, augment=True)
    for a, b in zip(alone, batches("stage0", 6, augment=True, workers=workers), strict=True):
        np.testing.assert_array_equal(a["images"], b["images"])


def test_another_seed_draws_other_views(make_config, textured, tokenizer):
    both = []
    for seed in (0, 1):
        stream = pipeline.make_pipeline(
            make_config("stage0", seed=seed, augment=True, sources=({"langs": ("en",)},)),
            tokenizers=(tokenizer, tokenizer),
        )
        pairs = [pair for _ in range(2) for pair in _of(next(stream))]
        both.append(dict(pairs))
        stream.close()
    assert both[0].keys() == both[1].keys()
    assert all(both[0][index] != both[1][index] for index in both[0])


def _of(batch):
    return zip(batch["index"].tolist(), map(np.ndarray.tobytes, batch["images"]), strict=True)


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_dialogues_see_slight_crops_and_images_with_boxes_as_they_are(batches, stage):
    boxes = {"sources": ({"tasks": ("ref_ground",)},)}
    for plain, seen in zip(
        batches(stage, 3, **boxes), batches(stage, 3, augment=True, **boxes), strict=True
    ):
        np.testing.assert_array_equal(plain["images"], seen["images"])
    talk = {"sources": ({"tasks": ("vqa", "conversation")},)}
    cropped = 0
    for plain, seen in zip(
        batches(stage, 3, **talk), batches(stage, 3, augment=True, **talk), strict=True
    ):
        for name in plain.keys() - {"images"}:
            np.testing.assert_array_equal(plain[name], seen[name])
        for whole, part in zip(plain["images"][:, 0], seen["images"][:, 0], strict=True):
            (left, right), (first, last) = spans(whole), spans(part)
            assert left <= first < last <= right and last - first > 0.75 * (right - left)
            cropped += (whole != part).any()
    assert cropped > 6


def test_a_box_in_a_caption_moves_with_the_crop(write_boxed, make_config, tokenizer):
    stream = pipeline.make_pipeline(
        make_config("stage0", augment=True, max_text=40), tokenizers=(tokenizer, tokenizer)
    )
    said = set()
    for _ in range(3):
        batch = next(stream)
        for ids, mask, image in zip(
            batch["text_ids"], batch["text_mask"], batch["images"], strict=True
        ):
            text = tokenizer.decode([int(i) for i in ids[mask]][1:-1])
            x1, _, x2, _ = (float(v) for v in text[text.index("[") + 1 : -1].split(","))
            white = np.flatnonzero(image.min(-1).max(0) > 128)
            assert white[0] / 28 == pytest.approx(x1, abs=0.06)
            assert (white[-1] + 1) / 28 == pytest.approx(x2, abs=0.06)
            said.add(text)
    stream.close()
    assert len(said) > 4, "the box moves"


@pytest.fixture
def write_boxed(toy):
    pixels = np.zeros((80, 80, 3), np.uint8)
    pixels[32:56, 32:48] = 255
    Image.fromarray(pixels).save(toy.parent / "images" / "0.png")
    row = R.Record(
        "toy/train/0", "toy", "train", "caption", "en", (R.ImageRef(path="images/0.png"),), (),
        objects=(R.Object((0.4, 0.4, 0.6, 0.7), "square"),), answers=("a square <obj_0>",),
    )  # fmt: skip
    rows = (dataclasses.replace(row, id=f"toy/train/{n}") for n in range(4))
    toy.write_text("".join(R.dumps(r) + "\n" for r in rows), encoding="utf-8")


@pytest.mark.parametrize(
    "stage, data, where",
    [
        ("language", {"augment": True}, "data.augment"),
        ("vision", {"augment": True}, "data.augment"),
        ("stage0", {"augment": True, "cache_images": True}, "data.cache_images"),
    ],
)
def test_augmentation_that_would_be_lost_is_refused(make_config, stage, data, where):
    with pytest.raises(ConfigError) as caught:
        make_config(stage, **data)
    assert caught.value.where == where


def test_it_is_on_in_stage_0_at_full_size_and_off_elsewhere():
    from zv_jax.configs import paper, quickstart, stage0, stage1, stage2

    on = [stage0.get_config("base"), stage0.get_config("chat"), paper.get_config("stage0_chat")]
    off = [stage1.get_config("chat"), stage2.get_config("base")]
    off += [quickstart.get_config(arg) for arg in quickstart.RECIPES]
    assert all(config.data.augment for config in on)
    assert not any(config.data.augment for config in off)
    fine_tuned = to_dict(validate(stage2.get_config("chat")))
    fine_tuned["data"]["augment"] = True
    validate(fine_tuned)
