"""A tiny training run over a tiny record file, in this process or as a program of its own.

`toy_run.py WORKDIR CONFIG.json [KEY=VALUE ...]` trains and notes the samples of every batch in
`WORKDIR/ids-0.jsonl`. `die_at=N` kills the process with SIGKILL when it asks for batch N;
`term_at=N` sends it SIGTERM and leaves the time in `WORKDIR/told`; `hang_at=N` makes it wait for
ever. `process=I port=P` makes it one of two processes.
"""

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from zv_jax.checkpoints import arrays as leaves
from zv_jax.checkpoints import reader as stored
from zv_jax.config import Config
from zv_jax.config.build import recipe, to_dict, validate
from zv_jax.data.pipeline import stream
from zv_jax.data.text import tokenizers
from zv_jax.parallel import distributed
from zv_jax.training import trainer as loop

WORDS = [("red", "红色"), ("blue", "蓝色"), ("green", "绿色"), ("black", "黑色"), ("pink", "粉色")]


def record(number: int, lang: str, task: str) -> dict:
    en, zh = WORDS[number % len(WORDS)]
    word = en if lang == "en" else zh
    asks = "What colour is square {}?" if lang == "en" else "第{}个方块是什么颜色？"
    says = f"a {word} square, number {number}" if lang == "en" else f"第{number}个{word}的方块"
    turns = [("user", "<image>" + asks.format(number)), ("assistant", says)]
    return {
        "id": f"toy/train/{number}#{task}-{lang}",
        "source": "toy",
        "split": "train",
        "task": task,
        "lang": lang,
        "images": [{"path": f"images/{number}.png"}],
        "turns": [{"role": r, "text": t} for r, t in turns] if task == "vqa" else [],
        **({"answers": [says]} if task == "caption" else {}),
    }


def write_corpus(folder: Path, images: int = 24) -> Path:
    """`images` small images, four records of each, and a tokenizer trained on them."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    records = []
    for number in range(images):
        pixels = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        records += [record(number, la, task) for la in ("en", "zh") for task in ("caption", "vqa")]
    lines = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records)
    (folder / "train.jsonl").write_text(lines, encoding="utf-8")
    texts = [t["text"] for r in records for t in r["turns"]]
    texts += [a for r in records for a in r.get("answers", ())]
    tokenizers.train_sentencepiece([*texts, "<human>:\n<bot>:"], 400, folder / "tokenizer")
    return folder


def toy_config(corpus: Path, stage: str, **sections: dict) -> Config:
    """Ten steps of four rows on the `tiny` preset, a checkpoint every third step."""
    words = {"kind": "sentencepiece", "path": str(corpus / "tokenizer")}
    own = {
        "stage": {"name": stage},
        "data": {
            "sources": ({"name": "jsonl", "path": str(corpus / "train.jsonl")},),
            "tokenizer": words,
            "qformer_tokenizer": words,
            "max_length": 96,  # nothing is too long
            "max_text": 32,
            "max_answer": 40,
            "max_qformer_text": 12,
        },
        "model": {
            "llm": {"vocab_size": 1024},
            "qformer": {"vocab_size": 1024},
            "image_token_id": 1023,
        },
        "optimizer": {"lr": 1e-3},
        "train": {"steps": 10, "batch_size": 4, "log_every": 1},
        "checkpoint": {"every": 3},
    }
    for name, values in sections.items():
        own[name] = {**own.get(name, {}), **values} if isinstance(values, dict) else values
    if stage == "stage0":
        own["stage"] = {"variant": "base", **own["stage"]}
    return validate(recipe("tiny_chat", **own))


@contextlib.contextmanager
def watched(see: Callable[[int, stream.Batch], None]) -> Iterator[None]:
    """Inside, `see(step, batch)` is called with every batch before training gets it."""
    plain = stream.Batches.__next__

    def seen(batches: stream.Batches) -> stream.Batch:
        step = batches.step
        batch = plain(batches)
        see(step, batch)
        return batch

    stream.Batches.__next__ = seen
    try:
        yield
    finally:
        stream.Batches.__next__ = plain


Act = Callable[[int, stream.Batch], None]


def train(config: Config, workdir: Path, act: Act | None = None, **arguments) -> None:
    """`loop.run`, noting ids; `act(step, batch)` may spoil a batch, or end it all."""
    workdir.mkdir(parents=True, exist_ok=True)
    process = jax.process_index()

    def see(step: int, batch: stream.Batch) -> None:
        with (workdir / f"ids-{process}.jsonl").open("a") as file:
            file.write(json.dumps([step, batch["index"].tolist()]) + "\n")
        if act is not None:
            act(step, batch)

    with watched(see):
        loop.run(config, workdir, **arguments)


def at(step: int, do: Callable[[], None]) -> Act:
    """Calls `do()` when batch `step` is asked for."""
    return lambda now, batch: do() if now == step else None


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def told_to_end() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def wait_for_ever() -> None:
    threading.Event().wait()


def ids(workdir: Path) -> dict[int, list[int]]:
    """Samples of each batch trained on; a batch asked for twice must be the same one."""
    found: dict[int, list[int]] = {}
    for line in (workdir / "ids-0.jsonl").read_text().splitlines():
        step, index = json.loads(line)
        assert found.setdefault(step, index) == index, f"batch {step} changed"
    return found


def losses(workdir: Path) -> list[dict]:
    """Rows of the metrics without what depends on the clock."""
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    kept = (
        "step",
        "loss",
        "lm",
        "itc",
        "itm",
        "itg",
        "token_accuracy",
        "grad_norm",
        "lr",
        "skipped",
    )
    return [{k: v for k, v in row.items() if k in kept} for row in rows]


def events(workdir: Path, kind: str | None = None) -> list[dict]:
    rows = [json.loads(line) for line in (workdir / "events.jsonl").read_text().splitlines()]
    return [row for row in rows if kind in (None, row["kind"])]


def everything(workdir: Path, step: int = 10) -> dict[str, np.ndarray]:
    """Trainable leaves, optimiser state, guards, step and frozen leaves of a checkpoint."""
    folder = stored.located(workdir) / "checkpoints" / str(step) / "state"
    return {
        **leaves.read(folder, leaves.describe(folder)),
        **stored.load_params(workdir, step)[0],
    }


def assert_same_run(one: Path, other: Path, step: int = 10) -> None:
    """Bit for bit: parameters, optimiser, losses, samples."""
    a, b = everything(one, step), everything(other, step)
    assert a.keys() == b.keys()
    for name, leaf in a.items():
        np.testing.assert_array_equal(leaf, b[name], err_msg=name)
    assert losses(one) == losses(other)
    assert ids(one) == ids(other)


def finished_steps(workdir: Path) -> list[int]:
    """Steps whose checkpoint is complete: unfinished ones have another name."""
    names = [path.name for path in (workdir / "checkpoints").glob("*")]
    return sorted(int(name) for name in names if name.isdecimal())


class Stop(Exception):
    """Ends a run in the middle."""


def stop() -> None:
    raise Stop


def write_config(config: Config, path: Path) -> Path:
    path.write_text(json.dumps(to_dict(config)), encoding="utf-8")
    return path


def main(workdir: str, config: str, *pairs: str) -> None:
    options = dict(pair.split("=", 1) for pair in pairs)
    if "port" in options:
        distributed.start(f"127.0.0.1:{options['port']}", 2, int(options["process"]), patience=300)

    def term() -> None:
        Path(workdir, "told").write_text(str(time.time()))
        told_to_end()

    acts = {"die_at": killed, "term_at": term, "hang_at": wait_for_ever}
    acts = [at(int(options[name]), do) for name, do in acts.items() if name in options]
    given = validate(json.loads(Path(config).read_text("utf-8")))
    train(given, Path(workdir), *acts)


if __name__ == "__main__":
    main(*sys.argv[1:])
