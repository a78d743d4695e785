"""Exports of small random models, with the answers that zv_jax gives: make_exports.py OUT

Runs in an environment of zv_jax; the tests run in one of vLLM, which has no JAX. OUT gets, for each
model, a directory of transformers (`chat` with its adapters merged, `plain` without them and
`adapter` beside it, `base`), images and `cases.json`. A trained checkpoint of Chat that
`ZV_VLLM_CHECKPOINT` names is taken instead of the random one.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from random_runs import TEXTS, random_run  # noqa: E402

from zv_jax.convert import export, own_checkpoint, peft  # noqa: E402
from zv_jax.data.text import tokenizers  # noqa: E402
from zv_jax.data.text.dialogue import Exchange  # noqa: E402
from zv_jax.inference.model import from_pretrained  # noqa: E402

NEW = 16  # tokens
WHAT, CHINESE = "What is in the picture?", "图里有什么？"
DIALOGUES = {
    "no image": [("two", None, [])],
    "one image": [(WHAT, None, [0])],
    "another question": [("Where is it?", None, [0])],
    "another image": [(WHAT, None, [1])],
    "Chinese": [(CHINESE, None, [1])],
    "two images": [(WHAT, None, [0, 1])],
    "swapped": [(WHAT, None, [1, 0])],
    "three, one of them twice": [("How many are there?", None, [2, 0, 2])],
    "two turns": [(WHAT, "two red squares", [0]), ("And here?", None, [1])],
    "Chinese turns": [(CHINESE, "一个红色的方块。", [0]), ("它在哪里？", None, [])],
    "a long question": [("Where is it? " * 4 + "是 what?", None, [0])],
}


def write_images(folder: Path) -> list[Path]:
    """Three images of noise, none of the model's size."""
    rng = np.random.default_rng(4)
    paths = []
    for i, size in enumerate(((40, 30, 3), (28, 28, 3), (61, 90, 3))):
        paths.append(folder / f"{i}.png")
        Image.fromarray(rng.integers(0, 255, size, np.uint8)).save(paths[-1])
    return paths


def cases(checkpoint: Path, images: list[Path]) -> list[dict]:
    """Each dialogue with the ids of its prompt and of the greedy answer, `</s>` left out."""
    model = from_pretrained(checkpoint)
    talks, shown = [], []
    for turns in DIALOGUES.values():
        shown.append([images[i] for _, _, numbers in turns for i in numbers])
        counted = iter(range(len(shown[-1])))
        talks.append([Exchange(q, a, tuple(next(counted) for _ in new)) for q, a, new in turns])
    rows = model.processor.questions(talks, shown, max_new_tokens=NEW)
    given = model.processor.collate(rows, max_new_tokens=NEW)
    answers = model.generate(given, max_new_tokens=NEW).tolist()
    eos = model.tokenizer.eos_id
    return [
        {
            "name": name,
            "turns": turns,
            "prompt": row.input_ids,
            "qformer": row.qformer_ids,
            "answer": ids[: ids.index(eos)] if eos in ids else ids,
        }
        for (name, turns), row, ids in zip(DIALOGUES.items(), rows, answers, strict=True)
    ]


def made(folder: Path, tokenizer: tokenizers.Tokenizer, stage: str, variant: str) -> Path:
    """A random model whose heads are as wide as vLLM's attention on CPUs wants them."""
    return random_run(folder, tokenizer, stage, variant, positions=256, head_dim=32)


def main(out: Path) -> None:
    tokenizer = tokenizers.train_sentencepiece(TEXTS, 400, out / "tokenizer")
    trained = os.environ.get("ZV_VLLM_CHECKPOINT")
    chat = Path(trained) if trained else made(out / "run", tokenizer, "stage2", "chat")
    base = made(out / "run_base", tokenizer, "stage1", "base")
    images = write_images(out)
    opened = own_checkpoint.open_checkpoint(chat)
    export.to_hf(opened, out / "chat", export.Options(merge_lora=True))
    export.to_hf(opened, out / "plain", export.Options(merge_lora=False))
    peft.to_peft(opened, out / "adapter", base="plain")
    export.to_hf(own_checkpoint.open_checkpoint(base), out / "base")
    found = {"chat": cases(chat, images), "base": cases(base, images)}
    (out / "cases.json").write_text(json.dumps(found, ensure_ascii=False), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
