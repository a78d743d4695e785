"""Memory that continuing a run takes: python benchmarks/resume.py [--help].

A training of random weights is saved after its first step, then continued in a process of its own.
What counts is the peak above the memory that the imports take, beside the size of the weights.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that the file runs from anywhere, installed or not

from benchmarks.rows import Peaks, Row, table  # noqa: E402
from zv_jax.errors import ZvError  # noqa: E402

BATCH = 2


def config(folder: Path, layers: int, width: int, steps: int) -> object:
    """Stage 0 beside a ViT of `layers` of `width`, over a few generated images."""
    from benchmarks import data_throughput
    from zv_jax.config import recipe, validate

    if not (folder / "train.jsonl").exists():
        data_throughput.make_files(folder, 4 * BATCH)
        data_throughput.make_tokenizer(folder)
    words = {"kind": "sentencepiece", "path": str(folder / "tokenizer")}
    vision = {"width": width, "layers": layers, "heads": width // 64, "mlp_width": 4 * width}
    return validate(
        recipe(
            "tiny_base",
            stage={"name": "stage0", "variant": "base"},
            model={
                "vision": vision,
                "qformer": {"vocab_size": 512},
                "llm": {"vocab_size": 512},
                "image_token_id": 511,
            },
            data={
                "sources": ({"name": "jsonl", "path": str(folder / "train.jsonl")},),
                "tokenizer": words, "qformer_tokenizer": words, "max_text": 16,
            },
            train={"batch_size": BATCH, "steps": steps, "log_every": 1},
            checkpoint={"every": 1},
        )
    )  # fmt: skip


def trained(folder: Path, layers: int, width: int, steps: int) -> dict[str, float]:
    """Trains until `steps` in this process; its memory before and at the most, its time."""
    from zv_jax.training import trainer
    from zv_jax.training.metrics import peak_rss_bytes, rss_bytes

    recipe = config(folder, layers, width, steps)
    before, began = rss_bytes(), time.perf_counter()
    trainer.run(recipe, folder / "run", allow_change=("train.steps",))
    seconds = time.perf_counter() - began
    return {"before": before, "peak": peak_rss_bytes(), "seconds": seconds}


def in_own_process(*arguments: str | int) -> dict[str, float]:
    """`trained` in a fresh interpreter.

    Raises:
        ZvError: it failed.
    """
    command = [sys.executable, __file__, "--worker", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True)
    if done.returncode:
        raise ZvError(done.stderr.strip().splitlines()[-1], where="benchmarks/resume.py")
    return json.loads(done.stdout.splitlines()[-1])


def rows(layers: int = 25, width: int = 1024) -> Iterator[Row]:
    """The memory of the second step, made from a checkpoint, beside the size of the weights."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        in_own_process(folder, layers, width, 1)
        again = in_own_process(folder, layers, width, 2)
        stages = json.loads((folder / "run" / "stage_table.json").read_text("utf-8"))
        size = 4.0 * sum(one["trainable"] + one["frozen"] + one["adapter"] for one in stages)
        millions = f"{size / 4e6:.0f} million parameters"
    above = (float(again["peak"] - again["before"]),)
    case = f"continuing with {millions}, one step, above the imports"
    yield Row("memory", case, "the weights themselves", above, (size,), "bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=25, help="of the ViT")
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        from zv_jax.parallel import runtime

        runtime.prepare()
        folder, *numbers = given.worker
        try:
            print(json.dumps(trained(Path(folder), *map(int, numbers))))
        except ZvError as error:
            sys.exit(error.what)
        return
    print(table(list(rows(given.layers, given.width)), Peaks()))


if __name__ == "__main__":
    main()
