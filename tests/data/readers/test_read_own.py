"""What people bring: tables, folders, tars, Parquet, saved data sets, in both languages."""

import json

import pyarrow
import pyarrow.parquet
import pytest

from tests.data.readers import layouts
from zv_jax.data.images import addresses as image_store
from zv_jax.data.public import catalogue
from zv_jax.data.text.dialogue import exchanges
from zv_jax.errors import DataError


def read(name, root, split="train", **options):
    return list(catalogue.read(name, root, split, **options))


def said(record):
    return [(e.question, e.answer, e.images) for e in exchanges(record, box_decimals=3)]


def test_records_of_ours_by_split(tmp_path):
    layouts.own_records(tmp_path, "mine", translated=False)
    (record,) = read("records", tmp_path)
    assert record.source == "mine"
    for name, root in (("records", tmp_path / "train.jsonl"), ("records", tmp_path)):
        with pytest.raises(DataError, match="no record of split 'val'|not found: val"):
            read(name, root, "val")


def test_files_of_another_split_do_not_pass_for_the_one_asked_for(tmp_path):
    """They would be scored as `val` and hold what is learned."""
    layouts.own_records(tmp_path, "bmmic", translated=False)
    (tmp_path / "train.jsonl").rename(tmp_path / "bmmic.jsonl")
    with pytest.raises(DataError, match="(?s)no record of split 'val'.*one of train"):
        read("bmmic", tmp_path, "val")
    table = pyarrow.table({"question": ["What?"], "answer": ["red"]})
    pyarrow.parquet.write_table(table, tmp_path / "train-00000.parquet")
    (tmp_path / "train.csv").write_text("question,answer\nWhat?,red\n")
    talk = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "red"}]
    layouts.dump(tmp_path / "train.json", [{"id": "a", "conversations": talk}])
    for name in ("parquet", "csv", "llava_json"):
        assert len(read(name, tmp_path, "train")) == 1
        with pytest.raises(DataError, match="(?s)no split 'val' here.*'train'.*--split=train"):
            read(name, tmp_path, "val")
    (tmp_path / "train.csv").rename(tmp_path / "mine.csv")
    assert len(read("csv", tmp_path, "val")) == 1, "a table that names no split may be any"
    layouts.one_image(tmp_path / "photos" / "train" / "1.png")
    (tmp_path / "photos" / "train" / "1.txt").write_text("a red square")
    assert len(read("folder", tmp_path / "photos", "train")) == 1
    with pytest.raises(DataError, match="(?s)no split 'val' here.*photos/train.*--split=train"):
        read("folder", tmp_path / "photos", "val")


def test_conversations_keep_placeholders_only_where_there_are_several_images(tmp_path):
    turns = [
        {"from": "human", "value": "<image>\n这是什么？"},
        {"from": "gpt", "value": "猫。"},
        {"from": "human", "value": "<image>那这个呢？"},
        {"from": "gpt", "value": "狗。"},
    ]
    rows = [
        {"id": "a", "image": ["1.jpg", "2.jpg"], "conversations": turns},
        {"id": "b", "image": "1.jpg", "conversations": turns[:2]},
        {"id": "c", "conversations": [turns[1] | {"from": "human"}, turns[1] | {"value": "Yes"}]},
    ]
    layouts.dump(tmp_path / "train.json", rows)
    two, one, none = read("llava_json", tmp_path)
    assert said(two) == [("这是什么？", "猫。", (0,)), ("那这个呢？", "狗。", (1,))]
    assert said(one) == [("这是什么？", "猫。", (0,))] and two.lang == "zh"
    assert none.images == () and none.lang == "en"
    rows[0]["conversations"][0]["from"] = "bot"
    layouts.dump(tmp_path / "train.json", rows)
    with pytest.raises(DataError, match="a turn from 'bot'") as caught:
        read("llava_json", tmp_path)
    assert "train.json item 0" in str(caught.value)


def test_json_lines_of_image_and_texts(tmp_path):
    layouts.lines(
        tmp_path / "train.jsonl",
        [
            {"image": "1.jpg", "text_input": "What is it?", "text_output": "A cat"},
            {"image": "2.jpg", "caption": "一只狗在草地上"},
            {"image": ["3.jpg"], "question": "多少？", "answers": ["两个", "2"]},
        ],
    )
    ask, caption, many = read("pairs_jsonl", tmp_path)
    assert (ask.task, ask.lang, said(ask)) == ("vqa", "en", [("What is it?", "A cat", (0,))])
    assert (caption.task, caption.lang) == ("caption", "zh")
    assert caption.answers == ("一只狗在草地上",)
    assert many.answers == ("两个", "2") and many.images[0].path == "3.jpg"


@pytest.mark.parametrize(("suffix", "sep"), [("csv", ","), ("tsv", "\t")])
def test_tables_with_any_column_names(tmp_path, suffix, sep):
    rows = ["图片", "问题", "回答"], ["1.jpg", "什么颜色？", "红色"]
    layouts.text(tmp_path / f"train.{suffix}", "".join(sep.join(r) + "\n" for r in rows))
    (record,) = read("csv", tmp_path)
    assert (record.lang, said(record)) == ("zh", [("什么颜色？", "红色", (0,))])
    rows = ["pic", "words"], ["1.jpg", "a red car"]
    layouts.text(tmp_path / f"train.{suffix}", "".join(sep.join(r) + "\n" for r in rows))
    columns = {"image": "pic", "caption": "words"}
    (record,) = read("csv", tmp_path, columns=columns)
    assert (record.images[0].path, record.answers) == ("1.jpg", ("a red car",))
    with pytest.raises(DataError, match="--columns=image=") as caught:
        read("csv", tmp_path)
    assert "pic, words" in str(caught.value)
    with pytest.raises(DataError, match="did you mean 'pic'"):
        read("csv", tmp_path, columns=columns | {"image": "pick"})
    with pytest.raises(DataError, match="did you mean 'caption'"):
        read("csv", tmp_path, columns={"image": "pic", "captoin": "words"})


def test_a_row_with_too_few_cells_is_named(tmp_path):
    layouts.text(tmp_path / "train.csv", "image,caption\n1.jpg,a\n2.jpg\n")
    with pytest.raises(DataError, match="1 columns instead of 2") as caught:
        read("csv", tmp_path)
    assert "train.csv:3" in str(caught.value)


def test_images_with_texts_beside_them(tmp_path):
    layouts.one_image(tmp_path / "dogs" / "1.jpg")
    layouts.text(tmp_path / "dogs" / "1.txt", "一只狗\n")
    layouts.one_image(tmp_path / "2.PNG")
    layouts.dump(tmp_path / "2.json", {"question": "What?", "answer": "A cat"})
    ask, caption = read("folder", tmp_path)
    assert [ask.images[0].path, caption.images[0].path] == ["2.PNG", "dogs/1.jpg"]
    assert caption.answers == ("一只狗",) and said(ask) == [("What?", "A cat", (0,))]
    layouts.one_image(tmp_path / "3.jpg")
    with pytest.raises(DataError, match="without a text: 3.jpg"):
        read("folder", tmp_path)


def test_webdataset_with_questions_or_captions(tmp_path):
    facts = json.dumps({"question": "什么？", "answer": "狗"})
    layouts.tar(
        tmp_path / "train-000.tar",
        [
            ("a/001.cls.jpg", layouts.jpeg("red", (3, 4))),
            ("a/001.json", facts),
            ("b.png", layouts.jpeg("blue", (5, 4))),
            ("b.txt", "a cat"),
        ],
    )
    ask, caption = read("webdataset", tmp_path)
    assert said(ask) == [("什么？", "狗", (0,))] and caption.answers == ("a cat",)
    sizes = [image_store.load(tmp_path, r.images[0]).size for r in (ask, caption)]
    assert sizes == [(3, 4), (5, 4)]


def table(sizes=((3, 4), (5, 4), (7, 4))):
    cells = [{"bytes": layouts.jpeg("red", size), "path": "x.jpg"} for size in sizes]
    return pyarrow.table({"image": cells, "text": ["一", "二", "三"][: len(sizes)]})


def test_parquet_images_are_addressed_by_row(tmp_path):
    pyarrow.parquet.write_table(
        table(), tmp_path / "train-00000-of-00001.parquet", row_group_size=2
    )
    pyarrow.parquet.write_table(table(((1, 1),)), tmp_path / "test-00000-of-00001.parquet")
    records = read("parquet", tmp_path)
    assert [r.answers for r in records] == [("一",), ("二",), ("三",)]
    sizes = [image_store.load(tmp_path, r.images[0]).size for r in records]
    assert sizes == [(3, 4), (5, 4), (7, 4)]
    (tmp_path / "train-00000-of-00001.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match="no Parquet file"):
        read("parquet", tmp_path)


def save_to_disk(folder, name="data-00000-of-00001.arrow"):
    """The files `datasets.Dataset.save_to_disk` writes."""
    folder.mkdir(parents=True)
    rows = table()
    with pyarrow.ipc.new_stream(str(folder / name), rows.schema) as writer:
        writer.write_table(rows, max_chunksize=2)
    state = {"_data_files": [{"filename": name}], "_fingerprint": "f", "_split": "train"}
    layouts.dump(folder / "state.json", state)
    layouts.dump(folder / "dataset_info.json", {"features": {}})


def test_a_hugging_face_data_set_saved_to_disk(tmp_path):
    layouts.dump(tmp_path / "dataset_dict.json", {"splits": ["train", "test"]})
    save_to_disk(tmp_path / "train")
    records = read("hf_disk", tmp_path)
    assert [r.answers[0] for r in records] == ["一", "二", "三"]
    assert [image_store.load(tmp_path, r.images[0]).size for r in records] == [
        (3, 4),
        (5, 4),
        (7, 4),
    ]
    with pytest.raises(DataError, match="one of train, test"):
        read("hf_disk", tmp_path, "val")
    layouts.dump(
        tmp_path / "train" / "state.json",
        {"_data_files": [], "_indices_files": [{"filename": "indices.arrow"}]},
    )
    with pytest.raises(DataError, match="flatten_indices"):
        read("hf_disk", tmp_path)


def test_tensorflow_datasets_without_tensorflow(tmp_path):
    import tensorflow_datasets as tfds
    from etils import epath

    class Tiny(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        code_path = epath.Path(__file__)
        pkg_dir_path = epath.Path(tmp_path)

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
                "captions": tfds.features.Sequence({"text": tfds.features.Text()}),
                "objects": tfds.features.Sequence(
                    {
                        "bbox": tfds.features.BBoxFeature(),
                        "label": tfds.features.ClassLabel(names=["cat", "dog"]),
                    }
                ),
            }
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            path = tmp_path / "1.jpg"
            path.write_bytes(layouts.jpeg("red", (9, 5)))
            box = tfds.features.BBox(ymin=0.1, xmin=0.2, ymax=0.5, xmax=0.6)
            yield (
                0,
                {
                    "image": str(path),
                    "captions": [{"text": "a dog"}, {"text": "一只狗"}],
                    "objects": [{"bbox": box, "label": "dog"}],
                },
            )

    builder = Tiny(data_dir=tmp_path / "tfds", file_format="array_record")
    builder.download_and_prepare()
    (record,) = read("tfds", builder.data_path)
    assert record.answers == ("a dog", "一只狗")
    (thing,) = record.objects
    assert thing.label == "dog" and thing.box == pytest.approx((0.2, 0.1, 0.6, 0.5))
    assert image_store.load(builder.data_path, record.images[0]).size == (9, 5)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("a.tar", "cannot be read"),
        ("a.bin#1:2", "cannot be read"),
        ("a.tar#x:y", "no picture at this address"),
        ("a.tar#0:999999", "ends before byte"),
        ("none.tar#0:5", "shard not found"),
        ("../a.tar#0:5", "outside the image root"),
        ("a.jsonl#0:/images/0", "no picture at this address"),
        ("a.jsonl#0:/images/5", "no picture at this address"),
        ("a.jsonl#0:/photos/0", "no picture at this address"),
        ("a.parquet#0:photo", "no picture at this address"),
        ("a.parquet#0:image/5", "no picture at this address"),
        ("a.parquet#9:image", "no picture at this address"),
    ],
)
def test_a_wrong_address_is_explained(tmp_path, address, says):
    from zv_jax.data.records.record import ImageRef

    layouts.tar(tmp_path / "a.tar", [("1.jpg", layouts.jpeg())])
    layouts.lines(tmp_path / "a.jsonl", [{"images": [None, 7]}])
    pyarrow.parquet.write_table(table(), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=says):
        image_store.load(tmp_path, ImageRef(shard_key=address))


def test_lines_in_two_languages_beside_an_image_are_a_caption_in_each(tmp_path):
    layouts.one_image(tmp_path / "lion.png")
    (tmp_path / "lion.txt").write_text("A sea lion.\n一只海豹。\n", "utf-8")
    english, chinese = read("folder", tmp_path)
    assert (english.lang, english.answers) == ("en", ("A sea lion.",))
    assert (chinese.lang, chinese.answers) == ("zh", ("一只海豹。",))
    assert english.images == chinese.images and english.id != chinese.id
