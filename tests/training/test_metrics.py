import errno
import io
import json
import struct
from pathlib import Path

import pytest
from tensorboardX.proto import event_pb2

from zv_jax.errors import CheckpointError
from zv_jax.files import JsonLines, read_jsonl
from zv_jax.training.metrics import MetricLog, peak_rss_bytes, rss_bytes


class Terminal(io.StringIO):
    def isatty(self):
        return True


def run(workdir, first, last, stream=None, **options):
    log = MetricLog(workdir, 10, stream=stream or io.StringIO(), **options)
    log.start(first)
    for step in range(first, last):
        log.advance(8)
        if (step + 1) % 2 == 0:
            log.log({"loss": 1.0 / (step + 1), "lr": 0.1})
    log.close()
    return log


def test_rows_hold_step_metrics_and_speed(tmp_path):
    run(tmp_path, 0, 4)
    rows = read_jsonl(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == [2, 4]
    assert rows[1]["loss"] == 0.25 and rows[1]["lr"] == 0.1
    assert rows[0]["samples_per_second"] > 0 and rows[1]["seconds"] >= rows[0]["seconds"]


def test_resuming_drops_the_lines_after_the_restored_step_and_continues_the_clock(tmp_path):
    path = tmp_path / "metrics.jsonl"
    rows = [{"step": s, "loss": 9.0, "seconds": 100.0 * s} for s in (2, 4, 6)]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows) + '{"step": 8, "lo')
    run(tmp_path, 4, 8)
    after = read_jsonl(path)
    assert [row["step"] for row in after] == [2, 4, 6, 8]
    assert after[1] == rows[1] and after[2]["loss"] == 1 / 6
    assert 400 <= after[2]["seconds"] < 500
    assert sorted(tmp_path.iterdir()) == [path, tmp_path / "tensorboard"]


def test_a_new_run_in_an_old_workdir_starts_the_file_again(tmp_path):
    run(tmp_path, 0, 4)
    run(tmp_path, 0, 2)
    assert [row["step"] for row in read_jsonl(tmp_path / "metrics.jsonl")] == [2]


def test_not_a_number_is_null_so_that_the_file_stays_json(tmp_path):
    log = MetricLog(tmp_path, 1, stream=io.StringIO())
    log.start()
    log.advance(1)
    log.log({"loss": float("nan"), "norm": float("inf")})
    (row,) = read_jsonl(tmp_path / "metrics.jsonl")
    assert row["loss"] is None and row["norm"] is None


def test_without_a_terminal_progress_is_lines(tmp_path):
    stream = io.StringIO()
    run(tmp_path, 0, 10, stream, every_seconds=0.0)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[-1].startswith("step 10/10 (100%)  loss 0.125")
    assert "samples/s" in lines[0] and "left" in lines[0] and "\r" not in stream.getvalue()
    quiet = io.StringIO()
    run(tmp_path, 0, 10, quiet, every_seconds=1e9)
    assert len(quiet.getvalue().splitlines()) == 1, "the last step is always shown"


def test_on_a_terminal_progress_is_a_bar(tmp_path):
    stream = Terminal()
    run(tmp_path, 4, 10, stream)
    assert "10/10" in stream.getvalue() and "samples/s" in stream.getvalue()


def test_other_processes_stay_silent(tmp_path):
    stream = io.StringIO()
    log = run(tmp_path, 0, 4, stream, enabled=False, every_seconds=0.0)
    log.event("saved")
    log.say("hello")
    assert not list(tmp_path.iterdir()) and not stream.getvalue()


def test_events_survive_a_resume_and_a_torn_last_line(tmp_path):
    log = MetricLog(tmp_path, 3, stream=io.StringIO())
    log.event("started", host="中")
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"kind": "to')
    log.start(2)
    log.event("resumed")
    rows = read_jsonl(tmp_path / "events.jsonl")
    assert [(r["kind"], r["step"]) for r in rows] == [("started", 0), ("resumed", 2)]
    assert rows[0]["host"] == "中" and rows[0]["time"] > 0


def test_a_broken_line_in_the_middle_is_named(tmp_path):
    (tmp_path / "m.jsonl").write_text('{"step": 1}\nnonsense\n{"step": 3}\n')
    with pytest.raises(CheckpointError, match="m.jsonl:2"):
        read_jsonl(tmp_path / "m.jsonl")


def test_a_log_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    log = MetricLog(tmp_path, 3, stream=io.StringIO())
    log.advance(1)
    with pytest.raises(CheckpointError, match="the log cannot be written"):
        log.log({"loss": 1.0})


def test_rows_wait_for_a_full_disk_and_none_is_torn(tmp_path, monkeypatch, caplog):
    log = JsonLines(tmp_path / "events.jsonl")
    log.append({"n": 0})
    with monkeypatch.context() as full:

        def half_written(self, *arguments, **more):
            file = open(self, *arguments, **more)
            file.writelines = lambda lines: (file.write(lines[-1][:4]), file.flush(), fail())
            return file

        def fail():
            raise OSError(errno.ENOSPC, "No space left on device")

        full.setattr(Path, "open", half_written)
        log.append({"n": 1})
        log.append({"n": 2})
    assert "wait in memory" in caplog.text
    log.append({"n": 3})
    assert [row["n"] for row in read_jsonl(log.path)] == [0, 1, 2, 3]
    assert log.path.read_text().count("\n") == 4


def test_memory_is_plausible():
    assert 1 << 24 < rss_bytes() <= peak_rss_bytes() < 1 << 40


def test_tensorboard_files_hold_the_same_numbers(tmp_path):
    """Read as TensorBoard does: length, checksum, event, checksum."""
    run(tmp_path, 0, 4)
    (file,) = (tmp_path / "tensorboard").iterdir()
    data, found = file.read_bytes(), {}
    while data:
        (size,) = struct.unpack("<Q", data[:8])
        event = event_pb2.Event.FromString(data[12 : 12 + size])
        for value in event.summary.value:
            found[value.tag, event.step] = value.simple_value
        data = data[16 + size :]
    for row in read_jsonl(tmp_path / "metrics.jsonl"):
        assert found["loss", row["step"]] == pytest.approx(row["loss"])
    assert len([1 for name, _ in found if name == "loss"]) == 2
