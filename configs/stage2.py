"""Stage 2 at full size: scene-aware knowledge learning (dialogues, reasoning, descriptions).

    zv train --config configs/stage2.py:chat --workdir runs/stage2_chat \
        --config.init_from=runs/stage1_chat \
        "--config.data.sources=({'name': 'jsonl', 'path': 'dialogues.jsonl'},)" \
        --config.data.tokenizer.path=weights/ziya_llama_13b/tokenizer.model \
        --config.data.qformer_tokenizer.path=weights/qformer_tokenizer

Base opens the Q-Former; Chat also trains low-rank adapters in the ViT and the language model. The
vocabulary of the Q-Former is that of stage 0. Further words after the colon choose model, image
size, vocabulary and hardware (`configs/common.py`): `chat,7b,v5e-256`. The paper gives neither
hardware nor hours; `zv plan` calculates them, docs/scale.md has its tables.

Evidence. From the paper (section 3.3, Table 3): what trains, and the kinds of data. The paper
gives no hyper-parameters for this stage, nor the rank of the adapters; as in stage 1 the optimiser
is InstructBLIP's with the paper's clipping of 2.0. Rank and targets: zv_jax/models/presets.py.
InstructBLIP's answers of 256 tokens do not hold this stage's data: max_answer leaves 128 of a
row's 1024 places to three images and a short question. Of exchanges made up to the published
lengths of LLaVA and SVIT more than 99 % fit, of SVIT's details (360 words assumed) 98 %, 94 % in
Chinese. With 256 it was 84 % of LLaVA's conversations, 81 % in Chinese, and 3 % of SVIT's details
(tests/data/pipeline/test_stage2_lengths.py). LLaVA-bench allows as many tokens as are taught here.
Hardware of more than 16 chips gets larger batches and fewer steps over the same number of rows.
"""

import ml_collections

from zv_jax.configs import common as full_size


def get_config(arg: str = "chat") -> ml_collections.ConfigDict:
    """`arg`: base or chat, and further words.

    Raises:
        ConfigError: a word is unknown.
    """
    words = full_size.read("configs/stage2.py", arg, "chat")
    optimizer, train = full_size.fine_tuning(words, 1024)
    return full_size.recipe(
        words,
        stage={"name": "stage2", "variant": words.variant},
        data={
            "max_length": 1024,
            "max_answer": 896,
            "max_qformer_text": 136,  # InstructBLIP's 128, and the 8 pieces of <human>: and <bot>:
            "max_images": 3,
            "tokenizer": {"kind": "sentencepiece", "vocab_size": 39424},
        },
        optimizer=optimizer,
        train=train,
        checkpoint={"every": 1000, "keep": 2},
    )
