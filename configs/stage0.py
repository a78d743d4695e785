"""Stage 0 at full size: image-text pre-training of the Q-Former beside a frozen EVA ViT-g/14.

    zv train --config configs/stage0.py:base --workdir runs/stage0_base \
        --config.init_from=weights/eva_vit_g,weights/bert_base \
        "--config.data.sources=({'name': 'jsonl', 'path': 'pairs.jsonl'},)" \
        --config.data.qformer_tokenizer.path=weights/bert_base/vocab.txt

`init_from` takes checkpoints of this program. Hardware: an accelerator cluster; the paper gives
neither hardware nor hours, and none is claimed here.

Evidence. From the paper (section 3.3): AdamW, lr 1e-5, beta1 0.9, beta2 0.9, eps 1e-8, weight
decay 0.05, clipping 2.0, batch 2048, 90,000 steps; for Chat one hard negative pair per positive.
Not in the paper, from LAVIS's BLIP-2: 5,000 warm-up steps, cosine, captions of 32 tokens, label
smoothing 0.1, negatives in both directions for Base.
"""

import ml_collections

from zv_jax.config import recipe
from zv_jax.errors import ConfigError

PRESETS = {"base": "ziya_visual_base_13b", "chat": "ziya_visual_chat_13b"}


def get_config(arg: str = "base") -> ml_collections.ConfigDict:
    """`arg` is base or chat.

    Raises:
        ConfigError: it is neither.
    """
    if arg not in PRESETS:
        raise ConfigError(
            f"there is no variant {arg!r}",
            where="configs/stage0.py",
            expected="base or chat",
            fix="--config configs/stage0.py:base",
        )
    return recipe(
        PRESETS[arg],
        stage={
            "name": "stage0",
            "variant": arg,
            "label_smoothing": 0.1,
            "itm_negatives": "hard",
            "itm_pairs": "single" if arg == "chat" else "both",
        },
        data={"max_text": 32, "qformer_tokenizer": {"kind": "bert", "vocab_size": 30523}},
        optimizer={
            "lr": 1e-5,
            "b1": 0.9,
            "b2": 0.9,
            "eps": 1e-8,
            "weight_decay": 0.05,
            "clip_norm": 2.0,
            "warmup_steps": 5000,
            "schedule": "cosine",
        },
        mesh={"data": 1, "fsdp": -1},
        train={"steps": 90_000, "batch_size": 2048, "log_every": 50},
        checkpoint={"every": 1000, "keep": 2},
    )
