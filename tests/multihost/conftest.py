"""`zv train` as one process with eight devices, or as two processes with four each."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
RECIPE = """
from zv_jax.config import recipe


def get_config(arg):
    return recipe(
        "tiny_chat",
        model={{"vision": {{"image_size": 28}}, "qformer": {{"vocab_size": 480}},
               "llm": {{"vocab_size": 480}}, "image_token_id": 479}},
        stage={{"name": arg, "variant": "chat"}},
        data={{
            "sources": ({{"name": "jsonl", "path": "{path}"}},),
            "tokenizer": {{"vocab_size": 460}}, "qformer_tokenizer": {{"vocab_size": 460}},
            "max_text": 16, "max_length": 48, "max_answer": 16, "max_qformer_text": 16,
        }},
        optimizer={{"lr": 1e-3, "warmup_steps": 0, "schedule": "constant"}},
        mesh={{"data": 2, "fsdp": 4, "tensor": 1}},
        train={{"steps": 4, "batch_size": 8, "log_every": 1}},
        checkpoint={{"every": 100, "keep": 1}},
    )
"""


@pytest.fixture(scope="session")
def recipe_file(tmp_path_factory) -> Path:
    """A recipe over sixteen images, each with a caption and a question in two languages."""
    folder = tmp_path_factory.mktemp("multihost")
    lines = []
    for i in range(16):
        pixels = np.full((28, 28, 3), 16 * i, np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
        for lang, says, asks in (
            ("en", f"a square of shade number {i}", "Which shade is this?"),
            ("zh", f"第{i}号灰色的方块", "这是什么颜色？"),
        ):
            common = {"source": "toy", "split": "train", "lang": lang, "images": [f"{i}.png"]}
            common["images"] = [{"path": f"{i}.png"}]
            lines.append({**common, "id": f"c{i}{lang}", "task": "caption", "turns": [],
                          "answers": [says]})  # fmt: skip
            turns = [("user", "<image>" + asks), ("assistant", says)]
            lines.append({**common, "id": f"q{i}{lang}", "task": "vqa",
                          "turns": [{"role": r, "text": t} for r, t in turns]})  # fmt: skip
    records = folder / "train.jsonl"
    records.write_text("\n".join(json.dumps(x, ensure_ascii=False) for x in lines), "utf-8")
    path = folder / "recipe.py"
    path.write_text(RECIPE.format(path=records), "utf-8")
    return path


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture
def job(tmp_path):
    """`job(commands, devices)` runs processes at once; (exit code, stdout, stderr) of each.

    `meanwhile(started)` is called while they run.
    """

    def run(
        commands: list[list[str]],
        devices: int,
        timeout: float = 900,
        meanwhile: Callable[[list[subprocess.Popen]], None] = lambda started: None,
    ) -> list[tuple]:
        env = os.environ | {
            "PYTHONPATH": str(ROOT),
            "JAX_NUM_CPU_DEVICES": str(devices),
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        }
        started = [
            subprocess.Popen(
                [sys.executable, "-m", "zv_jax", *command],
                cwd=tmp_path, env=env, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )
            for command in commands
        ]  # fmt: skip
        try:
            meanwhile(started)
            return [(p, *p.communicate(timeout=timeout)) for p in started]
        finally:
            for process in started:
                process.kill()

    def codes(*args, **more):
        return [(p.returncode, out, err) for p, out, err in run(*args, **more)]

    return codes
