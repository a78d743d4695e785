"""`zv data convert` of one's own tables: what it reports, lists and refuses."""

import json

from tests.data.readers import layouts
from zv_jax.cli.main import main

GOOD = {"image": "1.png", "caption": "一只猫", "licence": "CC"}


def convert(folder, *flags, name="pairs_jsonl", out="out/mine.jsonl"):
    words = [f"--root={folder / 'in'}", f"--out={folder / out}", f"--image_root={folder}"]
    return main(["data", "convert", name, *words, *flags])


def test_the_report_names_files_unused_columns_and_bad_rows(tmp_path, capsys):
    layouts.lines(tmp_path / "in/part1.jsonl", [GOOD, {"image": "2.png", "caption": ""}])
    layouts.lines(tmp_path / "in/part2.jsonl", [{"image": "3.png", "caption": [None, "a dog"]}])
    assert convert(tmp_path) == 0
    said = capsys.readouterr().out
    for line in (
        "read: part1.jsonl, 2 rows",
        "read: part2.jsonl, 1 rows",
        "left out: null or blank items of column 'caption': 1",
        "used for nothing: column 'licence', 1 rows have it",
        "bad: 1 of 3 rows",
        f"bad rows are listed in {tmp_path / 'out/rejected.jsonl'}",
        f"2 records; images are relative to {tmp_path}",
    ):
        assert line in said
    (row,) = map(json.loads, (tmp_path / "out/rejected.jsonl").read_text().splitlines())
    assert row["where"] == f"{tmp_path / 'in/part1.jsonl'}:2" and "'caption'" in row["what"]


def test_rejected_rows_of_several_conversions_share_a_list(tmp_path):
    layouts.lines(tmp_path / "in/a.jsonl", [GOOD, {"image": "2.png", "caption": ""}])
    assert convert(tmp_path) == convert(tmp_path, out="out/other.jsonl") == 0
    listed = (tmp_path / "out/rejected.jsonl").read_text().splitlines()
    assert [json.loads(line)["out"] for line in listed] == ["mine.jsonl", "other.jsonl"]
    layouts.lines(tmp_path / "in/a.jsonl", [GOOD])
    assert convert(tmp_path) == 0
    listed = (tmp_path / "out/rejected.jsonl").read_text().splitlines()
    assert [json.loads(line)["out"] for line in listed] == ["other.jsonl"]
    assert convert(tmp_path, out="out/other.jsonl") == 0
    assert not (tmp_path / "out/rejected.jsonl").exists()


def test_what_is_refused_leaves_nothing_behind(tmp_path, capsys):
    layouts.lines(tmp_path / "in/a.jsonl", [GOOD, GOOD | {"system": "请用中文。"}])
    assert convert(tmp_path) == 2
    said = capsys.readouterr().err
    assert "'system'" in said and "a.jsonl:2" in said and "--ignore=system" in said
    assert not list((tmp_path / "out").iterdir())
    assert convert(tmp_path, "--ignore=system") == 0


def test_too_many_bad_rows_are_allowed_on_purpose(tmp_path, capsys):
    layouts.lines(tmp_path / "in/a.jsonl", [GOOD] + [{"caption": ""}] * 11)
    assert convert(tmp_path) == 2
    assert "11 of 12 rows are bad" in (said := capsys.readouterr().err) and "--max_bad" in said
    assert convert(tmp_path, "--max_bad=1") == 0


def test_a_role_of_several_columns_and_a_column_that_is_not_there(tmp_path, capsys):
    layouts.text(tmp_path / "in/a.csv", "left,right,words\n1.png,2.png,两只猫\n")
    columns = "--columns=image=left,image=right,caption=words"
    assert convert(tmp_path, columns, name="csv") == 0
    record = json.loads((tmp_path / "out/mine.jsonl").read_text())
    assert [image["path"] for image in record["images"]] == ["1.png", "2.png"]
    assert convert(tmp_path, columns.replace("left", "lefd"), name="csv") == 2
    assert "did you mean 'left'" in capsys.readouterr().err
    assert convert(tmp_path, columns, "--ignore=wrods", name="csv") == 2
    assert "--ignore names 'wrods'" in capsys.readouterr().err


def test_where_images_inside_a_table_are(tmp_path, capsys):
    members = [("a.jpg", layouts.jpeg()), ("a.txt", "猫")]
    layouts.tar(tmp_path / "in/a.tar", members)
    assert convert(tmp_path, name="webdataset") == 0
    assert f"images are relative to {tmp_path / 'in'}" in capsys.readouterr().out


def test_other_commands_say_what_they_leave_unused_too(tmp_path, capsys):
    layouts.one_image(tmp_path / "1.png")
    layouts.lines(tmp_path / "in/a.jsonl", [GOOD])
    words = [f"--root={tmp_path / 'in'}", f"--image_root={tmp_path}"]
    assert main(["data", "prepare", "pairs_jsonl", *words, f"--out={tmp_path / 'shards'}"]) == 0
    assert "column 'licence'" in capsys.readouterr().err
    layouts.lines(tmp_path / "in/a.jsonl", [GOOD, {"caption": ""}])
    assert main(["data", "prepare", "pairs_jsonl", *words, f"--out={tmp_path / 'more'}"]) == 2
    assert "zv data convert" in capsys.readouterr().err
