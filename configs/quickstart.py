"""The whole of the training on two CPU cores, from nothing, on the embedded data set.

    zv data prepare zv_openmoji
    zv train --config configs/quickstart.py:language    --workdir runs/quickstart/language
    zv train --config configs/quickstart.py:vision      --workdir runs/quickstart/vision
    zv train --config configs/quickstart.py:stage0      --workdir runs/quickstart/stage0
    zv train --config configs/quickstart.py:stage1_base --workdir runs/quickstart/stage1_base
    zv train --config configs/quickstart.py:stage1_chat --workdir runs/quickstart/stage1_chat
    zv train --config configs/quickstart.py:stage2_base --workdir runs/quickstart/stage2_base
    zv train --config configs/quickstart.py:stage2_chat --workdir runs/quickstart/stage2_chat

or all of it with evaluation and report: `make quickstart`. Hardware: 2 CPU cores, 6 GiB.
Time and scores: runs/quickstart/times.jsonl, results.json and report.html of your own run.

What differs from the full-size recipes: the models are small and no pre-trained weights exist for
them, so `language` teaches the small LLaMA to speak and to read symbols, and `vision` teaches the
small ViT to write such symbols. Both are frozen from then on, as in the paper.

In another place: --config.init_from=OTHER/language,OTHER/stage0
"""

import ml_collections

from zv_jax.config import recipe
from zv_jax.errors import unknown_name

RUNS = "runs/quickstart"
MULTI_TASK = ("caption", "vqa", "ref_ground", "ref_caption")  # what stage 1 learns (Table 2)


SHORT = ("caption", "vqa", "mc_vqa", "ref_ground", "ref_caption", "reason")
LONG = ("conversation", "detail")  # over one picture or two


def _source(*tasks: str, weight: float = 1.0, **rows: int) -> dict:
    return {
        "name": "zv_openmoji",
        "path": "",
        "split": "train",
        "weight": weight,
        "tasks": tasks,
        "langs": ("en", "zh"),
        **rows,
    }


def _with_grounding(*tasks: str, **rows: int) -> tuple[dict, dict]:
    """The tasks, and boxes once more: four numbers are learnt last."""
    return _source(*tasks, **rows), _source("ref_ground", weight=0.2, **rows)


def _data(*tasks: str, **other) -> dict:
    return {
        "sources": (_source(*tasks),),
        "max_text": 40,
        "max_length": 108,
        "max_answer": 72,
        "max_qformer_text": 28,
        "box_decimals": 2,
        "cache_images": True,
        **other,
    }


def _optimizer(lr: float, warmup_steps: int) -> dict:
    return {
        "name": "muon",
        "lr": lr,
        "b2": 0.98,
        "warmup_steps": warmup_steps,
        "final_lr": lr / 20,
    }


def _train(steps: int, batch_size: int) -> dict:
    return {"steps": steps, "batch_size": batch_size, "log_every": 10}


def _recipe(variant: str, name: str, **sections) -> ml_collections.ConfigDict:
    return recipe(
        f"quickstart_{variant}",
        stage={"name": name, "variant": variant},
        checkpoint={"every": 100, "keep": 1},
        **sections,
    )


def _language() -> ml_collections.ConfigDict:
    return _recipe(
        "base",
        "language",
        # Looking things up in a picture is learnt last, so it is asked for more often.
        data=_data(
            sources=(_source(), _source("vqa", weight=0.7), _source("ref_ground", weight=0.5))
        ),
        optimizer=_optimizer(5e-3, 30),
        train=_train(600, 16),
    )


def _vision() -> ml_collections.ConfigDict:
    return _recipe(
        "base",
        "vision",
        data=_data("caption"),
        optimizer=_optimizer(5e-3, 20),
        train=_train(350, 64),
    )


def _stage0() -> ml_collections.ConfigDict:
    return _recipe(
        "base",
        "stage0",
        data=_data("caption"),
        optimizer=_optimizer(2e-3, 20),
        train=_train(240, 128),
        init_from=(f"{RUNS}/vision",),
    )


def _stage1(variant: str) -> ml_collections.ConfigDict:
    # Base trains the projection only, so a high rate and few steps suffice.
    base = variant == "base"
    return _recipe(
        variant,
        "stage1",
        data=_data(sources=_with_grounding(*MULTI_TASK), max_length=66, max_answer=34),
        optimizer=_optimizer(5e-3 if base else 2e-3, 20),
        train=_train(150 if base else 650, 32),
        init_from=(f"{RUNS}/language", f"{RUNS}/stage0"),
    )


def _stage2(variant: str) -> ml_collections.ConfigDict:
    # Dialogues and stories over two pictures, and all other tasks, whose rows are half as long.
    short = _with_grounding(*SHORT, max_length=72, max_images=1)
    # Chat's adapters learn to compare a word with what is shown only after some 500 steps: after
    # 350, yes or no was right by chance, after 1350 in four of five questions.
    lr, steps = (2e-3, 150) if variant == "base" else (1.5e-3, 1350)
    return _recipe(
        variant,
        "stage2",
        data=_data(sources=(*short, _source(*LONG, weight=0.3)), max_length=116, max_images=2),
        optimizer=_optimizer(lr, 20),
        train=_train(steps, 32),
        init_from=(f"{RUNS}/stage1_{variant}",),
    )


RECIPES = {
    "language": _language,
    "vision": _vision,
    "stage0": _stage0,
    "stage1_base": lambda: _stage1("base"),
    "stage1_chat": lambda: _stage1("chat"),
    "stage2_base": lambda: _stage2("base"),
    "stage2_chat": lambda: _stage2("chat"),
}


def get_config(arg: str = "stage0") -> ml_collections.ConfigDict:
    """The recipe named `arg`.

    Raises:
        ConfigError: there is no such recipe here.
    """
    if arg not in RECIPES:
        raise unknown_name(
            "recipe",
            arg,
            RECIPES,
            "configs/quickstart.py",
            fix="--config configs/quickstart.py:stage0",
        )
    return RECIPES[arg]()
