"""Everything that is worth measuring on a GPU, in 12 minutes: make bench-gpu.

    python benchmarks/gpu_suite.py --dry_run     # the parts in order of worth, with their limits
    python benchmarks/gpu_suite.py               # all of them, on the first GPU
    python benchmarks/gpu_suite.py --small       # a rehearsal on a CPU, at small size

Models of full width, random weights, beside transformers and PEFT on the same GPU where torch with
CUDA is installed. The size follows the memory of the GPU. Results are in `--out` as they come.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that the file runs from anywhere, installed or not

from benchmarks.suite import RESULTS, Part, chosen, listed, page, run  # noqa: E402
from zv_jax.errors import SetupError, ZvError  # noqa: E402

GIB = 1 << 30


@dataclass(frozen=True)
class Size:
    """What a GPU of at least `memory` bytes holds: rows of each stage, and of answers."""

    memory: float
    model: str
    stage2: int
    stage0: int
    answers: int
    tokens: int
    attention: tuple[int, int, int, int]


# Weights of 13B in bfloat16 are 26 GB, those of 7B 14 GB; 16 rows of stage 2 with everything
# recomputed take 40 GiB of an H200 (docs/measured/stage2_chat_h200.json).
SIZES = (
    Size(120 * GIB, "13b", 16, 256, 16, 64, (40, 128, 1024, 16)),
    Size(70 * GIB, "13b", 8, 128, 16, 64, (40, 128, 1024, 8)),
    Size(38 * GIB, "7b", 4, 64, 16, 64, (32, 128, 1024, 4)),
    Size(0, "tiny", 4, 8, 2, 4, (2, 8, 16, 2)),
)
SMALL = SIZES[-1]


def memory() -> float:
    """Bytes of the first GPU.

    Raises:
        SetupError: there is none.
    """
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return float(shown.split()[0]) * (1 << 20)
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError) as error:
        raise SetupError(
            f"no NVIDIA GPU answers: {error}",
            where="nvidia-smi",
            expected="a GPU",
            fix="python benchmarks/gpu_suite.py --small rehearses on a CPU",
        ) from None


def parts(size: Size) -> list[Part]:
    """In order of worth: what comes first is measured when time is short."""
    small = size is SMALL
    first = {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]}
    # PyTorch's processes leave the memory of the GPU to it: there jax stays on the CPU.
    torch = {"JAX_PLATFORMS": "cpu"} | ({} if small else first)
    one = torch if small else first | {"JAX_PLATFORMS": "cuda,cpu"}
    # Both names at once are an error of jax, also where the user has set the old one.
    wide = {"XLA_CLIENT_MEM_FRACTION": ".95", "XLA_PYTHON_CLIENT_MEM_FRACTION": ""}
    stage2 = {"stage": "stage2", "size": size.model, "batch": size.stage2}
    stage0 = {"stage": "stage0", "size": size.model, "batch": size.stage0}
    theirs = {"size": size.model, "batch": size.stage2, "results": RESULTS}
    heads, dim, length, rows = size.attention

    def step(about: str, limit: int, given: dict, more: dict | None = None) -> Part:
        return Part("steps", "benchmarks.gpu_parts:step", about, limit, given, one | (more or {}))

    def bits(kind: str) -> Part:
        given = stage0 | {"about": f"bits by {kind}", "random_bits": kind}
        return step(f"stage 0, dropout bits by {kind}", 100, given)

    def peft(about: str, limit: int, **given: bool) -> Part:
        return Part("steps", "benchmarks.gpu_parts:peft_step", about, limit, theirs | given, torch)

    peaks = {"width": 64, "size": 1 << 20} if small else {}
    answers = {"size": size.model, "tokens": size.tokens}
    return [
        Part("peaks", "benchmarks.peaks:measure", "what the GPU reaches", 60, peaks, one),
        step(
            "stage 2 Chat, remat names, 95 % of the memory", 130,
            stage2 | {"remat": "names", "about": "memory fraction .95"}, wide,
        ),
        peft("stage 2 Chat by transformers and PEFT", 110),
        step("stage 0 in one microbatch", 110, stage0),
        Part(
            "decode", "benchmarks.gpu_parts:answers", "all layers, batch 1 and more", 110,
            answers | {"rows": [1, size.answers]}, one,
        ),
        Part(
            "decode", "benchmarks.gpu_parts:peft_answers", "the same by transformers", 90,
            answers | {"rows": size.answers, "results": RESULTS}, torch,
        ),
        bits("unsafe_rbg"),
        Part(
            "attention", "benchmarks.gpu_parts:attention", "causal by its kind and by a mask", 45,
            {"heads": heads, "dim": dim, "length": length, "rows": rows}, one,
        ),
        step("stage 2 Chat as the recipe has it", 110, stage2),
        step("the same in two microbatches, remat names", 110, stage2 | {
            "remat": "names", "microbatches": 2}),
        bits("rbg"),
        peft("stage 2 Chat by transformers and PEFT, nothing recomputed", 90, checkpointing=False),
        step("stage 0 in 8 microbatches, as before", 110, stage0 | {"microbatches": 8}),
        peft("stage 2 Chat by transformers and PEFT, compiled", 180, compiled=True),
    ]  # fmt: skip


def main() -> int:
    """Exit status 0; 1 if a part failed or ran out of time, 2 if nothing can be measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[], help="names of parts")
    parser.add_argument("--minutes", type=float, default=12.0, help="for all of it")
    parser.add_argument("--small", action="store_true", help="a rehearsal on a CPU")
    parser.add_argument("--dry_run", action="store_true", help="print the parts")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "bench_gpu.jsonl")
    given = parser.parse_args()
    try:
        size = SMALL if given.small else next(s for s in SIZES if s.memory <= memory())
        wanted = chosen(parts(size), given.only)
    except ZvError as error:
        print(error, file=sys.stderr)
        return 2
    if given.dry_run:
        print(listed(wanted))
        return 0
    found = run(wanted, given.out, 60 * given.minutes, "gpu")
    print(page(found))
    print(f"kept in {given.out}; python benchmarks/page.py {given.out} shows it in the docs")
    return int(any(line["kind"] == "end" and line["wrong"] for line in found))


if __name__ == "__main__":
    sys.exit(main())
