"""Tokens a second of the serving engine, for one client and for several at once.

    python benchmarks/serving.py --checkpoint=runs/quickstart/stage2_chat
    python benchmarks/serving.py --checkpoint=runs/quickstart/stage2_chat --clients=1,16 --rounds=9

Each client asks about an image of its own, in English or Chinese, as soon as its last question is
answered; min_new_tokens keeps every answer at the same length. All numbers of clients take turns
within a round, so that a change in the machine's speed hits them alike.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that the file runs from anywhere, installed or not

from zv_jax.parallel import runtime  # noqa: E402

runtime.prepare()

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

import zv_jax  # noqa: E402
from zv_jax.serving.engine import Engine  # noqa: E402
from zv_jax.serving.jobs import Event, Job, Piece  # noqa: E402

QUESTIONS = "What is in the image?", "图里有什么？"


class Client:
    """Asks `count` questions, one after another."""

    def __init__(self, engine: Engine, number: int, count: int, tokens: int):
        self.engine, self.left, self.tokens = engine, count, tokens
        self.done, self.first = threading.Event(), []
        pixels = np.random.default_rng(number).integers(0, 256, (64, 64, 3), np.uint8)
        self.image, self.text = Image.fromarray(pixels), QUESTIONS[number % 2]

    def ask(self) -> None:
        processor = self.engine.model.processor
        limit = self.engine.max_new_tokens
        question = processor.question(self.text, [self.image], max_new_tokens=limit)
        self.began, self.left = time.perf_counter(), self.left - 1
        method = zv_jax.Greedy(min_new_tokens=self.tokens)
        self.engine.submit(Job(question, method, self.tokens), self.hear)

    def hear(self, event: Event) -> None:
        if isinstance(event, Piece):
            if self.began:
                self.first.append(time.perf_counter() - self.began)
                self.began = 0.0
        elif self.left:
            threading.Thread(target=self.ask).start()
        else:
            self.done.set()


def measure(engine: Engine, clients: int, count: int, tokens: int) -> tuple[float, float]:
    """Tokens a second of all clients together, and the median seconds to a first token."""
    crowd = [Client(engine, number, count, tokens) for number in range(clients)]
    began = time.perf_counter()
    for client in crowd:
        client.ask()
    for client in crowd:
        client.done.wait()
    seconds = time.perf_counter() - began
    return clients * count * tokens / seconds, statistics.median(sum((c.first for c in crowd), []))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True, help="of stage 1 or 2")
    parser.add_argument("--clients", default="1,4,16", help="numbers of clients, with commas")
    parser.add_argument("--tokens", type=int, default=48, help="of each answer")
    parser.add_argument("--count", type=int, default=4, help="questions of each client")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    numbers = [int(number) for number in given.clients.split(",")]
    model = zv_jax.from_pretrained(given.checkpoint)
    with Engine(model, slots=max(numbers), max_new_tokens=given.tokens) as engine:
        measure(engine, max(numbers), 1, given.tokens)
        rounds = [
            [measure(engine, clients, given.count, given.tokens) for clients in numbers]
            for _ in range(given.rounds)
        ]
    print("| clients | tokens/s | ratio to the first row | by round | first token, ms |")
    print("|---|---|---|---|---|")
    for at, clients in enumerate(numbers):
        ratios = [row[at][0] / row[0][0] for row in rounds]
        rate, first = (statistics.median(row[at][part] for row in rounds) for part in (0, 1))
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        ratio = statistics.median(ratios)
        print(f"| {clients} | {rate:.0f} | {ratio:.2f} | {spread} | {1000 * first:.0f} |")


if __name__ == "__main__":
    main()
