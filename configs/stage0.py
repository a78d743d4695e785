"""Stage 0 at full size: image-text pre-training of the Q-Former beside a frozen EVA ViT-g/14.

    zv convert from-hf bert-base-uncased weights/bert_base
    zv tokenizer union bert-base-uncased/vocab.txt weights/qformer_tokenizer \
        --characters=gb2312,big5
    zv tokenizer grow weights/bert_base weights/bert_zh \
        --qformer_tokenizer=weights/qformer_tokenizer
    zv train --config configs/stage0.py:base --workdir runs/stage0_base \
        --config.init_from=weights/eva_vit_g,weights/bert_zh \
        "--config.data.sources=({'name': 'jsonl', 'path': 'pairs.jsonl'},)" \
        --config.data.qformer_tokenizer.path=weights/qformer_tokenizer

The second and third line give the Q-Former Chinese, and are `launch/qformer_zh.sh`; the same two
let a converted BLIP-2 (Base) or InstructBLIP (Chat) go on in two languages. With BERT's own
vocabulary all but 244 Chinese characters are [UNK], and a run says so before its first step; the
word `english` takes it for English pairs. `init_from` takes checkpoints of this program. Further
words after the colon choose model, image size, vocabulary and hardware (`configs/common.py`):
`base,v5e-256`. The paper gives neither hardware nor hours; `zv plan` calculates them,
docs/scale.md has its tables.

Evidence. From the paper (section 3.3): AdamW, lr 1e-5, beta1 0.9, beta2 0.9, eps 1e-8, weight
decay 0.05, clipping 2.0, batch 2048, 90,000 steps; for Chat one hard negative pair per positive.
Not in the paper, from LAVIS's BLIP-2: 5,000 warm-up steps, cosine, captions that are cut (but no
[SEP] is learned behind a cut), label smoothing 0.1, negatives in both directions for Base, crops of
half to all of an image, mirrored half of the time where its caption allows that (docs/data.md):
90,000 batches of 2048 show each of 30M images six times. Prepare images somewhat larger than they
are shown, as --image_size=320, so that a crop stays sharp. Captions
have 64 tokens, which is 62 Chinese characters, and LAVIS's 32 with the word `english`. The
paper's "one hard negative" for Chat leaves open of which kind: an image for each text, as the
first of LAVIS's two directions.

Rows of a chip above 32 are computed in microbatches; up to there nothing is computed twice.
"""

import ml_collections

from zv_jax.configs import common as full_size


def get_config(arg: str = "base") -> ml_collections.ConfigDict:
    """`arg`: base or chat, and further words.

    Raises:
        ConfigError: a word is unknown.
    """
    words = full_size.read("configs/stage0.py", arg, "base")
    return full_size.recipe(
        words,
        model={"remat": "none"},
        stage={
            "name": "stage0",
            "variant": words.variant,
            "label_smoothing": 0.1,
            "itm_negatives": "hard",
            "itm_pairs": "single" if words.variant == "chat" else "both",
        },
        data={"long_answers": "cut", "augment": True},
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
        train={
            "steps": 90_000,
            "batch_size": 2048,
            "microbatches": max(1, 2048 // (32 * words.chips)) if words.machine else 1,
            "log_every": 50,
        },
        checkpoint={"every": 1000, "keep": 2},
    )
