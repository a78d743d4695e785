"""Web pairs: lists of urls in their several orders, and tars of downloaded images."""

import json

import pyarrow
import pyarrow.parquet
import pytest

from tests.data.readers import layouts
from zv_jax.data.images import addresses as image_store
from zv_jax.data.public import catalogue
from zv_jax.errors import DataError


def read(name, root, split="train"):
    return list(catalogue.read(name, root, split))


def pairs(records):
    return [(r.images[0].url, r.answers) for r in records]


def test_conceptual_captions_have_the_text_first_and_blanks_before_punctuation(tmp_path):
    layouts.text(
        tmp_path / "Train_GCC-training.tsv",
        'a dog , running ( fast ) .\thttp://x.example/1.jpg\n"quoted" text\thttps://x.example/2\n',
    )
    assert pairs(read("cc3m", tmp_path)) == [
        ("http://x.example/1.jpg", ("a dog, running (fast).",)),
        ("https://x.example/2", ('"quoted" text',)),
    ]


def test_conceptual_12m_has_the_url_first_and_masked_names(tmp_path):
    layouts.text(
        tmp_path / "cc12m.tsv",
        "http://x.example/1.jpg\t<PERSON> in Paris\nhttp://x.example/2.jpg\t<PERSON>\n",
    )
    (record,) = read("cc12m", tmp_path)
    assert record.answers == ("in Paris",), "a text of nothing but a name is no caption"


def test_wukong_in_several_files_with_a_header(tmp_path):
    for part in range(2):
        layouts.text(
            tmp_path / f"wukong_release/wukong_100m_{part}.csv",
            f'url,caption\nhttps://x.example/{part},"<人名>在打球, 第{part}场"\n',
        )
    records = read("wukong", tmp_path)
    assert [r.answers for r in records] == [("在打球, 第0场",), ("在打球, 第1场",)]
    assert len({r.id for r in records}) == 2 and records[0].lang == "zh"


def test_a_row_without_a_url_is_named_unless_it_is_the_header(tmp_path):
    layouts.text(tmp_path / "cc12m.tsv", "url\tcaption\nhttp://x/1\ta\nnot a url\tb\n")
    with pytest.raises(DataError, match="no column holds a url") as caught:
        read("cc12m", tmp_path)
    assert ".tsv:3" in str(caught.value)


def test_sbu_as_two_files_or_as_json(tmp_path):
    name = "SBU_captioned_photo_dataset_{}.txt"
    layouts.text(tmp_path / name.format("urls"), "http://x/1\nhttp://x/2\n")
    layouts.text(tmp_path / name.format("captions"), "one\ntwo\n")
    expected = [("http://x/1", ("one",)), ("http://x/2", ("two",))]
    assert pairs(read("sbu", tmp_path)) == expected
    (tmp_path / name.format("urls")).unlink()
    both = {"image_urls": ["http://x/1", "http://x/2"], "captions": ["one", "two"]}
    layouts.dump(tmp_path / "sbu-captions-all.json", both)
    assert pairs(read("sbu", tmp_path)) == expected
    layouts.dump(tmp_path / "sbu-captions-all.json", both | {"captions": ["one"]})
    with pytest.raises(DataError, match="1 texts for 2 urls"):
        read("sbu", tmp_path)


def test_laion_keeps_chinese_rows_only(tmp_path):
    rows = {
        "URL": ["http://x/1", "http://x/2", "http://x/3"],
        "TEXT": ["山水画", "a painting", None],
        "WIDTH": [1024, 10, 5],
        "HEIGHT": [768, 10, 5],
        "LANGUAGE": ["zh", "en", "zh"],
        "similarity": [0.31, 0.2, 0.3],
        "punsafe": [0.01, 0.0, 0.0],
        "hash": [1, 2, 3],
    }
    pyarrow.parquet.write_table(pyarrow.table(rows), tmp_path / "part-00000.parquet")
    (record,) = read("laion_zh", tmp_path)
    assert record.answers == ("山水画",) and record.images[0].width == 1024
    assert record.meta == {"similarity": 0.31, "punsafe": 0.01}


@pytest.fixture
def shards(tmp_path):
    def sample(key, text, **facts):
        facts = {"caption": text, "url": f"http://x/{key}", "status": "success", "key": key} | facts
        return [
            (f"{key}.jpg", layouts.jpeg("blue", (int(key[-1]) + 2, 5))),
            (f"{key}.txt", text),
            (f"{key}.json", json.dumps(facts)),
        ]

    layouts.tar(
        tmp_path / "00000.tar",
        [
            *sample("000000000", "<人名>的狗", LANGUAGE="zh", similarity=0.3),
            ("000000001.json", json.dumps({"caption": "lost", "status": "failed"})),
            *sample("000000002", "a cat", LANGUAGE="en"),
        ],
    )
    layouts.tar(tmp_path / "00001.tar", sample("000010003", "猫", LANGUAGE="zh"))
    return tmp_path


def test_tars_of_img2dataset_are_read_instead_of_the_list(shards):
    layouts.text(shards / "cc12m.tsv", "http://x/1\tnot read\n")
    records = read("cc12m", shards)
    assert [r.answers[0] for r in records] == ["的狗", "a cat", "猫"], "a lost picture is left out"
    assert [image_store.load(shards, r.images[0]).size for r in records] == [(2, 5), (4, 5), (5, 5)]
    assert records[0].id == "cc12m/train/00000/000000000"
    assert [r.answers[0] for r in read("laion_zh", shards)] == ["的狗", "猫"]


def test_a_tar_cut_short_is_named(shards):
    path = shards / "00001.tar"
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(DataError, match="tar cannot be read") as caught:
        read("cc12m", shards)
    assert "00001.tar" in str(caught.value)
