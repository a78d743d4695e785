"""`zv eval`: loads a checkpoint, runs a suite on it, writes the results and prints the table."""

from __future__ import annotations

import dataclasses
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_collections

import zv_jax
from zv_jax.data.sources.open import open_source
from zv_jax.errors import CheckpointError
from zv_jax.evaluation import config as config_lib
from zv_jax.evaluation import table
from zv_jax.evaluation.benchmarks import config as benchmarks_config
from zv_jax.evaluation.benchmarks import run as benchmarks_run
from zv_jax.evaluation.model import Model
from zv_jax.evaluation.outputs import Writer
from zv_jax.evaluation.suites import Suite
from zv_jax.stages import has_variants
from zv_jax.training.metrics import peak_rss_bytes


def run(
    checkpoint: str | Path,
    suite_config: ml_collections.ConfigDict | Mapping[str, Any],
    workdir: str | Path,
    progress: bool = True,
    load: Callable[..., Model] | None = None,
    shard: tuple[int, int] = (0, 1),
) -> dict[str, Any] | None:
    """Evaluates a checkpoint on a suite of tasks or of benchmarks.

    Args:
      checkpoint: a workdir (its latest step) or one checkpoint.
      suite_config: the suite, e.g. of `configs/eval/quickstart.py` or `configs/eval/ziya.py`.
      workdir: folder for results.json, items.jsonl, samples.jsonl, images/, attention.json.
      progress: whether to show a progress bar and print the table.
      load: ``(checkpoint, untrained=False) -> Model``; by default `zv_jax.inference.model.load`.
      shard: (number, count) of this process where several share a suite of benchmarks.

    Returns:
      The contents of results.json; None where other processes have not answered their part yet.

    Raises:
      ConfigError: the suite is wrong. DataError: records or pictures are missing.
      CheckpointError: the checkpoint cannot be read.
    """
    if benchmarks_config.is_benchmarks(suite_config):
        benchmarks_config.validate(suite_config)
        if load is None:
            checkpoint, load = pinned(checkpoint), _loader()
        return benchmarks_run.run(checkpoint, suite_config, workdir, load, progress, shard)
    started = time.monotonic()
    config = config_lib.validate(suite_config)
    load = load or _loader()

    source = config.source
    test = open_source(source.name, source.path, source.split)
    model = load(checkpoint)
    suite = Suite(
        config,
        model,
        lambda: load(checkpoint, untrained=True),
        test,
        lambda: open_source(source.name, source.path, source.train_split),
        writer := Writer(Path(workdir), test.picture),
        progress,
    )
    scores = suite.run()
    maps = suite.attention_maps()
    if maps:
        writer.attention(maps)
    stage = model.config.stage
    results = {
        "checkpoint": str(checkpoint),
        "model": model.config.model.preset,
        # The first two training runs know no variants.
        "variant": stage.variant if has_variants(stage.name) else None,
        "stage": stage.name,
        "seconds": round(time.monotonic() - started, 2),
        "peak_rss_bytes": peak_rss_bytes(),
        "scores": scores,
        "suite": dataclasses.asdict(config) | {"tasks": suite.tasks},
        "data": {
            "source": source.name,
            "path": source.path,
            "split": source.split,
            "sha256": test.fingerprint,
            "left_out": suite.left_out(),
        },
        "version": zv_jax.__version__,
    }
    writer.finish(results)
    if progress:
        print(table.render(scores, shutil.get_terminal_size().columns))
        for line in left_out_lines(results["data"]["left_out"]):
            print(line)
        print(f"\nresults: {Path(workdir) / 'results.json'}", file=sys.stderr)
    return results


def left_out_lines(counts: Mapping[str, Any]) -> Iterator[str]:
    """What was not evaluated, as lines for people; none where everything was."""
    other = {"of other tasks": "other_tasks", "in other languages": "other_languages"}
    words = [f"{counts[key]:,} {name}" for name, key in other.items() if counts[key]]
    if words:
        yield f"not evaluated, of {counts['records']:,} records: {', '.join(words)}"
    for part in counts["parts"]:
        reasons = {"without an image": "no_image", "beyond the limit": "beyond_limit"}
        words = [f"{part[key]:,} {name}" for name, key in reasons.items() if part[key]]
        if words:
            of = f"{part['task']} {part['lang']}, of {part['records']:,} records"
            yield f"not evaluated, {of}: {', '.join(words)}"


def pinned(path: str | Path) -> str | Path:
    """The latest step of a workdir by its own path, so that a run which is continued later does
    not meet a newer one; anything else as it is."""
    from zv_jax.checkpoints.manager import find_steps

    try:
        return find_steps(path)[0]
    except CheckpointError:
        return path  # of another layout, or nothing: loading it says what is wrong


def _loader() -> Callable[..., Model]:
    # It imports jax: only once the suite is known to be right.
    from zv_jax.inference.model import load

    return load
