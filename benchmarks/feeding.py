"""Does the input keep the devices busy? Whole trainings beside the same step without any input.

    python benchmarks/feeding.py
    python benchmarks/feeding.py --preset=small_base --size=224 --batch=512 --workers=8
    python benchmarks/feeding.py --config configs/stage0.py:base,h200 --batch=256 --workers=8

`zv train` of stage 0 runs over prepared images of generated detail, from shards to updated
weights: reading, decoding, batches, the way to the devices, logging. Beside it, in the same
process, the same program runs over and over on one batch that lies on the devices already. The
ratio of the two is what feeding costs. Without `--config`, `--preset` is trained, with images of
`--size` pixels if that is given.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that the file runs from anywhere, installed or not

from zv_jax.parallel import runtime  # noqa: E402

runtime.prepare()

from benchmarks import data_throughput, full_step  # noqa: E402
from benchmarks.rows import Peaks, Row, table  # noqa: E402
from zv_jax.config.build import recipe, validate  # noqa: E402
from zv_jax.config.schema import Config, SourceConfig, TokenizerConfig  # noqa: E402
from zv_jax.plan import timed  # noqa: E402
from zv_jax.training import trainer as loop  # noqa: E402

LOG_EVERY = 5


def small(options: argparse.Namespace) -> Config:
    size = {"vision": {"image_size": options.size}} if options.size else {}
    return validate(
        recipe(
            options.preset,
            stage={"name": "stage0", "variant": "base"},
            model=size,
            data={"max_text": 32},
            train={"batch_size": options.batch},
        )
    )


def with_data(config: Config, folder: Path, options: argparse.Namespace) -> Config:
    """The recipe over images that are made here, without checkpoints on the way."""
    data_throughput.make_files(folder, options.images)
    shards = data_throughput.make_shards(folder, config.model.vision.image_size, "jpeg")
    data_throughput.make_tokenizer(folder)
    words = TokenizerConfig(kind="sentencepiece", path=str(folder / "tokenizer"))
    source = SourceConfig(name="prepared", path=str(shards))
    data = dataclasses.replace(
        config.data,
        sources=(source,),
        tokenizer=words,
        qformer_tokenizer=words,
        workers=options.workers,
        cache_images=False,
    )
    train = dataclasses.replace(config.train, steps=options.steps, log_every=LOG_EVERY)
    checkpoint = dataclasses.replace(config.checkpoint, every=10 * options.steps)
    return dataclasses.replace(config, data=data, train=train, checkpoint=checkpoint)


def trained(config: Config, workdir: Path) -> dict[str, float]:
    """Medians over the log lines of a whole training, without the line that compiles."""
    loop.run(config, workdir)
    with (workdir / "metrics.jsonl").open(encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    lines = [line for line in lines if "step_seconds" in line][1:]
    return {
        name: statistics.median(line[name] for line in lines)
        for name in ("step_seconds", "data_wait")
    }


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="")
    parser.add_argument("--preset", default="quickstart_base")
    parser.add_argument("--size", type=int, default=0)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--workers", type=int, default=0)
    return parser.parse_args(arguments)


def rows(**given: int | str) -> Iterator[Row]:
    """The one comparison, with the options of the command line for arguments."""
    yield measure(parse([f"--{name}={value}" for name, value in given.items()]))


def measure(options: argparse.Namespace) -> Row:
    """A step of a training beside one without input, before and after it."""
    config = small(options)
    if options.config:
        config = full_step.at_batch(full_step.load(options.config), options.batch)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = with_data(config, folder, options)
        before = timed.measure(config, options.steps // 2)["median_seconds"]
        fed = trained(config, folder / "run")
        after = timed.measure(config, options.steps // 2)["median_seconds"]
    case = (
        f"a step of {config.model.preset}, stage 0, fed from shards, {options.batch} images, "
        f"{options.workers} workers"
    )
    note = f"waiting for data {fed['data_wait']:.1%}"
    seconds = (fed["step_seconds"],)
    return Row("data", case, "the same batch again", seconds, (before, after), note=note)


def main() -> None:
    print(table([measure(parse())], Peaks()))


if __name__ == "__main__":
    main()
