"""Folders in a bucket; fsspec's memory:// stands for one, with the same calls as gs://."""

import uuid

import fsspec
import pytest

from zv_jax import buckets
from zv_jax.cli import main as cli
from zv_jax.errors import CheckpointError, SetupError


@pytest.fixture
def url():
    return f"memory://{uuid.uuid4().hex}/run"


def held(url: str) -> dict[str, bytes]:
    files, root = fsspec.core.url_to_fs(url)
    return {path.removeprefix(f"{root}/"): files.cat_file(path) for path in files.find(root)}


def test_what_changes_is_in_the_bucket_at_the_end_and_comes_back(url):
    with buckets.copied(url) as copy:
        (copy.folder / "run.log").write_text("one")
        (copy.folder / "tensorboard").mkdir()
        (copy.folder / "tensorboard" / "events").write_bytes(b"\0\1")
        (copy.folder / ".half.json").write_text("{")
    assert held(url) == {"run.log": b"one", "tensorboard/events": b"\0\1"}
    assert not copy.folder.exists()
    with buckets.copied(url) as copy:
        assert (copy.folder / "run.log").read_text() == "one"
        with (copy.folder / "run.log").open("a") as log:
            log.write(", two")
    assert held(url)["run.log"] == b"one, two"


def test_also_after_an_error(url):
    with pytest.raises(RuntimeError), buckets.copied(url) as copy:
        (copy.folder / "run.log").write_text("the traceback")
        raise RuntimeError
    assert held(url) == {"run.log": b"the traceback"}


def test_a_file_of_another_process_is_neither_lost_nor_replaced(url):
    with buckets.copied(url) as one, buckets.copied(url) as other:
        (one.folder / "run.log").write_text("0")
        (other.folder / "run-1.log").write_text("1")
        one.push(), other.push()
        one.pull()
        assert (one.folder / "run-1.log").read_text() == "1"
    assert held(url) == {"run.log": b"0", "run-1.log": b"1"}


def test_checkpoints_are_not_copied(url):
    files, root = fsspec.core.url_to_fs(url)
    files.makedirs(f"{root}/checkpoints/5")
    files.pipe_file(f"{root}/checkpoints/5/state", b"large")
    with buckets.copied(url) as copy:
        assert not list(copy.folder.iterdir())


def test_a_bucket_out_of_reach_is_one_message(url, monkeypatch):
    def refused(*_, **__):
        raise PermissionError("403")

    with pytest.raises(CheckpointError, match="cannot be written: 403"):
        with buckets.copied(url) as copy:
            (copy.folder / "run.log").touch()
            monkeypatch.setattr(fsspec.implementations.memory.MemoryFileSystem, "put_file", refused)
    with pytest.raises(SetupError, match="cannot be reached"), buckets.copied("nowhere://x"):
        pass


def test_commands_that_write_into_no_bucket_say_so_and_make_no_folder(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    words = ["data", "styles", "--out=gs://bucket/styles"]
    assert cli.main(words) == 2
    assert "writes into no bucket" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_the_missing_suite_is_asked_for_by_the_name_of_its_flag(capsys):
    for words in (["eval", "--checkpoint=x"], ["eval", "check-data"]):
        assert cli.main(words) == 2
        shown = capsys.readouterr().err
        assert "--suite is missing" in shown and "--config" not in shown
