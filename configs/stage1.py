"""Stage 1 at full size: multi-task representation learning (captions, VQA, grounding both ways).

    zv train --config configs/stage1.py:chat --workdir runs/stage1_chat \
        --config.init_from=weights/ziya_llama_13b,runs/stage0_chat \
        "--config.data.sources=({'name': 'jsonl', 'path': 'tasks.jsonl'},)" \
        --config.data.tokenizer.path=weights/ziya_llama_13b/tokenizer.model \
        --config.data.qformer_tokenizer.path=weights/bert_base/vocab.txt

Base trains the projection alone; Chat also its Q-Former, which reads the instruction. Hardware:
an accelerator cluster; the paper gives neither hardware nor hours, and none is claimed here.

Evidence. From the paper (section 3.3, Table 2): what trains, and the four tasks. The paper gives
no hyper-parameters for this stage; these are InstructBLIP's (lr 1e-5 to 0 by cosine after 1,000
warm-up steps, beta2 0.999, weight decay 0.05, batch 64 for a 13B language model, at most 60,000
steps, instructions of 128 and answers of 256 tokens), with the paper's clipping of 2.0.
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
            where="configs/stage1.py",
            expected="base or chat",
            fix="--config configs/stage1.py:chat",
        )
    return recipe(
        PRESETS[arg],
        stage={"name": "stage1", "variant": arg},
        data={
            "max_length": 512,
            "max_qformer_text": 128,
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
