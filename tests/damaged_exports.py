"""A random Chat and its exports, damage to their files, and what their certificates say."""

import json
from pathlib import Path

import numpy as np
from random_runs import TEXTS, random_run
from safetensors.numpy import load_file, save_file

from zv_jax.cli import main as cli
from zv_jax.data.text import tokenizers

LAYER = "language_model.model.layers.1"
QUERY = f"base_model.model.{LAYER}.self_attn.q_proj"
PATCH = "vision_model.embeddings.patch_embedding.weight"


def export_chat(folder: Path) -> None:
    """A random Chat in `run`, exported as `merged`, and as `plain` with `adapter` beside it."""
    tokenizer = tokenizers.train_sentencepiece(TEXTS, 399, folder / "words")
    run = random_run(folder / "run", tokenizer, "stage2", "chat", positions=256)
    for words in (
        ["to-hf", str(run), str(folder / "merged"), "--merge-lora"],
        ["to-hf", str(run), str(folder / "plain"), "--nomerge-lora"],
        ["to-peft", str(run), str(folder / "adapter")],
    ):
        assert cli.main(["convert", *words]) == 0


def certificate(out: str) -> dict:
    """That of an export."""
    return json.loads(Path(out, "certificate.json").read_text("utf-8"))


def change(folder: Path, name: str, damage) -> None:
    """`damage(tensor)` in the file of weights; None takes the tensor away."""
    (path,) = folder.glob("*model.safetensors")
    tensors = load_file(path)
    damaged = damage(tensors.pop(name))
    tensors |= {} if damaged is None else {name: np.ascontiguousarray(damaged)}
    save_file(tensors, path, {"format": "pt"})


def swapped(rows: np.ndarray) -> np.ndarray:
    """The first two rows change places."""
    return rows[[1, 0, *range(2, len(rows))]]


def turned(kernel: np.ndarray) -> np.ndarray:
    """A kernel [D, 3, p, p] whose patches are transposed."""
    return kernel.swapaxes(2, 3)
