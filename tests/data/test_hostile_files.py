"""Files that strangers made to run code, to take all memory, to never end, or by mistake.

Each is refused with an error of this program that names the file; nothing of it is run.
"""

import dataclasses
import io
import json
import os
import pickle
import sys
import tarfile
import tracemalloc

import pyarrow
import pyarrow.parquet
import pytest
import tensorflow_datasets as tfds

from tests.data.readers import layouts
from zv_jax import json_input
from zv_jax.cli import main as cli
from zv_jax.data.images import addresses as image_store
from zv_jax.data.public import catalogue
from zv_jax.data.readers import files, tars
from zv_jax.data.records import record as records_lib
from zv_jax.data.records import rules, validate
from zv_jax.data.records.record import ImageRef
from zv_jax.data.sources import convert
from zv_jax.data.sources import open as sources
from zv_jax.errors import DataError
from zv_jax.evaluation import predictions
from zv_jax.files import read_jsonl

CAPTION = {
    "id": "mine/train/0", "source": "mine", "split": "train", "task": "caption", "lang": "en",
    "images": [{"path": "a.png"}], "turns": [], "answers": ["a dog"],
}  # fmt: skip


def refused(name, root, split="train", words=""):
    with pytest.raises(DataError) as caught:
        list(catalogue.read(name, root, split))
    assert words in str(caught.value) and caught.value.where
    return caught.value


# Folders of TensorFlow Datasets.

_INFO = {
    "name": "evil", "version": "1.0.0", "fileFormat": "array_record", "moduleName": "evilmod",
    "splits": [{"name": "train", "numBytes": "10", "shardLengths": ["1"],
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"}],
}  # fmt: skip
_DICT = "tensorflow_datasets.core.features.features_dict.FeaturesDict"
FOREIGN = {
    "at the top": {"type": "evilmod.F", "content": "{}"},
    "within": {"type": _DICT, "content": {"a": {"type": "evilmod.F", "content": {}}}},
    "in the newer form": {"pythonClassName": "evilmod.F", "text": {}},
    "in the form of the library": {"python_class_name": "evilmod.F", "text": {}},
    "within a text": {
        "pythonClassName": _DICT,
        "jsonFeature": {"json": json.dumps({"a": {"type": "evilmod.F", "content": {}}})},
    },
    "a name that begins alike": {"type": "tensorflow_datasets.core.features_evil.F", "content": {}},
}


@pytest.fixture
def evil(tmp_path, monkeypatch):
    """A folder whose features are those of a module beside it, which is within reach."""
    monkeypatch.syspath_prepend(str(tmp_path))
    ran = tmp_path / "PWNED"
    (tmp_path / "evilmod.py").write_text(f"open({str(ran)!r}, 'w')")
    yield tmp_path
    assert not ran.exists() and "evilmod" not in sys.modules


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_folder_of_tfds_runs_no_code_that_it_names(evil, kind, capsys):
    layouts.dump(evil / "dataset_info.json", _INFO)
    layouts.dump(evil / "features.json", FOREIGN[kind])
    row = CAPTION | {"images": [{"shard_key": "dataset_info.json#train:0:image"}]}
    record = layouts.lines(evil / "mine.jsonl", [row])
    refused("tfds", evil, words="not one of TensorFlow Datasets itself")
    with pytest.raises(DataError):
        image_store.read(evil, ImageRef(shard_key="dataset_info.json#train:0:image"))
    assert cli.main(["data", "validate", str(record)]) == 2
    assert "TensorFlow Datasets" in "".join(capsys.readouterr())


def test_a_folder_of_tfds_names_files_beside_it_only(evil):
    layouts.dump(evil / "features.json", {"type": _DICT, "content": {}})
    split = _INFO["splits"][0] | {"filepathTemplate": "../{SPLIT}"}
    for bad in ({"name": "../x"}, {"splits": [split]}, {"splits": {}}):
        layouts.dump(evil / "dataset_info.json", _INFO | bad)
        refused("tfds", evil)


def test_the_module_that_made_a_data_set_is_not_needed(evil):
    features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
    features.save_config(evil)
    layouts.dump(evil / "dataset_info.json", _INFO)
    refused("tfds", evil, words="no data set of TensorFlow Datasets")  # there are no shards


# Halves of characters, numbers that are none, depth.


def test_half_a_character_is_said_wherever_text_is_read(tmp_path):
    half = json.dumps(CAPTION | {"answers": ["a\ud800"]})
    for field, row in {
        "answers[0]": half,
        "id": json.dumps(CAPTION | {"id": "\udc00"}),
        "meta": json.dumps(CAPTION | {"meta": {"deep": [{"a\ud800": 1}]}}),
        "images[0].path": json.dumps(CAPTION | {"images": [{"path": "\ud800.png"}]}),
    }.items():
        path = layouts.text(tmp_path / "mine.jsonl", row + "\n")
        ((line, errors),) = validate.check_file(path)
        assert line == 1 and repr(field) in errors[0].what
        refused("records", path)
    path.write_bytes(half.replace("\\ud800", "?").encode().replace(b"?", b"\xed\xa0\x80"))
    assert "UTF-8" in refused("records", path).what
    with pytest.raises(DataError, match="surrogate"):
        json_input.parse(half, "x")
    assert json_input.parse('["\\ud83d\\ude00"]', "x") == ["😀"]
    error = DataError("says \ud800", where="\ud800")
    assert str(error).encode() and error.where == "\\ud800"


def test_what_a_reader_of_published_files_lets_through_is_not_written(tmp_path):
    layouts.zero(tmp_path, "icr", label=False)
    (path,) = tmp_path.glob("*train.jsonl")
    row = json.loads(path.read_text("utf-8").splitlines()[0])
    path.write_text(json.dumps(row | {"text": "字\ud800"}) + "\n")
    refused("icr", tmp_path, words="surrogate")
    record = records_lib.from_json(CAPTION)
    for broken in ({"answers": ("\ud800",)}, {"meta": {"a": float("nan")}}, {"meta": {"a": set()}}):
        out = tmp_path / "out.jsonl"
        with pytest.raises(DataError, match="cannot be written"):
            convert.write_jsonl([dataclasses.replace(record, **broken)], out)
        assert not out.exists()


NO_NUMBERS = {
    "a huge box": {"objects": [{"box": [0, 0, 10**400, 1], "label": "a"}]},
    "a huge weight": {"weights": [10**400]},
    "a huge score": {"objects": [{"box": [0, 0, 1, 1], "label": "a", "score": 10**400}]},
    "an infinite score": {"objects": [{"box": [0, 0, 1, 1], "label": "a", "score": 1e999}]},
    "NaN in meta": {"meta": {"a": [float("nan")]}},
    "an object of 5,000 digits": {"answers": ["<obj_" + "1" * 5000 + ">"]},
    "nested 600 deep": {"meta": {"a": json.loads("[" * 600 + "]" * 600)}},
}


@pytest.mark.parametrize("kind", NO_NUMBERS)
def test_numbers_beyond_all_bounds_and_depth_are_said(kind):
    with pytest.raises(DataError) as caught:
        rules.require(records_lib.loads(json.dumps(CAPTION | NO_NUMBERS[kind]), "f:1"))
    assert len(str(caught.value)) < 1000


def test_a_line_of_brackets_is_no_record(tmp_path):
    path = layouts.text(tmp_path / "mine.jsonl", "[" * 100_000 + "\n" + json.dumps(CAPTION) + "\n")
    (first, second) = validate.check_file(path)
    assert "nested" in first[1][0].what and "picture" in second[1][0].what
    source = sources.open_source("jsonl", str(path), "train", tolerant=True)
    assert len(source) == 1 and len(source.broken) == 1
    log = layouts.text(tmp_path / "metrics.jsonl", '{"step": 1, "a": "\u2028"}\n' + "[" * 100_000)
    assert [row["step"] for row in read_jsonl(log)] == [1]


def test_more_images_than_a_table_can_count_are_no_crash(tmp_path):
    images = [{"path": "a.png"}] * 40_000
    path = layouts.lines(tmp_path / "mine.jsonl", [CAPTION | {"images": images}])
    assert sources.open_source("jsonl", str(path), "train").facts.images[0] == 32767


DEEP = {
    "lists": b"[" * 100_000,
    "objects": b'{"a":' * 50_000,
    "closed in texts": b'["]",' * 50_000,
    "behind an escaped quote": b'["\\\\",["\\"]]]",' * 30_000,
}


@pytest.mark.parametrize("kind", DEEP)
def test_a_nested_list_is_refused_before_it_takes_memory(tmp_path, kind):
    (tmp_path / "train.json").write_bytes(DEEP[kind])
    refused("llava_json", tmp_path, words="nested")
    (tmp_path / "chat.json").write_bytes(DEEP[kind])
    refused("llava_pretrain", tmp_path)


def test_brackets_are_counted_as_json_has_them_in_blocks_of_any_size():
    value = [{'a"[': ["]\\", '\\"[', "[[[" * 40, [], {}]}] * 3
    text = json.dumps(value).encode()
    for size in (1, 2, 3, 7, 1000):
        deepest, reader = 0, files.Shallow(io.BytesIO(text), "x")
        while reader.read(size):
            deepest = max(deepest, reader.depth)
        assert reader.depth == 0 and (size > 1 or deepest == 4)


MANY = 60_000  # names: compared with each other they would take minutes


def test_names_of_which_one_comes_twice_are_looked_at_once(tmp_path):
    names = [f"c{number}" for number in range(MANY)]
    row = "{" + ", ".join(f'"{name}": 0' for name in [*names, "c5"]) + "}"
    with pytest.raises(DataError, match="'c5' is there twice"):
        json_input.parse(row, "x", once=True)
    with pytest.raises(DataError, match="comes twice"):
        predictions.read(layouts.text(tmp_path / "answers.jsonl", row + "\n"), [])
    layouts.text(tmp_path / "train.csv", ",".join([*names, "c5"]) + "\n")
    refused("csv", tmp_path, words=f"columns 6 and {MANY + 1}")


def test_a_table_without_line_ends_is_not_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(json_input, "MAX_LINE", 1000)
    for text in ("image,caption\na.png," + "x" * 1001, "x" * 1001, "a,b\n" + "x," * 501):
        layouts.text(tmp_path / "train.csv", text)
        refused("csv", tmp_path, words="1,000 bytes")


# Archives.


def one_member(path, **fields):
    """A tar of one member with a header as `tarfile` would refuse to write it."""
    info = tarfile.TarInfo("a.txt")
    info.size = 5
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    for place, data in fields.get("header", {}).items():
        block[place : place + len(data)] = data
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    data = b"a dog".ljust(512, b"\0")
    path.write_bytes(bytes(block) + data + fields.get("rest", b"") + bytes(1024))
    return path


@pytest.mark.parametrize("kind", [b"0", b"5", b"L", b"x", b"g"])
def test_a_negative_or_a_huge_size_in_a_tar_ends(tmp_path, kind):
    for size in (b"\xff" * 11 + b"\x00", b"\x80" + b"\x00" * 3 + b"\x01" + b"\x00" * 7):
        path = one_member(tmp_path / "0.tar", header={124: size, 156: kind})
        with pytest.raises(DataError, match="tar cannot be read"):
            list(tars.samples(path))


def pax(kind, body, size=None):
    """A header of the kind `pax`: `g` is for all members that follow."""
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, len(body) if size is None else size
    return info.tobuf(tarfile.USTAR_FORMAT) + body + bytes(-len(body) % 512)


PAX = {
    "a gigabyte of it": pax(b"x", b"", size=2**30),
    "a row of digits": pax(b"x", b"1" * 2**20),
    "a length of many digits": pax(b"x", b"1" * 5000 + b" a=b\n"),
    "fields for all members": b"".join(pax(b"g", b"9 k%03d=v\n" % n) for n in range(101)),
}


@pytest.mark.parametrize("kind", PAX)
def test_headers_of_members_are_bounded(tmp_path, kind):
    member = layouts.tar(tmp_path / "0.tar", [("a.txt", "a dog")]).read_bytes()
    with open(tmp_path / "0.tar", "wb") as file:
        file.write(PAX[kind] + member)
        file.truncate(2**30 + 4096)  # which takes no place on the disk
    with pytest.raises(DataError, match="a header of|of more than 100 digits|fields for all"):
        list(tars.samples(tmp_path / "0.tar"))


def test_members_that_were_read_are_not_kept(tmp_path):
    names = [(f"{n}.txt", "a dog") for n in range(2000)]
    fields = pax(b"g", b"".join(b"9 k%03d=v\n" % n for n in range(100)))
    path = layouts.tar(tmp_path / "0.tar", names)
    path.write_bytes(fields + path.read_bytes())
    tracemalloc.start()
    try:
        assert sum(1 for _ in tars.samples(path)) == 2000
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_broken_header_is_not_the_end_of_a_tar(tmp_path):
    path = layouts.tar(tmp_path / "0.tar", [("a.txt", "a"), ("b.txt", "b")])
    data = bytearray(path.read_bytes())
    data[1024] ^= 1  # the name of the second
    path.write_bytes(data)
    with pytest.raises(DataError, match="damaged header at byte 1024"):
        list(tars.samples(path))


def test_texts_in_a_tar_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(json_input, "MAX_LINE", 100)
    path = layouts.tar(tmp_path / "0.tar", [("a.txt", "a" * 101)])
    with pytest.raises(DataError, match="more than 100 bytes"):
        list(tars.samples(path))


@pytest.mark.parametrize("place", ["0:1000000000000000", "0:-1", "-1:5", "9" * 5000, "a:b", "0"])
def test_an_address_in_a_tar_is_within_it(tmp_path, place):
    one_member(tmp_path / "x.tar")
    with pytest.raises(DataError):
        image_store.read(tmp_path, ImageRef(shard_key=f"x.tar#{place}"))


def test_a_pipe_is_no_image_and_no_shard(tmp_path):
    for name in ("a.png", "x.tar", "chat.json"):
        os.mkfifo(tmp_path / name)
    for ref in (ImageRef(path="a.png"), ImageRef(shard_key="x.tar#0:5")):
        for read in (image_store.load, image_store.read):
            with pytest.raises(DataError, match="no file"):
                read(tmp_path, ref)
    refused("llava_pretrain", tmp_path, words="no regular file")


def test_a_pickle_of_lists_that_hold_each_other_is_refused(tmp_path):
    layouts.refcoco(tmp_path)
    (path,) = tmp_path.rglob("refs(unc).p")
    held = {"split": "train"}
    for _ in range(40):
        held = [held] * 5
    text = "a dog " * 1000  # once in the file, whatever its number
    for value in ([held], [{"split": held}], [["a"] * 50] * 10, [{"sent": text}] * 1000):
        path.write_bytes(pickle.dumps(value))
        refused("refcoco", tmp_path)


@pytest.mark.parametrize("put", [b"r\xff\xff\xff\x3f", b"p1000000000\n"])
def test_a_pickle_that_numbers_its_values_from_a_billion_is_refused(tmp_path, put):
    layouts.refcoco(tmp_path)
    (path,) = tmp_path.rglob("refs(unc).p")
    path.write_bytes(b"(l" + put + b".")
    tracemalloc.start()
    try:
        refused("refcoco", tmp_path, words="value number 1")
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()


def test_files_beside_a_data_set_are_not_reached_through_it(tmp_path):
    root = tmp_path / "set"
    outside = layouts.dump(tmp_path / "outside.arrow", [])
    for name in ("../outside.arrow", str(outside), 5, ""):
        layouts.dump(root / "state.json", {"_data_files": [{"filename": name}]})
        refused("hf_disk", root)
    layouts.vcr(tmp_path / "vcr")
    (path,) = (tmp_path / "vcr").rglob("train.jsonl")
    row = json.loads(path.read_text("utf-8").splitlines()[0])
    layouts.dump(tmp_path / "vcr" / "facts.json", {})
    for name in ("", "../facts.json", ".", "x" * 5000, "\0", 5, None):
        layouts.lines(path, [row | {"metadata_fn": name}])
        refused("vcr", tmp_path / "vcr")


# Files of published data sets with one value of another kind.

DAMAGED = {
    "captions without a number": ("textcaps", lambda r: r["data"][0].pop("image_id")),
    "captions of a list": ("textcaps", lambda r: r["data"][0].update(image_id=[1])),
    "an unhashable number": ("nocaps", lambda r: r["annotations"][0].update(image_id=[1])),
    "answers of another kind": ("vqav2", lambda r: r["annotations"][0].update(answers=5)),
    "an answer that is a number": ("vqav2", lambda r: r["annotations"][0].update(answers=[5])),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_value_of_another_kind_is_named_with_its_place(tmp_path, kind):
    name, damage = DAMAGED[kind]
    getattr(layouts, name)(tmp_path)
    damaged = 0
    for path in tmp_path.rglob("*.json"):
        body = json.loads(path.read_text("utf-8"))
        try:
            damage(body)
        except (KeyError, TypeError):
            continue
        layouts.dump(path, body)
        damaged += 1
    assert damaged
    split = "train" if name == "vqav2" else "val"
    assert "item 0" in refused(name, tmp_path, split).where


@pytest.mark.parametrize("sides", [(0, 480), (640, 0), (-1, 480), ("640", 480), (None, None)])
def test_an_image_without_an_area_is_said(tmp_path, sides):
    layouts.visual_genome(tmp_path)
    path = tmp_path / "image_data.json"
    rows = json.loads(path.read_text("utf-8"))
    for row in rows:
        row["width"], row["height"] = sides
    layouts.dump(path, rows)
    refused("visual_genome", tmp_path)


@pytest.mark.parametrize("text", ["NaN", "[1, 2]", '"a dog"', "null"])
def test_the_text_of_an_image_that_is_json_but_no_object_is_said(tmp_path, text):
    layouts.one_image(tmp_path / "folder" / "1.jpg")
    layouts.text(tmp_path / "folder" / "1.json", text)
    refused("folder", tmp_path / "folder", words="no object")
    (tmp_path / "tars").mkdir()
    layouts.tar(tmp_path / "tars" / "0.tar", [("1.jpg", layouts.jpeg()), ("1.json", text)])
    refused("webdataset", tmp_path / "tars", words="no object")


def test_a_lone_carriage_return_in_a_table_is_said(tmp_path):
    (tmp_path / "train.csv").write_bytes(b'image,caption\na.png,"a\rb" c\rd\n')
    refused("csv", tmp_path)
    (tmp_path / "train.csv").write_bytes(b"\xff\xfei\0m\0a\0g\0e\0\n\0x")
    refused("csv", tmp_path)


def test_a_damaged_table_of_columns_is_said_whatever_is_damaged(tmp_path):
    path = tmp_path / "train.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"caption": ["a dog"] * 50}), path, compression=None)
    sound = path.read_bytes()
    for place in range(4, len(sound), 7):
        data = bytearray(sound)
        data[place] ^= 0xFF
        path.write_bytes(data)
        try:
            list(catalogue.read("parquet", tmp_path))
        except DataError as error:
            assert error.where
    for labels in (b"[", b'{"info": {"features": {"caption": {"_type": "ClassLabel"}}}}'):
        table = pyarrow.table({"caption": ["a"]}).replace_schema_metadata({"huggingface": labels})
        pyarrow.parquet.write_table(table, path)
        refused("parquet", tmp_path, words="Hugging Face")
