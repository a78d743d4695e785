"""Everything that is measured on a CPU, as one table: make bench, or python benchmarks/bench.py.

    python benchmarks/bench.py --dry_run              # the parts, with their time limits
    python benchmarks/bench.py --only decode startup  # some of them
    python benchmarks/page.py runs/bench.jsonl        # the figures into docs/performance.md

Wants a quiet machine: the load is noted with every part. Results are in `--out` as they come.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that the file runs from anywhere, installed or not

from benchmarks.suite import Part, chosen, listed, page, run  # noqa: E402
from zv_jax.errors import ZvError  # noqa: E402

BESIDE = {
    "stage0": ("torch", "torch-malloc", "torch-bf16", "torch-lavis"),
    "stage1_chat": ("torch", "torch-malloc", "torch-bf16", "hf"),
    "stage2_base": ("torch", "torch-malloc", "torch-bf16", "hf"),
    "stage2_chat": ("torch", "torch-malloc", "torch-bf16", "hf"),
}


def steps(case: str, about: str, limit: int, *others: str) -> Part:
    given = {"case": f"quickstart/{case}", "others": others}
    return Part("steps", "benchmarks.steps:rows", about, limit, given)


PEAKS = Part("peaks", "benchmarks.peaks:measure", "what the machine reaches", 90)
PARTS = (
    *(
        steps(case, "training steps beside PyTorch, LAVIS's passes or transformers and PEFT", 480,
              *others)
        for case, others in BESIDE.items()
    ),
    Part("decode", "benchmarks.decode:rows", "answers beside transformers", 420),
    Part("ranking", "benchmarks.ranking:rows", "given answers, ranked", 240),
    Part("retrieval", "benchmarks.retrieval:rows", "all images with all texts", 180),
    Part(
        "data", "benchmarks.data_throughput:rows", "the pipeline beside Pillow and WebDataset; "
        "memory of many records", 420,
    ),
    Part("data", "benchmarks.feeding:rows", "a training beside the bare step", 240),
    Part("startup", "benchmarks.startup:imports", "imports and the help of zv", 90),
    Part(
        "startup", "benchmarks.startup:first_steps", "the first step, cold and warm, with its "
        "memory", 420, {"case": "quickstart/stage2_chat"},
    ),
    Part("memory", "benchmarks.resume:rows", "continuing a run", 300),
    *(
        steps(case, "a step beside transformers and PEFT by torch.compile", 480, "hf-compile")
        for case in ("stage2_base", "stage2_chat")
    ),
)  # fmt: skip


def main() -> int:
    """Exit status 0; 1 if a part failed or ran out of time, 2 if there is no such part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[], help="names of parts")
    parser.add_argument("--dry_run", action="store_true", help="print the parts")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "bench.jsonl")
    given = parser.parse_args()
    try:
        parts = [PEAKS, *chosen(PARTS, given.only)]
    except ZvError as error:
        print(error, file=sys.stderr)
        return 2
    if given.dry_run:
        print(listed(parts))
        return 0
    os.environ["JAX_PLATFORMS"] = "cpu"  # of all parts, also where there is a GPU
    found = run(parts, given.out)
    print(page(found))
    print(f"kept in {given.out}; python benchmarks/page.py {given.out} shows it in the docs")
    return int(any(line["kind"] == "end" and line["wrong"] for line in found))


if __name__ == "__main__":
    sys.exit(main())
