"""Shards: the same records and pixels as their source, the same bytes however they were made."""

import dataclasses
import io
import json
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

import zv_jax.data
from zv_jax.cli import main as cli
from zv_jax.data.images import addresses as image_store
from zv_jax.data.images import decode as images
from zv_jax.data.pipeline.pipeline import make_pipeline
from zv_jax.data.records import record as R
from zv_jax.data.sources import prepare
from zv_jax.data.sources.open import open_source
from zv_jax.data.sources.shards import Settings
from zv_jax.data.storage import array_records
from zv_jax.errors import ConfigError, DataError


def contents(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def make(toy, out, records=None, **options):
    settings = Settings(shard_size=5, **options.pop("settings", {}))
    return prepare.prepare(records or R.read_jsonl(toy), toy.parent, out, settings, **options)


def test_a_prepared_set_is_its_source(toy, tmp_path):
    manifest = make(toy, tmp_path / "out")
    plain, shards = open_source("jsonl", str(toy)), open_source("prepared", str(tmp_path / "out"))
    assert manifest["records"] == len(shards) == len(plain) == 64
    assert manifest["pictures"] < 64, "a picture that many records show is stored once per shard"
    for name in ("task", "lang", "parts", "images"):
        np.testing.assert_array_equal(getattr(shards.facts, name), getattr(plain.facts, name))
    for index in (0, 17, 63):
        one, two = plain.record(index), shards.record(index)
        assert dataclasses.replace(two, images=one.images) == one
        np.testing.assert_array_equal(
            np.asarray(shards.image(two.images[0])), np.asarray(plain.image(one.images[0]))
        )


@pytest.mark.parametrize("encoding", ["png", "ppm"])
def test_batches_of_shards_equal_those_of_files(toy, tmp_path, make_config, tokenizer, encoding):
    size = make_config("stage1").model.vision.image_size
    make(toy, tmp_path / "out", settings={"image_size": size, "encoding": encoding})
    rows = []
    for name, path in (("jsonl", toy), ("prepared", tmp_path / "out")):
        config = make_config("stage1", sources=({"name": name, "path": str(path)},))
        stream = make_pipeline(config, tokenizers=(tokenizer, tokenizer))
        batches = [next(stream) for _ in range(15)]
        stream.close()
        # The order within an epoch is that of the source's name: compare sample by sample.
        rows.append(
            {int(i): {k: b[k][row] for k in b} for b in batches for row, i in enumerate(b["index"])}
        )
    shared = rows[0].keys() & rows[1].keys()
    assert len(shared) > 20
    for index in shared:
        for name, value in rows[0][index].items():
            np.testing.assert_array_equal(value, rows[1][index][name], err_msg=name)


def test_images_are_stretched_as_in_training_and_turned_as_exif_says(toy, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    Image.fromarray(pixels).save(toy.parent / "images" / "0.png", exif=exif)
    make(toy, tmp_path / "out", settings={"image_size": 16, "encoding": "png"})
    shards = open_source("prepared", str(tmp_path / "out"))
    stored = np.asarray(shards.image(shards.record(0).images[0]))
    expected = images.resize(images.decode(toy.parent / "images" / "0.png"), 16)
    np.testing.assert_array_equal(stored, expected)
    upright = images.resize(Image.fromarray(pixels), 16)
    assert np.abs(stored.astype(int) - upright).max() > 10


def test_a_jpeg_of_another_quality_is_smaller(toy, tmp_path):
    sizes = {}
    for quality in (95, 20):
        out = tmp_path / str(quality)
        manifest = make(toy, out, settings={"image_size": 64, "quality": quality})
        shards = open_source("prepared", str(out))
        data = image_store.read(shards.root, shards.record(0).images[0])
        assert Image.open(io.BytesIO(data)).format == "JPEG"
        sizes[quality] = len(data)
        assert manifest["settings"]["quality"] == quality
    assert sizes[20] < sizes[95]


def test_the_number_of_processes_does_not_change_a_byte(toy, tmp_path):
    for workers in (0, 2):
        make(toy, tmp_path / str(workers), workers=workers, settings={"image_size": 8})
    assert contents(tmp_path / "0") == contents(tmp_path / "2")


def test_an_interrupted_run_goes_on_and_ends_the_same(toy, tmp_path):
    make(toy, tmp_path / "whole")
    records = list(R.read_jsonl(toy))

    def stopped():
        yield from records[:22]
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        make(toy, out, stopped())
    assert not (out / array_records.MANIFEST).exists()
    with pytest.raises(DataError, match="goes on where it was"):
        open_source("prepared", str(out))
    with pytest.raises(DataError, match="did not finish"):
        prepare.check(out)
    finished = {p.name: p.stat().st_mtime_ns for p in out.glob("*.array_record")}
    assert len(finished) == 2 * 4
    make(toy, out)
    assert contents(out) == contents(tmp_path / "whole")
    assert finished == {name: (out / name).stat().st_mtime_ns for name in finished}


def test_a_finished_run_is_not_repeated_nor_overwritten_by_another(toy, tmp_path):
    first = make(toy, tmp_path / "out")
    before = contents(tmp_path / "out")
    assert make(toy, tmp_path / "out") == first
    with pytest.raises(DataError, match="other settings"):
        make(toy, tmp_path / "out", settings={"image_size": 8})
    with pytest.raises(DataError, match="other records"):
        make(toy, tmp_path / "out", list(R.read_jsonl(toy))[:9])
    assert contents(tmp_path / "out") == before


def test_records_without_a_readable_image_are_listed(toy, tmp_path):
    (toy.parent / "images" / "3.png").write_bytes(b"broken")
    with pytest.raises(DataError, match="8 of 64 records have pictures that cannot be read"):
        make(toy, tmp_path / "strict")
    manifest = make(toy, tmp_path / "out", max_rejected=0.2)
    assert (manifest["records"], manifest["rejected"]) == (56, 8)
    listed = [json.loads(line) for line in (tmp_path / "out" / "rejected.jsonl").open()]
    assert {row["id"].split("#")[0] for row in listed} == {"toy/train/3"}
    assert len(open_source("prepared", str(tmp_path / "out"))) == 56


def test_a_repeated_id_is_refused(toy, tmp_path):
    records = list(R.read_jsonl(toy))
    with pytest.raises(DataError, match="repeats"):
        make(toy, tmp_path / "out", [*records, records[0]])


def test_a_changed_shard_is_found(toy, tmp_path):
    manifest = make(toy, tmp_path / "out")
    assert prepare.check(tmp_path / "out") == manifest
    path = tmp_path / "out" / "00002.pictures.array_record"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="missing or has changed") as caught:
        prepare.check(tmp_path / "out")
    assert "00002.pictures" in str(caught.value)


@pytest.mark.parametrize(
    "wrong", [{"image_size": -1}, {"encoding": "webm"}, {"quality": 0}, {"shard_size": 0}]
)
def test_wrong_settings_are_named(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Settings(**wrong)


def test_beam_that_is_not_installed_is_named_with_its_extra(toy, tmp_path, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.split(".")[0] == "apache_beam"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    monkeypatch.delitem(sys.modules, "zv_jax.data.sources.on_beam", raising=False)
    monkeypatch.delattr(zv_jax.data, "on_beam", raising=False)
    for command in ("prepare", "filter"):
        out = f"--out={tmp_path / command}"
        assert cli.main(["data", command, str(toy), out, "--runner=beam"]) == 1
        shown = capsys.readouterr().err
        assert "'apache_beam' is not installed" in shown and ".[beam]" in shown
        assert not (tmp_path / command).exists()
    assert cli.main(["data", "prepare", str(toy), out, "--beam_options=runner=FlinkRunner"]) == 2
    assert "add --runner=beam" in capsys.readouterr().err


def of_split(split, records):
    return [
        dataclasses.replace(r, split=split, id=r.id.replace("/train/", f"/{split}/"))
        for r in records
    ]


def test_a_prepared_set_has_the_splits_of_its_records_and_no_other(toy, tmp_path):
    records = list(R.read_jsonl(toy))
    out = tmp_path / "toy"
    make(toy, out / "train", records)
    make(toy, out / "val", of_split("val", records[:10]))
    for path, split, count in (
        (out, "train", 64), (out / "train", "train", 64), (out / "train", "", 64),
        (out, "val", 10), (out / "val", "val", 10),
    ):  # fmt: skip
        source = open_source("prepared", str(path), split)
        assert len(source) == count
        assert {source.record(i).split for i in range(count)} == {split or "train"}
    with pytest.raises(DataError, match="no record of split 'val'") as error:
        open_source("prepared", str(out / "train"), "val")
    assert error.value.expected == "one of train" and f"path to {out}" in error.value.fix
    for split in ("test", "Val", "trai"):
        for path in (out, out / "train"):
            with pytest.raises(DataError, match=f"no record of split '{split}'"):
                open_source("prepared", str(path), split)
    shutil.move(out / "val", out / "test")
    with pytest.raises(DataError, match="(?s)no record of split 'test'.*one of val"):
        open_source("prepared", str(out), "test")  # the folder's name is not its records'


def test_a_prepared_set_of_two_splits_gives_each_its_own_records(toy, tmp_path):
    records = list(R.read_jsonl(toy))
    both = [r for pair in zip(records, of_split("val", records), strict=True) for r in pair]
    assert make(toy, tmp_path / "out", both)["splits"] == ["train", "val"]
    found = [open_source("prepared", str(tmp_path / "out"), s) for s in ("train", "val", "")]
    assert [len(source) for source in found] == [64, 64, 128]
    for source in found[:2]:
        split = source.split
        assert {source.record(i).split for i in range(64)} == {split}
        plain = open_source("jsonl", str(toy)).facts
        np.testing.assert_array_equal(source.facts.task, plain.task)
    assert len({source.fingerprint for source in found}) == 3


def of_format_1(out):
    """Makes a prepared folder what it was before splits were listed."""
    manifest = json.loads((out / array_records.MANIFEST).read_text()) | {"format": 1}
    del manifest["splits"]
    (out / array_records.MANIFEST).write_text(json.dumps(manifest))
    np.save(out / array_records.FACTS, np.load(out / array_records.FACTS)[:, :6])


def test_a_set_prepared_before_splits_were_listed_is_known_by_its_records(toy, tmp_path):
    out = tmp_path / "out"
    make(toy, out)
    of_format_1(out)
    assert len(open_source("prepared", str(out), "train")) == 64
    with pytest.raises(DataError, match="(?s)no record of split 'val'.*one of train"):
        open_source("prepared", str(out), "val")


def test_also_where_its_first_and_last_records_are_of_one_split(toy, tmp_path):
    out = tmp_path / "out"
    splits = ("train", "val", "train", "val2", "train")
    five = list(R.read_jsonl(toy))[:5]
    make(toy, out, [dataclasses.replace(r, split=s) for r, s in zip(five, splits, strict=True)])
    of_format_1(out)
    found = {s: open_source("prepared", str(out), s) for s in ("train", "val", "val2", "")}
    assert [len(source) for source in found.values()] == [3, 1, 1, 5]
    assert [found["train"].record(i).id for i in range(3)] == [r.id for r in five[::2]]
    assert len({source.fingerprint for source in found.values()}) == 4


def test_a_prepared_image_keeps_the_identity_of_its_file(toy, tmp_path):
    plain = open_source("jsonl", str(toy))
    for size in (0, 8, 16):
        make(toy, tmp_path / str(size), settings={"image_size": size})
        shards = open_source("prepared", str(tmp_path / str(size)))
        for index in (0, 20, 63):
            one, two = plain.record(index).images[0], shards.record(index).images[0]
            assert two.sha1 == plain.identified(one)[0]


@pytest.mark.parametrize("command", ["stats", "validate", "prepare", "peek"])
def test_commands_refuse_a_split_that_a_file_does_not_have(toy, tmp_path, command, capsys):
    out = [f"--out={tmp_path / 'out'}"] if command in ("prepare", "peek") else []
    assert cli.main(["data", command, str(toy), "--split=val", *out]) != 0
    shown = capsys.readouterr()
    assert "no record of split 'val'" in shown.err + shown.out
    assert not (tmp_path / "out" / array_records.MANIFEST).exists()
    assert cli.main(["data", "stats", str(toy), "--split=train"]) == 0


def test_records_against_the_rules_are_left_out_and_listed(toy, tmp_path):
    good = list(R.read_jsonl(toy))[:40]
    asked = dataclasses.replace(good[1], id="asked", turns=(R.Turn("user", "What?"),))
    twice = dataclasses.replace(
        good[1], id="twice", turns=good[1].turns + (R.Turn("assistant", "a"),)
    )
    rows = [*good, asked, twice]
    manifest = make(toy, tmp_path / "out", rows, max_rejected=0.1)
    listed = [json.loads(line) for line in (tmp_path / "out" / "rejected.jsonl").open()]
    assert manifest["records"] == 40 and [row["id"] for row in listed] == ["asked", "twice"]
    assert "without an answer" in listed[0]["what"] and "two answers" in listed[1]["what"]
    with pytest.raises(DataError, match="2 of 42 records .* are wrong; the first: .*without an"):
        make(toy, tmp_path / "strict", rows)
    manifest = make(toy, tmp_path / "eval", rows, settings={"purpose": "eval"}, max_rejected=0.1)
    assert manifest["records"] == 41, "a question alone will do for evaluation"


def test_transparent_images_are_laid_on_their_ground_once(toy, tmp_path, make_config, caplog):
    for image in (toy.parent / "images").iterdir():
        Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(image)

    def first_pixel(out):
        source = open_source("prepared", str(out))
        return source.image(source.record(0).images[0]).getpixel((0, 0))

    png = {"image_size": 8, "encoding": "png"}
    make(toy, tmp_path / "white", settings=png)
    make(toy, tmp_path / "black", settings=png | {"transparency": "black"})
    make(toy, tmp_path / "as they are")
    assert first_pixel(tmp_path / "white") == (255, 255, 255)
    assert first_pixel(tmp_path / "black") == (0, 0, 0)
    assert first_pixel(tmp_path / "as they are") == (0, 0, 0, 0), "the model lays it"

    for name, ground, warned in (
        ("white", "white", False), ("black", "white", True), ("white", "black", True),
        ("as they are", "black", False),
    ):  # fmt: skip
        caplog.clear()
        source = {"name": "prepared", "path": str(tmp_path / name)}
        make_pipeline(make_config("stage0", sources=(source,), transparency=ground)).close()
        assert ("--transparency" in caplog.text) == warned


def test_a_folder_prepared_before_transparency_was_known_is_known_as_black(toy, tmp_path):
    manifest = make(toy, tmp_path / "out", settings={"image_size": 8})
    for name in ("transparency", "purpose"):
        del manifest["settings"][name]
    assert array_records.ground(manifest) == "black"


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 5000,
        b"[]",
        b"{}",
        b'{"inputs": "", "settings": {"image_size": "a"}}',
        b'{"inputs": "", "settings": {"image_size": 0}, "splits": [1]}',
        b'{"inputs": "", "settings": {"image_size": 0}, "files": {"../a": {}}}',
        b"\xff",
    ],
)
def test_a_damaged_manifest_is_said_by_all_who_read_it(toy, tmp_path, text):
    make(toy, tmp_path / "out")
    (tmp_path / "out" / array_records.MANIFEST).write_bytes(text)
    for read in (
        lambda: make(toy, tmp_path / "out"),
        lambda: prepare.check(tmp_path / "out"),
        lambda: open_source("prepared", str(tmp_path / "out")),
    ):
        with pytest.raises(DataError, match="the manifest is damaged") as caught:
            read()
        assert caught.value.where == str(tmp_path / "out" / array_records.MANIFEST)


@pytest.mark.parametrize(
    "table",
    [
        np.zeros((64, 7), np.float32),
        np.zeros((64, 2), np.int16),
        np.zeros(64, np.int16),
        np.full((64, 7), -1, np.int16),
        np.full((64, 7), 99, np.int16),
    ],
    ids=["floats", "columns", "row", "negative", "large"],
)
def test_damaged_facts_are_said(toy, tmp_path, table):
    make(toy, tmp_path / "out")
    np.save(tmp_path / "out" / array_records.FACTS, table)
    with pytest.raises(DataError, match="the facts of the records are damaged"):
        open_source("prepared", str(tmp_path / "out"))


def test_facts_that_claim_more_rows_than_memory_has_numbers_for_are_said(toy, tmp_path):
    make(toy, tmp_path / "out")
    file = tmp_path / "out" / array_records.FACTS
    head = b"{'descr': '<i8', 'fortran_order': False, 'shape': (1152921504606846976, 7), }"
    file.write_bytes(b"\x93NUMPY\x01\0" + (118).to_bytes(2, "little") + head.ljust(117) + b"\n")
    with pytest.raises(DataError, match="the facts of the records are damaged"):
        open_source("prepared", str(tmp_path / "out"))
