"""A tiny run on the toy records, trained or only evaluated; also a program for fresh processes.

`training_toy.py FOLDER PROCESS COUNT PORT` evaluates random weights on a mesh over the devices of
COUNT processes and prints the scores of this one as JSON.
"""

import json
import sys
from pathlib import Path

from zv_jax.config import Config, recipe, validate
from zv_jax.data.text import tokenizers

EVAL = {"every": 2, "tasks": ("vqa", "caption"), "langs": ("en",), "limit": 3, "batch_size": 4,
        "max_new_tokens": 12, "split": "test"}  # fmt: skip


def prepare(folder: Path) -> Path:
    """Tokenizers trained on the records of `folder`, beside them."""
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text("utf-8").splitlines()]
    texts = [turn["text"] for row in rows for turn in row["turns"]]
    if not (folder / "tokenizer").is_dir():
        tokenizers.train_sentencepiece([*texts, "<human>:\n<bot>:"], 380, folder / "tokenizer")
    return folder


def config(folder: Path) -> Config:
    words = {"kind": "sentencepiece", "path": str(folder / "tokenizer")}
    return validate(
        recipe(
            "tiny_chat",
            stage={"name": "stage2", "variant": "chat"},
            data={
                "sources": ({"name": "jsonl", "path": str(folder)},),
                "tokenizer": words, "qformer_tokenizer": words, "max_length": 64,
                "max_answer": 16, "max_qformer_text": 16,
            },
            model={
                "llm": {"vocab_size": 1024}, "qformer": {"vocab_size": 1024},
                "image_token_id": 1023,
            },
            train={"steps": 4, "batch_size": 4, "log_every": 1},
            checkpoint={"every": 2},
            eval=EVAL,
        )
    )  # fmt: skip


def evaluated(folder: Path) -> dict[str, float]:
    """Scores of random weights on a mesh over all devices of all processes."""
    from zv_jax.data.text.vocabulary import load_tokenizers
    from zv_jax.evaluation.in_training import Evaluation
    from zv_jax.models.axes import on_mesh
    from zv_jax.parallel.sharding import make_mesh
    from zv_jax.stages import stage_of
    from zv_jax.training.state import fresh_variables

    run = config(folder)
    mesh = make_mesh(run.mesh)
    with on_mesh(mesh):
        flat, _ = fresh_variables(run, stage_of(run), mesh)
        return Evaluation(run)(flat, load_tokenizers(run), mesh)


if __name__ == "__main__":
    import jax

    folder, process, count, port = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    if count > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(f"127.0.0.1:{port}", count, process)
    print(json.dumps(evaluated(folder)))
