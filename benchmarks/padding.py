"""Padding of three ways to lay samples into rows of fixed size, on the data of the quickstart.

    python benchmarks/padding.py [--steps=200]

One shape: every row as long and with as many pictures as the longest. Kinds of batches: sources
with short rows fill batches of their own (what the pipeline does). Packing: samples of all batches
share rows of a fixed length and number of pictures, first fit, longest first. Counted are positions
of tokens and places of pictures for each sample; both are computed whether filled or not.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np

from configs import quickstart
from zv_jax.config import Config, validate
from zv_jax.data.pipeline import make_pipeline

Sample = tuple[int, int]  # tokens, pictures


def batches(config: Config, steps: int) -> Iterator[tuple[list[Sample], int, int]]:
    """The samples of each batch, and the length and pictures of its rows."""
    stream = make_pipeline(config)
    for _ in range(steps):
        batch = next(stream)
        tokens = batch["attention_mask"].sum(1)
        # A place without a picture holds zeros, which no picture is after normalisation.
        pictures = batch["images"].any(axis=(2, 3, 4)).sum(1)
        rows = list(zip(tokens.tolist(), pictures.tolist(), strict=True))
        yield rows, batch["input_ids"].shape[1], batch["images"].shape[1]
    stream.close()


def packed(rows: list[Sample], length: int, pictures: int) -> int:
    """How many rows of `length` and `pictures` hold these samples, first fit, longest first."""
    room: list[list[int]] = []
    for tokens, images in sorted(rows, reverse=True):
        for left in room:
            if left[0] >= tokens and left[1] >= images:
                left[0] -= tokens
                left[1] -= images
                break
        else:
            room.append([length - tokens, pictures - images])
    return len(room)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    config = validate(quickstart.get_config("stage2_chat"))
    found = list(batches(config, options.steps))
    samples = [sample for rows, _, _ in found for sample in rows]
    length = max(length for _, length, _ in found)
    pictures = max(pictures for _, _, pictures in found)
    # From all batches at once: one alone would leave its last rows bare.
    packings = {
        f"packing into {k * length} tokens, {n} pictures": (k * length, n)
        for k, n in ((1, pictures), (1, 2 * pictures), (2, 2 * pictures))
    }
    places = {
        "one shape": (len(samples) * length, len(samples) * pictures),
        "kinds of batches": tuple(
            sum(len(rows) * shape[i] for rows, *shape in found) for i in range(2)
        ),
    } | {
        name: tuple(packed(samples, *shape) * size for size in shape)
        for name, shape in packings.items()
    }
    used = np.sum(samples, axis=0)
    print("| rows | tokens a sample | of them padding | pictures a sample | of them padding |")
    print("|---|---|---|---|---|")
    for name, counts in places.items():
        cells = (
            f"{count / len(samples):.2f} | {1 - own / count:.0%}"
            for own, count in zip(used, counts, strict=True)
        )
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
