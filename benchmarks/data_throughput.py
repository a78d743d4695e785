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
import json
import os
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from zv_jax.config import recipe, validate
from zv_jax.data.images import addresses as image_store
from zv_jax.data.images import decode as images
from zv_jax.data.pipeline import pipeline
from zv_jax.data.records import record as records_lib
from zv_jax.data.records.record import ImageRef, Record
from zv_jax.data.sources import prepare
from zv_jax.data.sources.open import open_source
from zv_jax.data.sources.shards import Settings
from zv_jax.data.text import tokenizers
from zv_jax.parallel import runtime

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
    texts = [f"picture number {k}" for k in range(1000)]
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
        answers=(f"picture number {number}",),
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
            data={"sources": ({"name": name, "path": str(path)},), "max_text": 16},
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
                (f"{k:06d}.txt", f"picture number {k}".encode()),
            ):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path


def timed(cases: dict[str, Callable[[int], None]], count: int) -> dict[str, float]:
    """Median images per second of each case, the order rotated from round to round."""
    found: dict[str, list[float]] = {name: [] for name in cases}
    names = list(cases)
    for turn in range(ROUNDS):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = time.perf_counter()
            cases[name](count)
            found[name].append(count / (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in found.items()}


def many_records(folder: Path, count: int) -> dict[str, float]:
    """Seconds to open a hundredth and all of `count` prepared records, and memory while all are
    read in random order: MiB after a tenth of them, and what the other nine tenths add."""
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
    held = []
    for done, index in enumerate(np.random.default_rng(0).permutation(count)):
        if done in (count // 10, count - 1):
            held.append(resident() / 2**20)
        source.record(int(index))
    return {
        f"seconds to open {few} records": opened[few],
        f"seconds to open {count} records": opened[count],
        "MiB after a tenth is read": held[0],
        "MiB that the rest adds": held[1] - held[0],
    }


def resident() -> int:
    """Bytes of memory this process holds now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=1536)
    parser.add_argument("--passes", type=int, default=4, help="over all pictures, in a round")
    parser.add_argument("--records", type=int, default=100_000)
    options = parser.parse_args()
    runtime.keep_freed_memory()  # as every `zv` command does; all cases have it
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_files(folder, options.image_store)
        tokenizer = make_tokenizer(folder)
        cases: dict[str, Callable[[int], None]] = {
            "Pillow, decode and resize": lambda count: pillow(folder, count),
            "zv_jax, JPEG files": batches("jsonl", folder / "train.jsonl", tokenizer),
        }
        for encoding in ENCODINGS:
            shards = make_shards(folder, SIZE, encoding)
            cases |= {
                f"zv_jax, {encoding} shards": batches("prepared", shards, tokenizer),
                f"Pillow, decode what {encoding} shards hold": codec(shards),
            }
        other = webdataset(make_tar(folder, options.image_store))
        if other:
            cases["WebDataset + DataLoader, JPEG in tar"] = other
        speeds = timed(cases, options.passes * options.image_store // BATCH * BATCH)
        bare = speeds["Pillow, decode and resize"]
        print("| case | pictures/s | of bare Pillow |\n|---|---|---|")
        for case, speed in speeds.items():
            print(f"| {case} | {speed:.0f} | {speed / bare:.2f} |")
        print(
            json.dumps({k: round(v, 4) for k, v in many_records(folder, options.records).items()})
        )


if __name__ == "__main__":
    main()
