"""How fast the client of a language model asks, and what it holds while it does.

    python benchmarks/llm.py
    python benchmarks/llm.py --requests=100000 --concurrency=64 --pause=0.2

A scripted server in a process of its own answers each request after `--pause` seconds, so that
`concurrency / pause` requests a second is the most there can be. Replies go to a ledger on the
disk, as always. Then all of it is asked again, which the ledger answers.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that the file runs from anywhere, installed or not

from benchmarks.chat_server import in_a_process  # noqa: E402
from zv_jax.llm.client import Client  # noqa: E402
from zv_jax.llm.endpoint import Endpoint  # noqa: E402
from zv_jax.llm.ledger import Ledger  # noqa: E402
from zv_jax.llm.prices import Budget, Prices  # noqa: E402
from zv_jax.llm.request import Reply, Request  # noqa: E402

CONTEXT = "A man rides a brown horse on a beach. person: [0.31, 0.22, 0.48, 0.71]. " * 20
PARAMETERS = {"model": "scripted", "temperature": 0.7, "max_tokens": 300}


def requests(number: int) -> Iterator[tuple[str, Request]]:
    """Prompts of about 400 tokens, made one by one."""
    for row in range(number):
        messages = [{"role": "system", "content": "Ask about the image, then answer."},
                    {"role": "user", "content": f"image {row}: {CONTEXT}"}]  # fmt: skip
        yield str(row), Request(messages, PARAMETERS, pack="b" * 64)


def resident() -> float:
    """MiB that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def measure(client: Client, number: int) -> tuple[float, list[float]]:
    """Seconds, and MiB after each tenth of the requests."""
    begun, held = time.monotonic(), []
    for row, (_, outcome) in enumerate(client.ask_all(requests(number)), 1):
        assert isinstance(outcome, Reply), outcome
        if row % max(1, number // 10) == 0:
            held.append(resident())
    return time.monotonic() - begun, held


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--pause", type=float, default=0.2)
    options = parser.parse_args()
    most = options.concurrency / options.pause if options.pause else float("inf")
    with tempfile.TemporaryDirectory() as folder, in_a_process(options.pause) as url:
        end = Endpoint(url, "scripted", concurrency=options.concurrency)
        for what in ("asked", "from the ledger"):
            budget = Budget(1e6, Prices(2.5, 10))
            with Ledger(Path(folder) / "ledger.jsonl", "benchmark") as ledger:
                with Client(end, ledger, budget) as client:
                    seconds, held = measure(client, options.requests)
                spent, size = budget.spent, ledger.path.stat().st_size
            bound = f" of at most {most:.0f}" if what == "asked" else ""
            print(f"{what}: {options.requests} requests, {options.requests / seconds:.0f}/s{bound}")
            print("  MiB held after each tenth: " + " ".join(f"{mib:.0f}" for mib in held))
        print(f"ledger: {size / options.requests:.0f} bytes a request; ${spent:.4f}")


if __name__ == "__main__":
    main()
