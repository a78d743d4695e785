import pickle

import numpy as np
import pytest
import tensorflow_datasets as tfds

from zv_jax.data.openmoji import builder, manifest, prepare, scenes
from zv_jax.errors import DataError

SMALL = {"train": 24, "val": 6, "test": 8, "canvas": 64, "progress": False}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return prepare.prepare(tmp_path_factory.mktemp("cache"), **SMALL)


def test_rows_are_scenes_in_order_with_checked_records_in_both_languages(made):
    for split in scenes.SPLITS:
        source = prepare.open_split(made, split)
        assert len(source) == SMALL[split]
        for i in range(len(source)):
            row = source[i]
            assert row["id"] == f"zv_openmoji/{split}/{i}"
            assert row["image"].size == (64, 64) and row["image"].mode == "RGB"
            assert {r.lang for r in row["records"]} >= {"en", "zh"}
            assert all(r.meta["scene_kind"] == row["kind"] for r in row["records"])
            assert len({r.id for r in row["records"]}) == len(row["records"])
    assert source[-1]["id"] == source[len(source) - 1]["id"]
    with pytest.raises(IndexError):
        source[len(source)]


def test_every_picture_a_record_names_can_be_read(made):
    source = prepare.open_split(made, "test")
    for record in (r for i in range(len(source)) for r in source[i]["records"]):
        for ref in record.images:
            assert source.image(ref.shard_key).size == (ref.width, ref.height)
            assert ref.shard_key.startswith("zv_openmoji/test/")
    first = np.asarray(prepare.open_split(made, "train")[0]["image"])
    assert np.array_equal(np.asarray(source.image("zv_openmoji/train/0")), first)
    for wrong in ("zv_openmoji/test/8", "other/test/0"):
        with pytest.raises(DataError, match=wrong):
            source.image(wrong)


def test_a_source_travels_to_workers(made):
    source = prepare.open_split(made, "val")
    assert len(source) == 6
    assert pickle.loads(pickle.dumps(source))[2]["id"] == source[2]["id"]


def test_the_same_parameters_reuse_and_give_the_same_bytes(made, tmp_path, monkeypatch):
    again = prepare.prepare(tmp_path, **SMALL)
    for split in scenes.SPLITS:
        a, b = prepare.open_split(made, split), prepare.open_split(again, split)
        for i in range(len(a)):
            assert a[i]["records"] == b[i]["records"]
            assert np.array_equal(np.asarray(a[i]["image"]), np.asarray(b[i]["image"]))
    monkeypatch.setattr(prepare, "_build", None)  # would fail if called
    assert prepare.prepare(tmp_path, **SMALL) == again
    assert "CC BY-SA 4.0" in (again / "ATTRIBUTION.md").read_text(encoding="utf-8")


def test_other_parameters_live_elsewhere(made):
    names = {builder.Recipe(seed=1).name, builder.Recipe(canvas=64).name, builder.Recipe().name}
    assert len(names) == 3 and "everyday" in names


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda f: (f / "manifest.json").unlink(), "did not finish"),
        (lambda f: (f / "manifest.json").write_text("{"), "cannot be read"),
        (lambda f: next(f.glob("*test*")).unlink(), "is missing"),
        (lambda f: next(f.glob("*val*")).write_bytes(b"x"), "1 bytes instead of"),
        (lambda f: _flip(next(f.glob("*train*"))), "have changed"),
    ],
)
def test_a_damaged_folder_is_noticed_and_made_again(tmp_path, caplog, harm, said):
    tiny = {**SMALL, "train": 4, "val": 2, "test": 2}
    path = prepare.prepare(tmp_path, **tiny)
    harm(path)
    prepare.prepare(tmp_path, **tiny)
    messages = [r.getMessage() for r in caplog.records if r.name.startswith("zv_jax")]
    assert len(messages) == 1 and said in messages[0] and str(path) in messages[0]
    assert manifest.problem(path) is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["zv_openmoji"]


def _flip(path):
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)


def test_changed_sentences_or_packages_make_it_again(made, monkeypatch):
    recipe = builder.Recipe(train=24, val=6, test=8, canvas=64)
    assert manifest.problem(made, recipe) is None
    other = {**manifest.inputs(recipe), "packages": {"pillow": "0"}}
    monkeypatch.setattr(manifest, "inputs", lambda _: other)
    assert "other packages" in manifest.problem(made, recipe)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("disk full")])
def test_an_interrupted_preparation_leaves_nothing(tmp_path, monkeypatch, error):
    real = builder.generate

    def broken(recipe, split):
        for i, row in enumerate(real(recipe, split)):
            if i == 3:
                raise error
            yield row

    monkeypatch.setattr(builder, "generate", broken)
    with pytest.raises((KeyboardInterrupt, DataError)):
        prepare.prepare(tmp_path, **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed(tmp_path):
    with prepare._workplace(tmp_path) as work:
        name = work.name
    host = name.rsplit("-", 2)[0]
    (tmp_path / f"{host}-999999999-x").mkdir()
    with prepare._workplace(tmp_path) as work:
        assert [p.name for p in tmp_path.iterdir()] == [work.name]


def test_too_little_space_names_need_and_have(tmp_path, monkeypatch):
    usage = prepare.shutil.disk_usage(tmp_path)._replace(free=5 * 2**20)
    monkeypatch.setattr(prepare.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DataError, match=r"need \d+ MiB, have 5 MiB"):
        prepare.prepare(tmp_path)


def test_wrong_parameters_are_named(tmp_path, made):
    with pytest.raises(DataError, match="did you mean 'everyday'"):
        prepare.prepare(tmp_path, concepts="everday")
    with pytest.raises(DataError, match="train=0"):
        prepare.prepare(tmp_path, train=0)
    with pytest.raises(DataError, match="zv data prepare"):
        prepare.open_split(tmp_path, "train")
    with pytest.raises(DataError, match="did you mean 'val'"):
        prepare.open_split(made, "vall")


def test_anyone_can_load_it_through_tfds(tmp_path):
    config = builder.config_of(builder.Recipe(train=4, val=2, test=3, canvas=64))
    source = tfds.data_source(
        "zv_openmoji", split="test", data_dir=tmp_path, builder_kwargs={"config": config}
    )
    assert len(source) == 3
    assert source[2]["id"] == b"zv_openmoji/test/2"
    assert source[2]["image"].shape == (64, 64, 3)


def test_peek_draws_a_sheet_and_prints_the_records(made, tmp_path, capsys):
    sheet = prepare.peek(made, "val", 4, tmp_path / "sheet.png")
    out = capsys.readouterr().out
    assert sheet.is_file()
    assert "zv_openmoji/val/3" in out and "[zh" in out and "[en" in out
