"""Files of own tables as spreadsheets, pandas, Windows and tar write them."""

import gzip
import io
import json

import pyarrow
import pyarrow.parquet
import pytest

from tests.data.readers import layouts
from zv_jax.data.images import addresses as image_store
from zv_jax.data.public import catalogue
from zv_jax.data.readers.intake import Intake
from zv_jax.errors import DataError


def read(name, root, split="train", **options):
    intake = Intake(0.01)
    return list(catalogue.read(name, root, split, intake=intake, **options)), intake


def refused(name, root, **options):
    with pytest.raises(DataError) as caught:
        read(name, root, **options)
    return str(caught.value)


def captions(folder, text, name="mine.csv", encoding="utf-8"):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return [record.answers[0] for record in read("csv", path)[0]]


# CSV


@pytest.mark.parametrize("sep", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_quoted_fields_with_any_separator_and_line_end(tmp_path, sep, end):
    rows = [("image", "caption"), ("1.png", '"红, ""bright""; a\tb|c"'), ("2.png", "蓝")]
    text = "".join(sep.join(row) + end for row in rows)
    name = "mine.tsv" if sep == "\t" else "mine.csv"
    assert captions(tmp_path, text, name) == ['红, "bright"; a\tb|c', "蓝"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_paragraphs_in_a_field_stay(tmp_path, encoding, end):
    text = end.join(["image,caption", '1.png,"一', "", '二"', "", "2.png,b", ""])
    assert captions(tmp_path, text, encoding=encoding) == ["一\n\n二", "b"]


def test_a_separator_may_be_declared_and_ends_may_trail(tmp_path):
    assert captions(tmp_path, "sep=;\nimage;caption;;\n1.png;a, b;;\n") == ["a, b"]


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ('image,caption\n1.png,"a\n\nb"\n\n2.png,a,extra\n', 6, "3 columns instead of 2"),
        ("image,caption\n\n\n1.png\n", 4, "1 columns instead of 2"),
        ("image,caption,caption\n1.png,a,b\n", 1, "'caption' is there twice: columns 2 and 3"),
        ('image,caption\n1.png,a\n2.png,"b\n3.png,c\n', 3, "does not end"),
        ('image,caption\n1.png,"a" b\n', 2, "does not end"),
    ],
)
def test_a_damaged_row_is_named_by_its_line(tmp_path, text, line, says):
    layouts.text(tmp_path / "mine.csv", text)
    error = refused("csv", tmp_path / "mine.csv")
    assert f"mine.csv:{line}\n" in error and says in error and "fix:" in error


def test_rows_of_a_tsv_that_quotes_would_swallow_are_refused(tmp_path):
    text = 'image\tcaption\n1.png\t"He said\n2.png\tshe said"\n'
    layouts.text(tmp_path / "mine.tsv", text)
    error = refused("csv", tmp_path / "mine.tsv")
    assert "mine.tsv:2\n" in error and "rows run into each other" in error


@pytest.mark.parametrize(
    ("encoding", "mend", "line"),
    [("gb18030", "GB18030", 2), ("utf-16-le", "UTF-16LE", 1), ("utf-16-be", "UTF-16BE", 1)],
)
def test_another_encoding_is_named_with_its_line(tmp_path, encoding, mend, line):
    path = tmp_path / "mine.csv"
    path.write_bytes("image,caption\n1.png,红\n".encode(encoding))
    error = refused("csv", path)
    assert f"iconv -f {mend} -t UTF-8" in error and f"mine.csv:{line}\n" in error


def test_cells_that_pandas_wrote_are_read_back(tmp_path):
    rows = [
        ["", "images", "question", "answers"],
        ["0", "['1.png', '2.png']", "什么？", "['红', '蓝']"],
        ["1", '["1.png"]', "在哪？", "[0.1, 0.2, 0.3, 0.4]"],
        ["2", "nan", "什么？", "nan"],
        ["3", "None", "多少？", "3"],
    ]
    text = "\n".join(",".join('"' + c.replace('"', '""') + '"' for c in row) for row in rows)
    layouts.text(tmp_path / "mine.csv", text)
    records, intake = read("csv", tmp_path / "mine.csv")
    assert [len(record.images) for record in records] == [2, 1, 0]
    assert records[0].answers == ("红", "蓝")
    assert records[1].turns[1].text == "[0.1, 0.2, 0.3, 0.4]", "a box to say is no list"
    assert [error.where.rpartition(":")[2] for error in intake.bad] == ["4"]
    assert intake.unused == {"column 1": 3}


# JSON


ROWS = [{"image": "1.png", "caption": "一"}, {"image": "2.png", "caption": "b"}]
FORMS = {
    "a list": json.dumps(ROWS),
    "a list over lines": json.dumps(ROWS, indent=1),
    "lines": "".join(json.dumps(row) + "\n" for row in ROWS),
    "lines, Windows": "\n\r\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS),
    "objects over lines": "\n".join(json.dumps(row, indent=1) for row in ROWS),
    "a list in an object": json.dumps({"version": "1.0", "data": ROWS}, indent=1),
    "a list in an object on a line": json.dumps({"version": "1.0", "data": ROWS}),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("name", ["mine.json", "mine.jsonl"])
def test_json_in_any_form(tmp_path, form, mark, name):
    layouts.text(tmp_path / name, mark + FORMS[form])
    for reader in ("pairs_jsonl", "llava_json"):
        records, _ = read(reader, tmp_path / name)
        assert [record.answers for record in records] == [("一",), ("b",)]


@pytest.mark.parametrize("indent", [None, 1])
def test_a_single_row_with_lists_is_no_list_of_rows(tmp_path, indent):
    row = {"image": "1.png", "qa": [{"question": "什么？", "answer": "猫"}], "caption": "一"}
    layouts.text(tmp_path / "mine.json", json.dumps(row, indent=indent))
    assert "'qa' is used for nothing" in refused("pairs_jsonl", tmp_path / "mine.json")
    (record,), _ = read("pairs_jsonl", tmp_path / "mine.json", ignore=["qa"])
    assert record.images[0].path == "1.png" and record.answers == ("一",)
    del row["caption"]
    layouts.text(tmp_path / "mine.json", json.dumps(row, indent=indent))
    assert "it has the columns image, qa" in refused("pairs_jsonl", tmp_path / "mine.json")
    talk = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
    layouts.text(tmp_path / "mine.json", json.dumps(talk, indent=indent))
    assert len(read("llava_json", tmp_path / "mine.json")[0][0].turns) == 2


def test_what_a_file_says_beside_its_list_is_reported(tmp_path):
    layouts.text(tmp_path / "mine.json", FORMS["a list in an object"])
    assert read("pairs_jsonl", tmp_path / "mine.json")[1].unused == {
        "version (of the whole file)": 1
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"caption": "a", "caption": "b"}\n', "'caption' is there twice"),
        ('[{"caption": "a", "caption": "b"}]', "'caption' is there twice"),
        ('{"caption": "a"}\n["b"]\n', "no JSON object but list"),
        ('{"caption": "a"}\n{"caption": \n', "Not JSON"),
        ('{\n "images": [{"a": 1}],\n "annotations": [{"b": 1}]\n}', "Several lists"),
        ('[{"caption": "a"}, {"caption"', "cut short"),
    ],
)
def test_json_that_is_not_understood_is_refused_by_place(tmp_path, text, says):
    layouts.text(tmp_path / "mine.json", text)
    error = refused("pairs_jsonl", tmp_path / "mine.json")
    assert says in error and "mine.json" in error and "fix:" in error


def test_json_in_utf16_is_refused_with_a_mend(tmp_path):
    (tmp_path / "mine.jsonl").write_bytes('{"caption": "一"}\n'.encode("utf-16"))
    assert "iconv -f UTF-16 -t UTF-8" in refused("pairs_jsonl", tmp_path / "mine.jsonl")


def test_an_id_that_is_there_twice_is_refused_with_both_lines(tmp_path):
    rows = [{"caption": "一", "id": 7}, {"caption": "b"}, {"caption": "c", "id": "7"}]
    layouts.lines(tmp_path / "mine.jsonl", rows)
    error = refused("pairs_jsonl", tmp_path)
    assert "mine.jsonl:1 and" in error and "mine.jsonl:3\n" in error
    records, intake = read("pairs_jsonl", tmp_path, ignore=["id"])
    assert len({record.id for record in records}) == 3
    layouts.lines(tmp_path / "mine2.jsonl", rows[:1])
    layouts.lines(tmp_path / "mine.jsonl", rows[:2])
    assert "mine.jsonl:1 and" in refused("pairs_jsonl", tmp_path)


# Several files


def test_all_files_are_read_in_natural_order_and_named(tmp_path):
    for number in (1, 10, 2):
        layouts.lines(tmp_path / f"part{number}.jsonl", [{"caption": f"第{number}"}])
    records, intake = read("pairs_jsonl", tmp_path)
    assert [record.answers[0] for record in records] == ["第1", "第2", "第10"]
    assert list(intake.rows) == ["part1.jsonl", "part2.jsonl", "part10.jsonl"]
    assert len({record.id for record in records}) == 3


def test_files_of_a_split_are_read_alone(tmp_path):
    for name in ("train-00", "train-01", "validation", "extra"):
        layouts.text(tmp_path / f"{name}.csv", f"caption\n{name}\n")
    records, intake = read("csv", tmp_path)
    assert [record.answers[0] for record in records] == ["train-00", "train-01"]
    assert any("extra.csv" in line for line in intake.lines())
    assert [r.answers[0] for r in read("csv", tmp_path, "val")[0]] == ["validation"]
    error = refused("csv", tmp_path, split="test")
    assert "no split 'test' here" in error and "--split=train" in error


@pytest.mark.parametrize("text", ["", "image,caption\n", "\n\n"])
def test_a_table_without_rows_is_refused(tmp_path, text):
    layouts.text(tmp_path / "mine.csv", text)
    assert "no rows" in refused("csv", tmp_path / "mine.csv")
    layouts.text(tmp_path / "mine.json", "[]")
    layouts.text(tmp_path / "mine.jsonl", "\n")
    assert "no rows" in refused("pairs_jsonl", tmp_path / "mine.jsonl")
    assert "fix:" in refused("llava_json", tmp_path / "mine.json")


def test_records_are_no_table(tmp_path):
    layouts.own_records(tmp_path, "mine", translated=False)
    assert "records already" in refused("pairs_jsonl", tmp_path)


# Tars


def test_images_of_a_sample_are_in_natural_order(tmp_path):
    sizes = [(4 + number, 4) for number in range(12)]
    members = [(f"s.{n}.jpg", layouts.jpeg("red", size)) for n, size in enumerate(sizes)]
    layouts.tar(tmp_path / "a.tar", [*sorted(members), ("s.txt", "十二个")])
    (record,), _ = read("webdataset", tmp_path)
    assert [image_store.load(tmp_path, ref).size for ref in record.images] == sizes


JPEG = layouts.jpeg()


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ([("a.jpg", JPEG), ("a.txt", "红"), ("a.jpg", JPEG), ("a.txt", "b")], "'a.jpg' is there"),
        ([("a.jpg", JPEG), ("b.jpg", JPEG), ("a.txt", "红"), ("b.txt", "b")], "are apart"),
        (
            [("a.v1.jpg", JPEG), ("a.v1.txt", "红"), ("a.v2.jpg", JPEG), ("a.v2.txt", "b")],
            "Names with dots",
        ),
        ([("a.jpg", JPEG), ("a.json", '{"caption": "a", "caption": "b"}')], "is there twice"),
        ([("a.jpg", JPEG), ("a.json", "[1]")], "no object"),
        ([("a.jpg", JPEG), ("a.json", "{")], "Not JSON"),
    ],
)  # fmt: skip
def test_tars_that_lose_members_are_refused(tmp_path, members, says):
    layouts.tar(tmp_path / "mine.tar", members)
    error = refused("webdataset", tmp_path / "mine.tar")
    assert says in error and "mine.tar: a" in error and "fix:" in error


def test_named_texts_and_other_members_of_a_tar(tmp_path):
    members = [
        ("._a.jpg", "macOS"),
        ("a.input.jpg", JPEG),
        ("a.question.txt", "什么？"),
        ("a.outputs.txt", "猫"),
        ("a.npz", "x"),
        ("b.json", '{"caption": "lost", "status": "failed_to_download"}'),
        ("c.json", '{"question": "三加四？", "answer": "七"}'),
    ]
    layouts.tar(tmp_path / "a.tar", members)
    (asked, text), intake = read("webdataset", tmp_path)
    assert [turn.text for turn in asked.turns] == ["什么？", "猫"] and len(asked.images) == 1
    assert [turn.text for turn in text.turns] == ["三加四？", "七"]
    assert intake.left_out["samples of a tar without an image"] == 1
    assert intake.unused == {"*.npz": 1}


def test_what_the_image_of_a_sample_is_called_is_listed_only(tmp_path):
    facts = json.dumps({"image": "000.jpg", "caption": "一"})
    layouts.tar(tmp_path / "a.tar", [("a.jpg", JPEG), ("a.json", facts)])
    (record,), intake = read("webdataset", tmp_path)
    assert len(record.images) == 1 and intake.unused == {"image": 1}


def test_a_text_beside_an_image_keeps_its_paragraphs(tmp_path):
    layouts.one_image(tmp_path / "1.jpg")
    (tmp_path / "1.txt").write_bytes("一\r\n\r\n二\r\n".encode("utf-8-sig"))
    assert read("folder", tmp_path)[0][0].answers == ("一\n\n二",)


# Parquet


def image(size):
    return {"bytes": layouts.jpeg("red", size), "path": "x.jpg"}


def write(path, **columns):
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=2)
    return path


def test_a_row_without_an_image_is_text_only_and_a_path_is_a_file(tmp_path):
    cells = [image((9, 5)), None, {"bytes": None, "path": "红.png"}, {"bytes": None, "path": None}]
    talk = [[{"role": "user", "content": "什么？"}, {"role": "assistant", "content": "红"}]] * 4
    records, intake = read("parquet", write(tmp_path / "t.parquet", image=cells, messages=talk))
    assert image_store.load(tmp_path, records[0].images[0]).size == (9, 5)
    assert [len(record.images) for record in records] == [1, 0, 1, 0]
    assert records[2].images[0].path == "红.png"
    assert intake.images == {"inside": 1, "path": 1}


def test_lists_of_images_and_images_in_turns_are_addressed(tmp_path):
    cells = [[image((9, 5)), image((8, 5))], [], [image((7, 5))]]
    path = write(tmp_path / "t.parquet", images=cells, caption=["两", "零", "一"])
    records, _ = read("parquet", path)
    sizes = [image_store.load(tmp_path, ref).size for record in records for ref in record.images]
    assert sizes == [(9, 5), (8, 5), (7, 5)]
    parts = [{"type": "image", "image": image((6, 5))}, {"type": "text", "text": "什么？"}]
    talk = [[{"role": "user", "content": parts}, {"role": "assistant", "content": [parts[1]]}]]
    (record,), _ = read("parquet", write(tmp_path / "u.parquet", messages=talk))
    assert image_store.load(tmp_path, record.images[0]).size == (6, 5)


def test_other_bytes_beside_the_image_are_refused_by_column(tmp_path):
    path = write(tmp_path / "t.parquet", image=[image((4, 4))], mask=[b"png"], caption=["一"])
    assert "'mask'" in refused("parquet", path)
    (record,), _ = read("parquet", path, ignore=["mask"])
    assert len(record.images) == 1
    assert "'data'" in refused("parquet", write(tmp_path / "u.parquet", data=[b"x"], text=["一"]))


def test_class_labels_are_learned_by_name(tmp_path):
    features = {"label": {"_type": "ClassLabel", "names": ["猫", "狗"]}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pyarrow.table({"question": ["什么？"], "label": [1]}).replace_schema_metadata(metadata)
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    (record,), _ = read("parquet", tmp_path / "t.parquet")
    assert record.turns[1].text == "狗"


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    table = pyarrow.Table.from_arrays([pyarrow.array(["a"])] * 2, names=["caption", "caption"])
    with io.BytesIO() as file:
        pyarrow.parquet.write_table(table, file)
        (tmp_path / "t.parquet").write_bytes(file.getvalue())
    assert "'caption' is there twice: columns 1 and 2" in refused("parquet", tmp_path / "t.parquet")


# Folders of several files


def test_every_file_of_a_folder_is_read_or_named(tmp_path):
    names = ("part1.jsonl", "part2.json", "PART3.JSONL", "part4.ndjson", "sub/part5.jsonl")
    for name in (*names, ".hidden.jsonl"):
        layouts.lines(tmp_path / name, [{"caption": name}])
    for reader in ("pairs_jsonl", "llava_json"):
        records, intake = read(reader, tmp_path)
        assert {record.answers[0] for record in records} == set(names[:4])
        assert intake.left_out["file sub/part5.jsonl, not of split train"] == 1
        assert not any("hidden" in line for line in intake.lines())
    for name in ("a.csv", "b.tsv", "C.CSV"):
        layouts.text(tmp_path / name, f"caption\n{name}\n")
    assert {record.answers[0] for record in read("csv", tmp_path)[0]} == {"a.csv", "b.tsv", "C.CSV"}


def test_two_files_of_one_name_are_not_read_twice(tmp_path):
    layouts.lines(tmp_path / "mine.jsonl", ROWS)
    layouts.dump(tmp_path / "mine.json", ROWS)
    assert "mine.json and mine.jsonl" in refused("pairs_jsonl", tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ("训练", "验证", "测试"),
        ("訓練集", "驗證集", "測試集"),
        ("mine_train", "mine_val", "mine_test"),
        ("v1.training", "v1.dev", "v1.testing"),
    ],
)
def test_files_are_of_the_split_that_any_word_of_their_name_says(tmp_path, names):
    for name in names:
        layouts.lines(tmp_path / f"{name}.jsonl", [{"caption": name}])
    for split, name in zip(("train", "val", "test"), names, strict=True):
        (record,) = read("pairs_jsonl", tmp_path, split)[0]
        assert record.answers == (name,)


def test_a_folder_is_of_the_split_that_its_name_says(tmp_path):
    for name in ("val", "train"):
        layouts.one_image(tmp_path / name / "1.png")
        (tmp_path / name / "1.txt").write_text(name)
        layouts.text(tmp_path / name / "a.csv", f"caption\n{name}\n")
    for reader in ("folder", "csv"):
        (record,), _ = read(reader, tmp_path, "validation")
        assert record.answers == ("val",)


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_row_with_an_image_and_a_list_is_no_table(tmp_path, end):
    row = {"pic": "red.png", "qas": [{"question": "什么？", "answer": "猫"}]}
    layouts.text(tmp_path / "mine.jsonl", json.dumps(row) + end)
    assert "the columns pic, qas" in refused("pairs_jsonl", tmp_path)
    for indent in (None, 1):
        layouts.text(tmp_path / "mine.jsonl", json.dumps(row, indent=indent) + end)
        (record,), _ = read(
            "pairs_jsonl", tmp_path, columns={"image": "pic", "conversations": "qas"}
        )
        assert record.images[0].path == "red.png" and record.turns[1].text == "猫"


def test_images_of_one_name_do_not_share_a_text(tmp_path):
    for name in ("1.png", "1.jpg"):
        layouts.one_image(tmp_path / name)
    (tmp_path / "1.txt").write_text("一")
    assert "Id '1' is there twice" in refused("folder", tmp_path)


def test_an_id_may_not_be_the_number_of_another_row(tmp_path):
    layouts.lines(tmp_path / "mine.jsonl", [{"caption": "一", "id": 1}, {"caption": "b"}])
    error = refused("pairs_jsonl", tmp_path)
    assert "mine.jsonl:1 and" in error and "mine.jsonl:2\n" in error


# Cells of CSV


@pytest.mark.parametrize("cell", ["NULL", "null", "NA", "N/A", "\\N", "#N/A", "nan", "None"])
def test_what_programs_write_for_nothing_is_no_answer(tmp_path, cell):
    layouts.text(tmp_path / "mine.csv", f"image,question,answer\n1.png,A?,b\n1.png,什么？,{cell}\n")
    records, intake = read("csv", tmp_path)
    assert len(records) == 1 and "No answer" in intake.bad[0].what


def test_a_blank_before_a_quote_is_no_text(tmp_path):
    text = 'image, caption\n1.png, "a red square"\n2.png, "红, 大"\n'
    assert captions(tmp_path, text) == ["a red square", "红, 大"]


# Encodings


@pytest.mark.parametrize(
    ("name", "data", "mend"),
    [
        ("mine.json", '[{"caption": "红色的方块"}]'.encode("gb18030"), "iconv -f GB18030"),
        ("mine.jsonl", '{"caption": "红"}'.encode("utf-32"), "iconv -f UTF-32 "),
        ("mine.csv", "image,caption\n1.png,红\n".encode("utf-32"), "iconv -f UTF-32 "),
        ("mine.csv", b"image,caption\n1.png,a red\0 square\n", "tr -d"),
        ("mine.csv", "image,caption\n1.png,紅色的方塊\n".encode("cp950"), "iconv -f BIG5"),
        ("mine.csv", "image,caption\n1.png,un café\n".encode("cp1252"), "-f WINDOWS-1252"),
        ("mine.csv", gzip.compress(b"image,caption\n1.png,a\n", mtime=0), "gunzip"),
        ("mine.jsonl", gzip.compress(b'{"image": "1.png", "caption": "a"}', mtime=0), "gunzip"),
        ("mine.csv", b"PK\x03\x04\x14\0\0\0\x08\0\xff\n", "save the sheet as CSV"),
        ("mine.jsonl", b"PAR1\x15\x04\x15\xff\0\n", "zv data convert parquet"),
    ],
)
def test_the_mend_for_another_encoding_is_the_right_one(tmp_path, name, data, mend):
    (tmp_path / name).write_bytes(data)
    error = refused("csv" if name.endswith("csv") else "pairs_jsonl", tmp_path)
    assert mend in error


def test_the_mend_for_a_text_in_a_tar_is_that_of_a_file(tmp_path):
    layouts.tar(tmp_path / "a.tar", [("a.jpg", JPEG), ("a.txt", "红色".encode("gb18030"))])
    error = refused("webdataset", tmp_path)
    assert "iconv -f GB18030" in error and "a.tar: a.txt" in error


def test_a_packed_file_among_others_does_not_stay_unread(tmp_path):
    (tmp_path / "part1.jsonl").write_text('{"image": "1.png", "caption": "a"}\n')
    (tmp_path / "part2.jsonl.gz").write_bytes(gzip.compress(b'{"image": "2.png", "caption": "b"}'))
    assert "gunzip part2.jsonl.gz" in refused("pairs_jsonl", tmp_path)
    (tmp_path / "mine.tgz").write_bytes(b"")
    assert "gunzip mine.tgz" in refused("webdataset", tmp_path)


def test_a_first_line_that_is_a_row_is_not_lost(tmp_path):
    (tmp_path / "mine.csv").write_text("红.png,一个红色的方块\nblue.png,a blue square\n")
    error = refused("csv", tmp_path, columns={"image": "红.png", "caption": "一个红色的方块"})
    assert "mine.csv:1" in error and "'红.png'" in error
