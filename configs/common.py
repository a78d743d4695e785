"""What the full-size recipes share: the words after the colon, `configs/stage2.py:chat,v5e-256`.

| word | chooses | default |
|---|---|---|
| base, chat | the model | the recipe's |
| 7b, 13b | the language model | 13b |
| 224, 364, 490 | pixels of an image's side (26 and 35 patches; the paper uses 224) | 224 |
| 256x768 | the paper's shapes: 256 patches of width 768 to 64 queries (below) | BLIP-2's |
| bilingual, english | the Q-Former's vocabulary: with Chinese, or BERT's own (below) | bilingual |
| v5e-256, h100x8, ... | mesh, remat (`zv_jax/parallel/hardware.py`) | fsdp over all, full remat |

Shapes. The paper writes that "256x768" image features become 64; the published Base and BLIP-2 have
257 x 1408 (a class token more, the width of ViT-g) and 32 queries, so that their weights fit. With
`256x768` the class token is dropped, a linear layer leads from 1408 to 768, and 64 queries are
learned from nothing: no published Q-Former fits it.

BERT's own vocabulary knows 244 Chinese characters and makes all others [UNK], so that no recipe of
the paper's 17M Chinese pairs may take it. The vocabulary of the bilingual recipes, and a checkpoint
whose Q-Former has a row for each of its pieces, are made by

    launch/qformer_zh.sh bert-base-uncased/vocab.txt weights/bert_base weights/bert_zh

which runs `zv tokenizer union VOCAB weights/qformer_tokenizer --characters=gb2312,big5` and
`zv tokenizer grow CHECKPOINT OUT --qformer_tokenizer=weights/qformer_tokenizer`.
"""

from __future__ import annotations

from dataclasses import dataclass

import ml_collections

from zv_jax.config import build
from zv_jax.errors import ConfigError, nearest
from zv_jax.parallel import hardware

VARIANTS, LLMS, SIDES = ("base", "chat"), ("7b", "13b"), ("224", "364", "490")
SHAPES = ("256x768",)
# Language of the texts -> rows of the Q-Former's table: BERT's 30,522 pieces and [DEC], and behind
# them the 8,603 characters of GB 2312 and of Big5's frequent ones that BERT lacks. Then the tokens
# of a caption, [CLS] and [SEP] counted: LAVIS's 32 hold an English one; of Chinese, where each
# character is a token, they would hold 30 characters.
ROWS = {"bilingual": 39_126, "english": 30_523}
CAPTION = {"bilingual": 64, "english": 32}


@dataclass(frozen=True)
class Words:
    """The words of one recipe; `machine` is empty where no hardware was named."""

    variant: str
    llm: str = "13b"
    side: int = 224
    machine: str = ""
    language: str = "bilingual"
    shape: str = ""

    @property
    def chips(self) -> int:
        """Of the named hardware; 1 without a name."""
        return hardware.topology(self.machine).chips if self.machine else 1


def read(file: str, arg: str, variant: str) -> Words:
    """The words of `arg`, in any order, separated by commas.

    Args:
        file: of the recipe, for messages.
        variant: where no word names it.

    Raises:
        ConfigError: a word is unknown, or two words choose the same thing.
    """
    found: dict[str, str] = {}
    kinds = {
        "variant": VARIANTS,
        "llm": LLMS,
        "side": SIDES,
        "shape": SHAPES,
        "language": tuple(ROWS),
        "machine": tuple(hardware.HARDWARE),
    }
    every = [word for words in kinds.values() for word in words]
    for word in filter(None, arg.split(",")):
        kind = next((name for name, words in kinds.items() if word in words), None)
        if kind is None or kind in found:
            what = f"there is no {word!r}{nearest(word, every)}"
            raise ConfigError(
                what if kind is None else f"both {found[kind]!r} and {word!r} are given",
                where=f"{file}:{arg}",
                expected="; ".join("one of " + ", ".join(words) for words in kinds.values()),
                fix=f"--config {file}:{variant},v5e-256",
            )
        found[kind] = word
    side = int(found.pop("side", "224"))
    return Words(**{"variant": variant, **found}, side=side)


def recipe(
    words: Words, data: dict, model: dict | None = None, **sections: dict
) -> ml_collections.ConfigDict:
    """A recipe for the model and the hardware of `words`; `model` has the last word."""
    machine = hardware.hardware(words.machine) if words.machine else None
    mesh = machine.mesh if machine else (1, -1, 1)
    remat = machine.remat if machine else "full"
    preset = "_".join(filter(None, ("ziya_visual", words.variant, words.llm, words.shape)))
    return build.recipe(
        preset,
        model={
            "vision": {"image_size": words.side},
            "qformer": {"vocab_size": ROWS[words.language]},
            "remat": remat,
            **(model or {}),
        },
        data={
            "max_text": CAPTION[words.language],
            "qformer_tokenizer": {"kind": "bert", "vocab_size": ROWS[words.language]},
            **data,
        },
        mesh=dict(zip(("data", "fsdp", "tensor"), mesh, strict=True)),
        guards={"spike_sigma": 6.0},  # as MaxText's
        **sections,
    )


def fine_tuning(words: Words, max_length: int) -> tuple[dict, dict]:
    """(optimizer, train) of stages 1 and 2: InstructBLIP's, over the same number of rows.

    Its 60,000 steps of 64 rows become fewer and larger ones where 64 rows would leave a chip with
    less than four; the learning rate stays, since stage 0 uses the same one at 2048 rows. Logits
    of at most 64 positions of a row of `max_length` exist at a time.
    """
    rows = max(64, 4 * words.chips)
    optimizer = {
        "lr": 1e-5,
        "b1": 0.9,
        "b2": 0.999,
        "eps": 1e-8,
        "weight_decay": 0.05,
        "clip_norm": 2.0,
        "warmup_steps": 1000 * 64 // rows,
        "schedule": "cosine",
    }
    train = {
        "steps": 60_000 * 64 // rows,
        "batch_size": rows,
        "log_every": 50 if rows == 64 else 10,
        "loss_chunks": max_length // 64,
    }
    return optimizer, train
