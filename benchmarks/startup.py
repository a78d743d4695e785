"""How long until something happens: python benchmarks/startup.py [--help].

Imports and `zv --help`, beside `import jax`; then the first step of a training from nothing and
with the programs of an earlier run in the cache, beside PyTorch's, with the memory of each. Every
measurement is a process of its own; those of a round take turns.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that the file runs from anywhere, installed or not

from benchmarks import steps  # noqa: E402
from benchmarks.rows import Peaks, Row, table  # noqa: E402
from zv_jax.errors import ZvError  # noqa: E402
from zv_jax.parallel import runtime  # noqa: E402

PROGRAMS = {
    "import jax": ("-c", "import jax"),
    "import zv_jax": ("-c", "import zv_jax"),
    "import zv_jax, and a model can be loaded": ("-c", "import zv_jax; zv_jax.from_pretrained"),
    "zv --help": ("-m", "zv_jax", "--help"),
    "zv train --help": ("-m", "zv_jax", "train", "--help"),
}


def seconds(*arguments: str) -> float:
    """From the start of an interpreter to its end.

    Raises:
        ZvError: it failed.
    """
    began = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise ZvError(done.stderr.strip().splitlines()[-1], where=" ".join(arguments))
    return time.perf_counter() - began


def imports(rounds: int = 5) -> Iterator[Row]:
    """Every program beside `import jax`."""
    found: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for arguments in PROGRAMS.values():
        seconds(*arguments)  # files come from the disk, and modules are compiled
    for _ in range(rounds):
        for name, arguments in PROGRAMS.items():
            found[name].append(seconds(*arguments))
    bare = tuple(found.pop("import jax"))
    for name, values in found.items():
        yield Row("startup", name, "import jax", tuple(values), bare)


def first_steps(case: str, rounds: int = 2, threads: int = 2) -> Iterator[Row]:
    """Until the end of the first step, and the peak of memory after three, of every way."""
    ways: dict[str, list[dict]] = {"cold": [], "warm": [], "torch": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job = steps.job(case, folder, min(threads, runtime.cores()), warmup=1, steps=2)
        steps.agree(case, job)
        for number in range(rounds):
            cache = {"cache": str(folder / f"cache-{number}")}
            for way in ways:
                asked = {"task": "time", "row": "torch" if way == "torch" else "jax"}
                asked |= {} if way == "torch" else cache
                ways[way].append(steps.in_own_process(job | asked))
    of = lambda way, field: tuple(float(found[field]) for found in ways[way])
    for way, cached in (("cold", "nothing cached"), ("warm", "programs cached")):
        about = f"first step of {case}, {cached}", "PyTorch, float32"
        first = "until_first_step_seconds"
        yield Row("startup", *about, of(way, first), of("torch", first))
        peak = f"{case}, peak, {cached}", "PyTorch, float32"
        yield Row(
            "memory", *peak, of(way, "peak_rss_bytes"), of("torch", "peak_rss_bytes"), "bytes"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="of imports")
    parser.add_argument("--case", default="quickstart/stage2_chat")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    found = [*imports(given.rounds), *first_steps(given.case, 2, given.threads)]
    print(table(found, Peaks()))


if __name__ == "__main__":
    main()
