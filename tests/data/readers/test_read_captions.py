"""Caption readers on files in the public layout."""

import pytest

from tests.data.readers import layouts
from zv_jax.data.public import catalogue
from zv_jax.errors import DataError


def read(name, root, split="train", **options):
    return list(catalogue.read(name, root, split, **options))


def images(records):
    return [r.images[0].path for r in records]


def test_coco_captions_join_train_and_restval_and_keep_all_references(tmp_path):
    layouts.coco_caption(tmp_path)
    records = read("coco_caption", tmp_path)
    assert [r.id for r in records] == ["coco_caption/train/9", "coco_caption/train/42"]
    assert images(records) == [
        "train2014/COCO_train2014_000000000009.jpg",
        "val2014/COCO_val2014_000000000042.jpg",
    ]
    assert records[0].answers == ("A dog.", "Picture 9.")
    assert [r.id for r in read("coco_caption", tmp_path, "test")] == ["coco_caption/test/391895"]


def test_ai_challenger_ids_are_file_names(tmp_path):
    layouts.ai_challenger(tmp_path)
    first, _ = read("ai_challenger", tmp_path)
    assert first.id == "ai_challenger/train/8f00f3d0f1008e085ab660e70dffced16a8259f0"
    assert first.lang == "zh" and len(first.answers) == 5
    folder = "ai_challenger_caption_train_20170902/caption_train_images_20170902"
    assert images([first]) == [f"{folder}/8f00f3d0f1008e085ab660e70dffced16a8259f0.jpg"]


def test_coco_cn_keys_end_at_a_tab_or_a_blank_and_the_two_kinds_of_texts_stay_apart(tmp_path):
    layouts.coco_cn(tmp_path)
    (train,) = read("coco_cn", tmp_path)
    assert train.answers == ("一只狗",)
    assert images([train]) == ["train2014/COCO_train2014_000000000009.jpg"]
    (written,) = read("coco_cn", tmp_path, "test")
    (translated,) = read("coco_cn", tmp_path, "test_translated")
    assert written.answers == ("两只猫",) and written.translated_from is None
    assert len(translated.answers) == 5 and translated.translated_from == "en"
    assert written.images == translated.images


def test_flickr30k_by_karpathy_or_whole(tmp_path):
    layouts.flickr30k(tmp_path)
    assert [len(read("flickr30k", tmp_path, s)) for s in ("train", "val", "test", "all")] == [
        2,
        1,
        1,
        4,
    ]
    (test,) = read("flickr30k", tmp_path, "test")
    assert images([test]) == ["flickr30k-images/1003.jpg"]
    assert test.answers == tuple(f"Man {k}." for k in range(5))
    # The same images have the same names whichever file they are read from.
    apart = [i for s in ("train", "val", "test") for i in images(read("flickr30k", tmp_path, s))]
    assert apart == images(read("flickr30k", tmp_path, "all"))


def test_flickr30k_in_chinese_groups_five_lines_and_drops_tags(tmp_path):
    layouts.flickr30k_cna(tmp_path)
    records = read("flickr30k_cna", tmp_path, "test")
    assert images(records) == ["flickr30k-images/1000.jpg", "flickr30k-images/1001.jpg"]
    assert records[0].answers == tuple(f"男人{k}" for k in range(5))
    layouts.flickr30k_cn(tmp_path)
    (record,) = read("flickr30k_cn", tmp_path, "test")
    # The second text is no tagged one: a fraction is not a tag.
    assert record.answers == ("一个男人", "他 在 1/2 处")
    assert record.translated_from == "en"


def test_textcaps_rows_of_one_image_are_one_record(tmp_path):
    layouts.textcaps(tmp_path)
    records = read("textcaps", tmp_path, "val")
    assert [r.answers for r in records] == [("A sign reads stop.", "Stop sign."), ("A can.",)]
    assert images(records)[0] == "train_images/0a1b.jpg", "pictures of val lie with those of train"


def test_nocaps_joins_ten_captions_and_the_domain(tmp_path):
    layouts.nocaps(tmp_path)
    records = read("nocaps", tmp_path, "val")
    assert [len(r.answers) for r in records] == [10, 10]
    assert [r.meta["question_type"] for r in records] == ["in-domain", "out-domain"]
    assert (records[0].images[0].width, records[0].images[0].height) == (640, 480)


@pytest.mark.parametrize(
    ("name", "template"), [("icm", None), ("iqm", "query"), ("icr", None), ("iqr", "query")]
)
def test_zero_matches_and_only_what_matches_is_a_caption(tmp_path, name, template):
    matching = name.endswith("m")
    layouts.zero(tmp_path, name, label=matching)
    records = read(name, tmp_path)
    captions = [r for r in records if r.task == "caption"]
    matches = [r for r in records if r.task == "match"]
    assert [r.answers for r in matches] == ([("是",), ("否",)] if matching else [])
    assert [r.answers for r in captions] == [("黑色皮鞋",), ("红色雨伞",)][: 1 if matching else 2]
    assert all(r.meta.get("template") == template for r in captions)


def test_a_missing_file_names_what_was_looked_for(tmp_path):
    with pytest.raises(DataError, match="zv data list") as caught:
        read("coco_caption", tmp_path)
    assert "dataset_coco.json" in str(caught.value)


def test_a_file_cut_short_is_named(tmp_path):
    layouts.coco_caption(tmp_path)
    path = tmp_path / "dataset_coco.json"
    path.write_text(path.read_text()[:-40])
    with pytest.raises(DataError, match="cut short") as caught:
        read("coco_caption", tmp_path)
    assert "dataset_coco.json" in str(caught.value)


def test_another_layout_names_file_item_and_field(tmp_path):
    layouts.dump(tmp_path / "dataset_coco.json", {"images": [{"split": "train", "cocoid": 3}]})
    with pytest.raises(DataError) as caught:
        read("coco_caption", tmp_path)
    assert "dataset_coco.json item 0" in str(caught.value) and "'filepath'" in str(caught.value)
    layouts.dump(tmp_path / "dataset_coco.json", [1, 2])
    with pytest.raises(DataError, match="nothing at 'images.item'"):
        read("coco_caption", tmp_path)
