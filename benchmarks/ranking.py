"""Ranking 20 given answers for 64 rows: python benchmarks/ranking.py [--help].

Ours sees the images and reads the prompt once and then all candidates in one pass. Beside it the
same model scores the candidates one after the other, each with the whole batch, images and prompt
read anew every time, which is how the published evaluation programs do it. Both must give the same
scores before anything is timed; rounds alternate.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that the file runs from anywhere, installed or not

from benchmarks.rows import Peaks, Row, table  # noqa: E402
from zv_jax.errors import ZvError  # noqa: E402
from zv_jax.parallel import runtime  # noqa: E402

TOLERANCE = 1e-3


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="quickstart_chat", help="architecture, random weights")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--prompt", type=int, default=24, help="tokens of text in a prompt")
    parser.add_argument("--answer", type=int, default=4, help="tokens of a candidate, with </s>")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args(arguments)


def measure(options: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of every round, ``together`` and ``one by one``.

    Raises:
        ZvError: the two do not give the same scores.
    """
    import jax
    import numpy as np

    from benchmarks.generate import inputs
    from zv_jax import trees
    from zv_jax.config import recipe, validate
    from zv_jax.inference.ranking import chunk_of, score
    from zv_jax.models.axes import on_mesh
    from zv_jax.parallel.sharding import make_mesh
    from zv_jax.stages import stage_model, stage_of
    from zv_jax.training.state import fresh_variables

    variant = "chat" if options.preset.endswith("chat") else "base"
    config = validate(recipe(options.preset, stage={"name": "stage2", "variant": variant}))
    mesh = make_mesh(config.mesh)
    with on_mesh(mesh):
        flat, _ = fresh_variables(config, stage_of(config), mesh)
    variables, model = trees.unflatten(flat), stage_model(config)
    rng = np.random.default_rng(0)
    rows, count = options.rows, options.candidates
    given, _ = inputs(config, rows, options.prompt)
    candidates = rng.integers(4, model.llm.vocab_size - 4, (rows, count, options.answer), np.int32)
    mask = np.ones(candidates.shape, bool)
    run = functools.partial(score, variables, given, cfg=model)

    def together() -> np.ndarray:
        return np.asarray(jax.block_until_ready(run(candidates, mask, chunk=chunk_of(count))))

    def one_by_one() -> np.ndarray:
        parts = [run(candidates[:, [c]], mask[:, [c]], chunk=1) for c in range(count)]
        return np.concatenate(jax.block_until_ready(parts), 1)

    with on_mesh(mesh):
        apart = float(np.abs(together() - one_by_one()).max())
        if apart > TOLERANCE:
            raise ZvError(
                f"the scores differ by {apart:.2g}: times of two computations are no comparison"
            )
        found: dict[str, list[float]] = {"together": [], "one by one": []}
        for _ in range(options.rounds):
            for name, ways in (("together", together), ("one by one", one_by_one)):
                started = time.perf_counter()
                ways()
                found[name].append(time.perf_counter() - started)
    return found


def rows(**given: int | str) -> Iterator[Row]:
    """The one comparison, with the options of the command line for arguments."""
    options = parse([f"--{name}={value}" for name, value in given.items()])
    yield as_row(options, measure(options))


def as_row(options: argparse.Namespace, found: dict[str, list[float]]) -> Row:
    """The figures."""
    case = (
        f"{options.preset}: {options.candidates} candidates x {options.rows} rows, "
        f"prompt {options.prompt} tokens, candidate {options.answer}"
    )
    together, apart = (tuple(found[name]) for name in ("together", "one by one"))
    return Row("ranking", case, "candidates one by one", together, apart)


def main(arguments: list[str] | None = None) -> None:
    """Measures and prints one table."""
    options = parse(arguments)
    runtime.prepare()
    print(table([as_row(options, measure(options))], Peaks()))


if __name__ == "__main__":
    main()
