"""All images with all texts: python benchmarks/retrieval.py [--help].

The matrix of ITC similarities that retrieval ranks by, the best query of each image for each text,
in the sizes of Flickr30k's test split. Beside it LAVIS's way, in PyTorch: one image after another
with all texts. Both must agree before anything is timed; rounds alternate.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that the file runs from anywhere, installed or not

from benchmarks.rows import Peaks, Row, table  # noqa: E402
from zv_jax.errors import ZvError  # noqa: E402

TOLERANCE = 1e-5


def rows(
    images: int = 1000, texts: int = 5000, queries: int = 32, width: int = 256, rounds: int = 3
) -> Iterator[Row]:
    """Seconds for the matrix.

    Raises:
        ZvError: the two matrices differ.
    """
    import numpy as np
    import torch

    from zv_jax.evaluation.retrieve import best_of_queries

    rng = np.random.default_rng(0)
    unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)
    pictured = unit(rng.standard_normal((images, queries, width), np.float32))
    written = unit(rng.standard_normal((texts, width), np.float32))
    left, right = torch.from_numpy(pictured), torch.from_numpy(written)

    def one_by_one() -> np.ndarray:
        return torch.stack([(image @ right.T).amax(0) for image in left]).numpy()

    apart = float(np.abs(best_of_queries(pictured, written) - one_by_one()).max())
    if apart > TOLERANCE:
        raise ZvError(f"the similarities differ by {apart:.2g}", where="benchmarks/retrieval.py")
    ours, theirs = [], []
    for _ in range(rounds):
        for found, ways in (
            (ours, lambda: best_of_queries(pictured, written)),
            (theirs, one_by_one),
        ):
            began = time.perf_counter()
            ways()
            found.append(time.perf_counter() - began)
    case = f"{images:,} images of {queries} queries x {texts:,} texts, width {width}"
    flops = 2.0 * images * queries * texts * width
    yield Row(
        "retrieval", case, "PyTorch, image by image as LAVIS", tuple(ours), tuple(theirs),
        counted=flops,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, size in dict(images=1000, texts=5000, queries=32, width=256, rounds=3).items():
        parser.add_argument(f"--{name}", type=int, default=size)
    print(table(list(rows(**vars(parser.parse_args()))), Peaks()))


if __name__ == "__main__":
    main()
