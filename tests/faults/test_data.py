"""Damaged images, records and workers: replaced, listed, and too many of them stop the run."""

import collections
import html
import io
import json
import multiprocessing
import os
import signal

import numpy as np
import pytest
import toy_run
from PIL import Image

from zv_jax.data.images.decode import ImageError, decode
from zv_jax.data.pipeline import pipeline
from zv_jax.data.records import record as records
from zv_jax.data.sources import prepare
from zv_jax.data.sources.open import open_source
from zv_jax.data.text.vocabulary import load_tokenizers
from zv_jax.errors import DataError
from zv_jax.evaluation import report
from zv_jax.evaluation.report import inputs
from zv_jax.evaluation.report.substitutes import by_source

IMAGES = 100


def jpeg(image, **more) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=95, **more)
    return out.getvalue()


def png(image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def noise(size=(30, 20)) -> Image.Image:
    pixels = np.random.default_rng(1).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


BROKEN = {
    "noise": os.urandom(400),
    "truncated.jpg": jpeg(noise())[:-200],
    "empty": b"",
    "bomb": png(Image.new("1", (12_000, 12_000))),
    "text": b"<html>404</html>",
}


def ramp() -> Image.Image:
    """Left half dark, right half light: 60 and 200."""
    pixels = np.full((20, 30), 60, np.uint8)
    pixels[:, 15:] = 200
    return Image.fromarray(pixels)


def rotated() -> bytes:
    """Stored lying on its side, as phones do, with the note to turn it back."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return jpeg(ramp().convert("RGB").transpose(Image.Transpose.ROTATE_90), exif=exif)


def animated() -> bytes:
    out = io.BytesIO()
    frames = [Image.new("RGB", (30, 20), c) for c in ("white", "red")]
    ramp().convert("RGB").save(out, "GIF", save_all=True, append_images=frames)
    return out.getvalue()


ODD = {
    "sixteen bits": png(Image.fromarray(np.asarray(ramp(), np.uint16) * 257)),
    "CMYK": jpeg(ramp().convert("RGB").convert("CMYK")),
    "palette": png(ramp().convert("P")),
    "EXIF": rotated(),
    "animated": animated(),
    "grey and alpha": png(ramp().convert("LA")),
}


@pytest.mark.parametrize("kind", ODD)
def test_unusual_images_are_read_as_they_look(kind):
    image = decode(ODD[kind])
    assert image.mode == "RGB" and image.size == (30, 20)
    pixels = np.asarray(image, np.float32).mean(axis=(0, 2))
    assert abs(pixels[:13].mean() - 60) < 6 and abs(pixels[17:].mean() - 200) < 6


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_images_are_one_kind_of_error(kind):
    with pytest.raises(ImageError) as error:
        decode(BROKEN[kind], "here.jpg")
    assert error.value.where == "here.jpg" and error.value.fix


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """A hundred images: five broken, each kind once, and six unusual; five records broken too."""
    folder = toy_run.write_corpus(tmp_path_factory.mktemp("damaged") / "data", IMAGES)
    images = folder / "images"
    for number, data in enumerate([*BROKEN.values(), *ODD.values()], 10):
        (images / f"{number}.png").write_bytes(data)
    (images / "40.png").unlink()
    lines = (folder / "train.jsonl").read_bytes().splitlines()
    spoilt = {
        0: lines[0].replace(b"square", b"sq\xff\xfeare"),
        8: lines[8][:40],
        17: lines[17].replace(b'"assistant"', b'"asistant"'),
        20: json.dumps({**json.loads(lines[20]), "answers": ["<image>"]}).encode(),
        25: json.dumps({**json.loads(lines[25]), "turns": []}).encode(),
    }
    for number, line in spoilt.items():
        lines[number] = line
    (folder / "train.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    return folder


def label(folder) -> str:
    """What the one source of `toy_run.toy_config` is called."""
    return f"sources[0] jsonl {folder / 'train.jsonl'} train"


# Four records of each of six images; three lines that are no records, one without a text. One
# more says nothing at all, and is never drawn.
BAD_SAMPLES = 4 * 6 + 4


def read(folder, steps, shortened=None, **data):
    """The indices of `steps` batches of stage 1 and the faults reported on the way; what length
    did is added to the counter `shortened`."""
    config = toy_run.toy_config(
        folder, "stage1", data={"max_bad": 0.15, **data}, train={"batch_size": 8}
    )
    faults = []
    batches = pipeline.make_pipeline(
        config, report=lambda step, fault: faults.append((step, fault)),
        shorten=lambda step, counts: shortened is None or shortened.update(counts),
        tokenizers=load_tokenizers(config),
    )  # fmt: skip
    try:
        index = [next(batches)["index"].tolist() for _ in range(steps)]
    finally:
        batches.close()
    return index, faults


def test_every_bad_sample_of_a_damaged_corpus_is_replaced_and_listed(damaged):
    steps = 4 * IMAGES // 8 + 1  # more than one epoch
    index, faults = read(damaged, steps)
    found = {fault.record for _, fault in faults}
    shown = {f"toy/train/{n}#{task}-{la}" for n in (*range(10, 15), 40) for la in ("en", "zh")
                for task in ("caption", "vqa")}  # fmt: skip
    assert shown <= found
    lines = {str(damaged / "train.jsonl") + f":{n}" for n in (1, 9, 18)}
    assert lines <= found
    assert "toy/train/5#caption-en" in found and "toy/train/6#vqa-en" not in found
    assert len(found) == BAD_SAMPLES
    words = " ".join(fault.what for _, fault in faults)
    for kind in (
        "pixels are too many",
        "not found",
        "text to learn is empty",
        "asistant",
        "UTF-8",
        "truncated",
    ):
        assert kind in words, kind
    unlisted = [fault.record for step, fault in faults if fault.instead is None]
    assert unlisted == [str(damaged / "train.jsonl") + f":{n}" for n in (1, 9, 18)]
    for _, fault in faults:
        assert fault.source == label(damaged) and fault.where
        assert fault.instead not in found
    assert all(len(rows) == 8 for rows in index)
    assert read(damaged, steps) == (index, faults), "the same again"


def test_substitutes_are_the_same_for_every_share_of_the_rows(damaged):
    index, faults = read(damaged, 20)
    config = toy_run.toy_config(damaged, "stage1", data={"max_bad": 0.15}, train={"batch_size": 8})
    for rows in ([0, 1, 2, 3], [7, 5]):
        batches = pipeline.make_pipeline(config, rows=rows, report=lambda *_: None)
        for whole in index:
            assert next(batches)["index"].tolist() == [whole[row] for row in rows]
        batches.close()


def test_above_the_limit_the_run_stops_at_once_and_says_why(damaged):
    with pytest.raises(
        DataError, match=r"samples of sources\[0\] jsonl .* cannot be used"
    ) as error:
        read(damaged, 60, max_bad=0.02)
    assert "at most 2.00%" in error.value.expected and "max_bad" in error.value.fix
    # Records that are no records are found before the first batch.
    with pytest.raises(DataError, match="3 of 400 samples"):
        read(damaged, 0, max_bad=0.004)


def test_evaluation_takes_no_broken_record(damaged):
    path = str(damaged / "train.jsonl")
    with pytest.raises(DataError) as error:
        open_source("jsonl", path)
    assert error.value.where == f"{path}:1"
    assert len(open_source("jsonl", path, tolerant=True).broken) == 3


def flip(path, place: int) -> None:
    """Turns the bits of one byte of a file."""
    data = bytearray(path.read_bytes())
    data[place] ^= 255
    path.write_bytes(data)


def test_a_damaged_record_and_a_damaged_image_of_a_shard_are_replaced_and_listed(tmp_path):
    plain, out = toy_run.write_corpus(tmp_path / "plain"), tmp_path / "shards"
    count = prepare.prepare(records.read_jsonl(plain / "train.jsonl"), plain, out)["records"]
    shown = out / "00000.pictures.array_record"
    flip(
        shown,
        shown.read_bytes().index((plain / "images/7.png").read_bytes()[:200]) + 99,
    )
    flip(out / "00000.records.array_record", 10_000)  # inside one of the compressed records
    source = open_source("prepared", str(out))
    damaged = []
    for number in range(count):
        try:
            source.record(number)
        except DataError as error:
            damaged.append((number, error.where))
    ((lost, where),) = damaged
    assert where == f"{out / '00000.records.array_record'}#{lost}"
    config = toy_run.toy_config(
        plain, "stage1", train={"batch_size": 8},
        data={"sources": ({"name": "prepared", "path": str(out)},), "max_bad": 0.15},
    )  # fmt: skip
    faults = []
    batches = pipeline.make_pipeline(config, report=lambda step, fault: faults.append(fault))
    drawn = {number for _ in range(count // 8) for number in next(batches)["index"].tolist()}
    batches.close()
    assert all("data hash mismatch" in fault.what for fault in faults)
    assert {fault.record for fault in faults} == {source.where(lost)} | {
        f"toy/train/7#{task}-{lang}" for task in ("caption", "vqa") for lang in ("en", "zh")
    }
    assert not drawn & {lost, *range(28, 32)}, "records 28 to 31 show picture 7"


def test_a_source_of_which_no_record_can_be_read_says_why(tmp_path):
    folder = toy_run.write_corpus(tmp_path / "data")
    (folder / "train.jsonl").write_text("no record\n" * 3)
    with pytest.raises(DataError, match="Not JSON") as error:
        read(folder, 1)
    assert error.value.where == f"{folder / 'train.jsonl'}:1"


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3])
def test_workers_lose_no_element_and_report_the_same(damaged, workers):
    assert read(damaged, 30, workers=workers) == read(damaged, 30)


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_no_batch_is_lost(corpus, caplog):
    config = toy_run.toy_config(corpus, "stage1", data={"workers": 2})
    plain = pipeline.make_pipeline(toy_run.toy_config(corpus, "stage1"))
    wanted = [next(plain)["index"].tolist() for _ in range(32)]
    plain.close()
    others = multiprocessing.active_children()  # of tests before this one
    batches = pipeline.make_pipeline(config)
    found = [next(batches)["index"].tolist() for _ in range(4)]
    victim = next(p for p in multiprocessing.active_children() if p not in others)
    os.kill(victim.pid, signal.SIGKILL)
    # More than the victim can have made ahead of time, so that it is missed.
    found += [next(batches)["index"].tolist() for _ in range(28)]
    batches.close()
    assert found == wanted
    assert "terminated unexpectedly" in caplog.text


@pytest.mark.slow
def test_a_damaged_corpus_trains_to_the_end_with_a_list_of_what_was_replaced(
    compiled, damaged, tmp_path
):
    config = toy_run.toy_config(
        damaged, "stage1", data={"max_bad": 0.15, "max_length": 64},
        train={"steps": 60, "batch_size": 8, "log_every": 7}, checkpoint={"every": 20},
    )  # fmt: skip
    run = tmp_path / "stage1_chat"
    with pytest.raises(toy_run.Stop):
        toy_run.train(config, run, toy_run.at(33, toy_run.stop))
    toy_run.train(config, run)
    rows = [json.loads(line) for line in (run / "substitutes.jsonl").read_text().splitlines()]
    shortened = collections.Counter()
    _, faults = read(damaged, 60, shortened, max_length=64)
    assert rows == [{"step": step, **fault.as_row()} for step, fault in faults]
    results = json.loads((run / "results.json").read_text())
    assert results["substitutes"] == {label(damaged): len(rows)}
    # Neither the kill nor the restart loses or doubles what was too long.
    too_long = shortened[label(damaged), "too_long"]
    assert results["shortened"] == {label(damaged): {"too_long": too_long}} and too_long > 20
    (counted,) = results["census"]
    assert (counted["records"], counted["left_out"]) == (400, {"unreadable": 3, "empty": 1})
    assert counted["too_long"] > 20
    log = (run / "run.log").read_text("utf-8")
    assert f"{label(damaged)}: 400 records, 396 samples; records left out: 3 unreadable" in log
    assert f"{label(damaged)}: {too_long} samples too long and replaced" in log

    listed = {
        (sample.file, sample.record, sample.reason)
        for sample in by_source(inputs.read(tmp_path))[label(damaged)]
    }
    assert len(listed) == len({row["record"] for row in rows}) > 20
    page = html.unescape(report.build(tmp_path).read_text("utf-8"))
    for words in listed:
        assert all(word in page for word in words), words


@pytest.mark.slow
def test_above_the_limit_training_stops_before_its_first_step(compiled, damaged, tmp_path):
    config = toy_run.toy_config(damaged, "stage1", data={"max_bad": 0.001})
    with pytest.raises(DataError, match="3 of 400 samples") as ended:
        toy_run.train(config, tmp_path)
    assert "at most 0.10%" in ended.value.expected
    assert not (tmp_path / "metrics.jsonl").exists()
