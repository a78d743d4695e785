"""Stage 1 at full size: multi-task representation learning (captions, VQA, grounding both ways).

    zv train --config configs/stage1.py:chat --workdir runs/stage1_chat \
        --config.init_from=weights/ziya_llama_13b,runs/stage0_chat \
        "--config.data.sources=({'name': 'jsonl', 'path': 'tasks.jsonl'},)" \
        --config.data.tokenizer.path=weights/ziya_llama_13b/tokenizer.model \
        --config.data.qformer_tokenizer.path=weights/qformer_tokenizer

Base trains the projection alone; Chat also its Q-Former, which reads the instruction with the
vocabulary of stage 0. Further words after the colon choose model, image size, vocabulary and
hardware (`configs/common.py`): `chat,7b,v5e-256`. The paper gives neither hardware nor hours;
`zv plan` calculates them, docs/scale.md has its tables.

Evidence. From the paper (section 3.3, Table 2): what trains, and the four tasks. The paper gives
no hyper-parameters for this stage; these are InstructBLIP's (lr 1e-5 to 0 by cosine after 1,000
warm-up steps, beta2 0.999, weight decay 0.05, batch 64 for a 13B language model, at most 60,000
steps, instructions of 128 and answers of 256 tokens), with the paper's clipping of 2.0.
Hardware of more than 16 chips gets larger batches and fewer steps over the same number of rows.
"""

import ml_collections

from zv_jax.configs import common as full_size


def get_config(arg: str = "chat") -> ml_collections.ConfigDict:
    """`arg`: base or chat, and further words.

    Raises:
        ConfigError: a word is unknown.
    """
    words = full_size.read("configs/stage1.py", arg, "chat")
    optimizer, train = full_size.fine_tuning(words, 512)
    return full_size.recipe(
        words,
        stage={"name": "stage1", "variant": words.variant},
        data={
            "max_length": 512,
            "max_qformer_text": 136,  # InstructBLIP's 128, and the 8 pieces of <human>: and <bot>:
            "tokenizer": {"kind": "sentencepiece", "vocab_size": 39424},
        },
        optimizer=optimizer,
        train=train,
        checkpoint={"every": 1000, "keep": 2},
    )
