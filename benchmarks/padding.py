"""Padding of several ways to lay samples into rows of fixed size, on the data of the quickstart.

    python benchmarks/padding.py [--steps=200] [--rounds=3]

One shape: every row as long and with as many images as the longest. Kinds of batches: sources
with short rows fill batches of their own (what the pipeline does); one kind for each source is the
finest division. Packing within a batch: the samples of a batch share rows, and there are as many
rows as the fullest of the batches needs, since shapes are static. Packing over all batches: the
bound, where any samples may meet in a row. Samples are laid first fit, longest first. Counted are
positions of tokens and places of images for each sample; both are computed whether filled or not.

With `--rounds`, training steps on rows of these shapes are timed too, in turn. That of packed rows
is what it would cost at least: their attention would need one more mask.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that the file runs from anywhere, installed or not

from zv_jax.parallel import runtime  # noqa: E402

runtime.prepare()

import numpy as np  # noqa: E402

from benchmarks import full_step  # noqa: E402
from zv_jax.config import Config  # noqa: E402
from zv_jax.config.build import validate  # noqa: E402
from zv_jax.configs import quickstart  # noqa: E402
from zv_jax.data.pipeline.pipeline import make_pipeline, samples_per_epoch  # noqa: E402
from zv_jax.plan.timed import measure  # noqa: E402

STEPS = 8  # of a round, after one that compiles

Sample = tuple[int, int]  # tokens, images
Shape = tuple[int, int, int]  # rows, tokens, images


def batches(config: Config, steps: int) -> Iterator[tuple[list[Sample], np.ndarray, int, int]]:
    """The samples of each batch with the numbers of their sources; length and images of rows."""
    ends = np.cumsum(samples_per_epoch(config))
    queries = config.model.qformer.num_queries
    stream = make_pipeline(config)
    for _ in range(steps):
        batch = next(stream)
        tokens = batch["attention_mask"].sum(1)
        shown = (batch["input_ids"] == config.model.image_token_id).sum(1) // queries
        rows = list(zip(tokens.tolist(), shown.tolist(), strict=True))
        sources = np.searchsorted(ends, batch["index"], side="right")
        yield rows, sources, batch["input_ids"].shape[1], batch["images"].shape[1]
    stream.close()


def packed(rows: list[Sample], length: int, shown: int) -> int:
    """How many rows of `length` and `images` hold these samples, first fit, longest first."""
    room: list[list[int]] = []
    for tokens, images in sorted(rows, reverse=True):
        for left in room:
            if left[0] >= tokens and left[1] >= images:
                left[0] -= tokens
                left[1] -= images
                break
        else:
            room.append([length - tokens, shown - images])
    return len(room)


def for_each_source(samples: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Tokens and images of all rows, where a source's rows are as large as its largest."""
    parts = [samples[sources == source] for source in np.unique(sources)]
    return sum(len(part) * part.max(0) for part in parts)


def step_seconds(config: Config, rows: int, length: int, shown: int) -> float:
    """Median of a training step on random rows of this shape."""
    data = dataclasses.replace(
        config.data,
        max_length=length,
        max_images=shown,
        max_answer=min(config.data.max_answer, length),
    )
    config = full_step.at_batch(dataclasses.replace(config, data=data), rows)
    return measure(config, STEPS)["median_seconds"]


def timed(config: Config, layouts: dict[str, list[tuple[float, Shape]]], rounds: int) -> None:
    """Prints seconds for as many samples as a batch has, for each layout: its shapes and how many
    steps of each that takes."""
    shapes = dict.fromkeys(shape for parts in layouts.values() for _, shape in parts)
    found = [{shape: step_seconds(config, *shape) for shape in shapes} for _ in range(rounds)]
    print("| rows | seconds a batch | in rounds |\n|---|---|---|")
    for name, parts in layouts.items():
        each = [sum(share * times[shape] for share, shape in parts) for times in found]
        spread = " ".join(f"{seconds:.3f}" for seconds in each)
        print(f"| {name} | {statistics.median(each):.3f} | {spread} |")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=0, help="of timing")
    options = parser.parse_args()
    config = validate(quickstart.get_config("stage2_chat"))
    kinds = list(batches(config, options.steps))
    samples = np.array([sample for rows, *_ in kinds for sample in rows])
    sources = np.concatenate([numbers for _, numbers, *_ in kinds])
    length, shown = (max(kind[i] for kind in kinds) for i in (2, 3))
    # The same sources in batches that hold any of them.
    whole = tuple(dataclasses.replace(s, max_length=0, max_images=0) for s in config.data.sources)
    data = dataclasses.replace(config.data, sources=whole)
    mixed = [rows for rows, *_ in batches(dataclasses.replace(config, data=data), options.steps)]
    places = {
        "one shape": len(samples) * np.array([length, shown]),
        "kinds of batches": sum(len(rows) * np.array(shape) for rows, _, *shape in kinds),
        "a kind for each source": for_each_source(samples, sources),
    }
    batch = config.train.batch_size
    shares = collections.Counter((len(rows), *shape) for rows, _, *shape in kinds)
    layouts = {
        "one shape": [(1.0, (batch, length, shown))],
        "kinds of batches": [(n / len(kinds), shape) for shape, n in shares.items()],
    }
    for k, n in ((1, shown), (1, 2 * shown), (2, 2 * shown)):
        shape = np.array([k * length, n])
        name = f"{k * length} tokens, {n} images"
        rows = max(packed(row, *shape) for row in mixed)
        within = f"packing within a batch into {rows} rows of {name}"
        places[within] = rows * len(mixed) * shape
        layouts[within] = [(1.0, (rows, *shape.tolist()))]
        places[f"packing over all batches into rows of {name}"] = (
            packed(samples.tolist(), *shape) * shape
        )
    used = samples.sum(0)
    print("| rows | tokens a sample | of them padding | images a sample | of them padding |")
    print("|---|---|---|---|---|")
    for name, counts in places.items():
        cells = (
            f"{count / len(samples):.2f} | {1 - own / count:.0%}"
            for own, count in zip(used, counts, strict=True)
        )
        print(f"| {name} | " + " | ".join(cells) + " |")
    if options.rounds:
        timed(config, layouts, options.rounds)


if __name__ == "__main__":
    main()
