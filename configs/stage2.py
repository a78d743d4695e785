"""Stage 2 at full size: scene-aware knowledge learning (dialogues, reasoning, descriptions).

    zv train --config configs/stage2.py:chat --workdir runs/stage2_chat \
        --config.init_from=runs/stage1_chat \
        "--config.data.sources=({'name': 'jsonl', 'path': 'dialogues.jsonl'},)" \
        --config.data.tokenizer.path=weights/ziya_llama_13b/tokenizer.model \
        --config.data.qformer_tokenizer.path=weights/bert_base/vocab.txt

Base opens the Q-Former; Chat also trains low-rank adapters in the ViT and the language model.
Hardware: an accelerator cluster; the paper gives neither hardware nor hours, and none is claimed
here.

Evidence. From the paper (section 3.3, Table 3): what trains, and the kinds of data. The paper
gives no hyper-parameters for this stage, nor the rank of the adapters; as in stage 1 the optimiser
is InstructBLIP's with the paper's clipping of 2.0. Rank and targets: zv_jax/models/presets.py.
"""

import ml_collections

from zv_jax.config import recipe
from zv_jax.errors import ConfigError

PRESETS = {"base": "ziya_visual_base_13b", "chat": "ziya_visual_chat_13b"}


def get_config(arg: str = "chat") -> ml_collections.ConfigDict:
    """`arg` is base or chat.

    Raises:
        ConfigError: it is neither.
    """
    if arg not in PRESETS:
        raise ConfigError(
            f"there is no variant {arg!r}",
            where="configs/stage2.py",
            expected="base or chat",
            fix="--config configs/stage2.py:chat",
        )
    return recipe(
        PRESETS[arg],
        stage={"name": "stage2", "variant": arg},
        data={
            "max_length": 1024,
            "max_qformer_text": 128,
            "max_images": 3,
            "tokenizer": {"kind": "sentencepiece", "vocab_size": 39424},
            "qformer_tokenizer": {"kind": "bert", "vocab_size": 30523},
        },
        optimizer={
            "lr": 1e-5,
            "b1": 0.9,
            "b2": 0.999,
            "eps": 1e-8,
            "weight_decay": 0.05,
            "clip_norm": 2.0,
            "warmup_steps": 1000,
            "schedule": "cosine",
        },
        mesh={"data": 1, "fsdp": -1},
        train={"steps": 60_000, "batch_size": 64, "log_every": 50},
        checkpoint={"every": 1000, "keep": 2},
    )
