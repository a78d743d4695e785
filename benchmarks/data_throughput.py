"""Input speed on one core: images per second of the pipeline beside bare Pillow and WebDataset.

    python benchmarks/data_throughput.py [--images=1536] [--passes=4] [--records=100000]

All cases begin with the same JPEG files and end with the same squares, in this process, on one
core; shards hold them resized. The order is rotated and medians are given. The last lines are about
a prepared set of many records: the time to open it and the memory that reading all of it takes.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that the file runs from anywhere, installed or not

from benchmarks.rows import Peaks, Row, table  # noqa: E402
from zv_jax.config import recipe, validate  # noqa: E402
from zv_jax.data.images import addresses as image_store  # noqa: E402
from zv_jax.data.images import decode as images  # noqa: E402
from zv_jax.data.pipeline import pipeline  # noqa: E402
from zv_jax.data.records import record as records_lib  # noqa: E402
from zv_jax.data.records.record import ImageRef, Record  # noqa: E402
from zv_jax.data.sources import prepare  # noqa: E402
from zv_jax.data.sources.open import open_source  # noqa: E402
from zv_jax.data.sources.shards import Settings  # noqa: E402
from zv_jax.data.text import tokenizers  # noqa: E402
from zv_jax.parallel import runtime  # noqa: E402

SIZE, BATCH, ROUNDS = 224, 32, 3
ENCODINGS = ("jpeg", "ppm")


def make_files(folder: Path, count: int) -> None:
    """JPEG files of 640x480 with detail as in photographs, and their records."""
    rng = np.random.default_rng(0)
    with (folder / "train.jsonl").open("w", encoding="utf-8") as file:
        for k in range(count):
            coarse = Image.fromarray(rng.integers(0, 255, (60, 80, 3), np.uint8))
            coarse.resize((640, 480), Image.Resampling.BICUBIC).save(
                folder / f"{k}.jpg", quality=90
            )
            file.write(records_lib.dumps(_record(k, f"{k}.jpg")) + "\n")


def make_shards(folder: Path, size: int, encoding: str) -> Path:
    """The files of `make_files`, prepared."""
    rows = records_lib.read_jsonl(folder / "train.jsonl")
    settings = Settings(image_size=size, encoding=encoding)
    prepare.prepare(rows, folder, folder / encoding, settings)
    return folder / encoding


def make_tokenizer(folder: Path) -> tokenizers.Tokenizer:
    """Of texts such as those of the records, kept in `folder/tokenizer`."""
    texts = [f"image number {k}" for k in range(1000)]
    return tokenizers.train_sentencepiece(texts, 400, folder / "tokenizer")


def _record(number: int, path: str) -> Record:
    return Record(
        id=f"bench/train/{number}",
        source="bench",
        split="train",
        task="caption",
        lang="en",
        images=(ImageRef(path=path),),
        turns=(),
        answers=(f"image number {number}",),
    )


def pillow(folder: Path, count: int) -> None:
    there = len(list(folder.glob("*.jpg")))
    for k in range(count):
        images.resize(images.decode(folder / f"{k % there}.jpg"), SIZE)


def codec(shards: Path) -> Callable[[int], None]:
    """Nothing but Pillow's decoder on the images of the prepared shards: the bound for those."""
    source = open_source("prepared", str(shards))
    stored = [
        image_store.read(shards, ref)
        for number in range(len(source))
        for ref in source.record(number).images
    ]

    def draw(count: int) -> None:
        for data in itertools.islice(itertools.cycle(stored), count):
            Image.open(io.BytesIO(data)).load()

    return draw


def batches(name: str, path: Path, tokenizer: tokenizers.Tokenizer) -> Callable[[int], None]:
    """Draws batches of stage 0 for as many images as asked."""
    config = validate(
        recipe(
            "tiny_base",
            stage={"name": "stage0", "variant": "base"},
            data={"sources": ({"name": name, "path": str(path)},), "max_text": 32},
            model={"vision": {"image_size": SIZE}, "qformer": {"vocab_size": 512}},
            train={"batch_size": BATCH},
        )
    )

    def draw(count: int) -> None:
        stream = pipeline.make_pipeline(config, tokenizers=(tokenizer, tokenizer))
        for _ in range(count // BATCH):
            next(stream)
        stream.close()

    return draw


def webdataset(path: Path) -> Callable[[int], None] | None:
    """The same work with WebDataset and torch's DataLoader, where they are installed."""
    try:
        import torch
        import webdataset as wds
    except ImportError:
        return None

    def prepare_one(sample: dict) -> np.ndarray:
        return images.resize(images.decode(sample["jpg"]), SIZE)

    def draw(count: int) -> None:
        stream = wds.WebDataset(str(path), shardshuffle=False).map(prepare_one)
        stream = stream.repeat()
        loader = iter(torch.utils.data.DataLoader(stream, batch_size=BATCH, num_workers=0))
        for _ in range(count // BATCH):
            next(loader)

    return draw


def make_tar(folder: Path, count: int) -> Path:
    path = folder / "pairs.tar"
    with tarfile.open(path, "w") as tar:
        for k in range(count):
            for name, data in (
                (f"{k:06d}.jpg", (folder / f"{k}.jpg").read_bytes()),
                (f"{k:06d}.txt", f"image number {k}".encode()),
            ):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path


def timed(cases: dict[str, Callable[[int], None]], count: int) -> dict[str, tuple[float, ...]]:
    """Seconds an image of each case in each round, the order rotated from round to round."""
    found: dict[str, list[float]] = {name: [] for name in cases}
    names = list(cases)
    for turn in range(ROUNDS):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = time.perf_counter()
            cases[name](count)
            found[name].append((time.perf_counter() - start) / count)
    return {name: tuple(seconds) for name, seconds in found.items()}


def many_records(folder: Path, count: int) -> Iterator[Row]:
    """Opening a hundredth and all of `count` prepared records; then the memory that the last nine
    tenths add while all are read in random order."""
    Image.new("RGB", (32, 32), "green").save(folder / "small.jpg")
    opened, few = {}, max(1, count // 100)
    for number in (few, count):
        rows = (_record(k, "small.jpg") for k in range(number))
        place = folder / f"many-{number}"
        prepare.prepare(rows, folder, place, Settings(image_size=32, shard_size=50_000))
        start = time.perf_counter()
        source = open_source("prepared", str(place))
        source.record(number - 1)
        opened[number] = time.perf_counter() - start
    one, other = (opened[count],), (opened[few],)
    yield Row("data", f"opening {count:,} prepared records", f"opening {few:,}", one, other)
    held = []
    for done, index in enumerate(np.random.default_rng(0).permutation(count)):
        if done in (count // 10, count - 1):
            held.append(float(resident()))
        source.record(int(index))
    case = f"reading {count:,} records in random order"
    beside = "after a tenth of them"
    yield Row("memory", case, beside, (held[1],), (held[0],), "bytes")


def resident() -> int:
    """Bytes of memory this process holds now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def rows(images: int = 1536, passes: int = 4, records: int = 100_000) -> Iterator[Row]:
    """Seconds an image of every way to feed, and what many records cost."""
    runtime.keep_freed_memory()  # as every `zv` command does; all cases have it
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_files(folder, images)
        tokenizer = make_tokenizer(folder)
        bare = "Pillow, decode and resize"
        ours: dict[str, Callable[[int], None]] = {
            "JPEG files": batches("jsonl", folder / "train.jsonl", tokenizer)
        }
        theirs: dict[str, Callable[[int], None]] = {bare: lambda count: pillow(folder, count)}
        beside = [("JPEG files", bare)]
        for encoding in ENCODINGS:
            shards, only = make_shards(folder, SIZE, encoding), f"Pillow, decode {encoding} shards"
            ours[f"{encoding} shards"] = batches("prepared", shards, tokenizer)
            theirs[only] = codec(shards)
            beside.append((f"{encoding} shards", only))
        other = webdataset(make_tar(folder, images))
        if other:
            theirs["WebDataset + DataLoader"] = other
            beside.append(("JPEG files", "WebDataset + DataLoader"))
        seconds = timed(ours | theirs, passes * images // BATCH * BATCH)
        for mine, another in beside:
            case = f"batches of stage 0 from {mine}, an image"
            yield Row("data", case, another, seconds[mine], seconds[another])
        yield from many_records(folder, records)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1536)
    parser.add_argument("--passes", type=int, default=4, help="over all images, in a round")
    parser.add_argument("--records", type=int, default=100_000)
    print(table(list(rows(**vars(parser.parse_args()))), Peaks()))


if __name__ == "__main__":
    main()
