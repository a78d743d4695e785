"""Names of LAVIS's BLIP-2 checkpoints (salesforce/LAVIS, models/blip2_models), as tables.

EVA keeps q and v biases apart, as we do; CLIP is in the layout of its first release.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from zv_jax.convert import names
from zv_jax.convert.names import LINEAR, PATCH, Entry, Family, QFormerNames, Transform, entry

PROJECTOR = "llm_proj"
LANGUAGE = "llm_model."
VISION = "visual_encoder."

_QFORMER = QFormerNames(
    layers="Qformer.bert.encoder.layer.",
    norm="Qformer.bert.embeddings.LayerNorm",
    embeddings="Qformer.bert.embeddings.",
    attention="self",
)
_DERIVED = (
    r".*\.position_ids",
    r"Qformer\.cls\.predictions\.decoder\.(weight|bias)",  # the word table and `bias` again
    r".*rotary_emb\.inv_freq",
)
# Axes that are 1 in our leaves and are not there in CLIP's.
_CLS = Transform(lambda x: (x[None, None],), lambda x: (x[0, 0],))
_TABLE = Transform(lambda x: (x[None],), lambda x: (x[0],))


def eva() -> list[Entry]:
    """`visual_encoder` of EVA ViT-g."""
    block, ours = f"{VISION}blocks.{{}}.", "vision/blocks/"
    return [
        entry("vision/cls", f"{VISION}cls_token"),
        entry("vision/pos_embed", f"{VISION}pos_embed"),
        entry("vision/patch/kernel", f"{VISION}patch_embed.proj.weight", PATCH),
        entry("vision/patch/bias", f"{VISION}patch_embed.proj.bias"),
        *names.norm(f"{ours}ln1", f"{block}norm1"),
        entry(f"{ours}attn/qkv/kernel", f"{block}attn.qkv.weight", LINEAR),
        entry(f"{ours}attn/q_bias", f"{block}attn.q_bias"),
        entry(f"{ours}attn/v_bias", f"{block}attn.v_bias"),
        *names.linear(f"{ours}attn/out", f"{block}attn.proj"),
        *names.norm(f"{ours}ln2", f"{block}norm2"),
        *names.linear(f"{ours}fc1", f"{block}mlp.fc1"),
        *names.linear(f"{ours}fc2", f"{block}mlp.fc2"),
    ]


def clip() -> list[Entry]:
    """`visual_encoder` of CLIP ViT-L."""
    block, ours = f"{VISION}transformer.resblocks.{{}}.", "vision/blocks/"
    return [
        entry("vision/cls", f"{VISION}class_embedding", _CLS),
        entry("vision/pos_embed", f"{VISION}positional_embedding", _TABLE),
        entry("vision/patch/kernel", f"{VISION}conv1.weight", PATCH),
        *names.norm("vision/ln_pre", f"{VISION}ln_pre"),
        *names.norm(f"{ours}ln1", f"{block}ln_1"),
        entry(f"{ours}attn/qkv/kernel", f"{block}attn.in_proj_weight", LINEAR),
        entry(f"{ours}attn/qkv/bias", f"{block}attn.in_proj_bias"),
        *names.linear(f"{ours}attn/out", f"{block}attn.out_proj"),
        *names.norm(f"{ours}ln2", f"{block}ln_2"),
        *names.linear(f"{ours}fc1", f"{block}mlp.c_fc"),
        *names.linear(f"{ours}fc2", f"{block}mlp.c_proj"),
    ]


def family(vision: str, heads: bool, text: bool) -> Family:
    """The table of one kind of checkpoint.

    Args:
        vision: "eva" or "clip".
        heads: whether it is `Blip2Qformer`, with its heads, or a model with a LLaMA.
        text: whether the Q-Former reads text (InstructBLIP and stage 0 do).
    """
    rows = [*(clip() if vision == "clip" else eva()), *names.norm("ln_vision", "ln_vision")]
    rows += names.qformer(_QFORMER, text)
    if heads:
        rows += names.text_head("Qformer.cls.predictions.")
        for ours, theirs in (("vision_proj",) * 2, ("text_proj",) * 2, ("itm", "itm_head")):
            rows += names.linear(f"heads/{ours}", theirs)
        rows.append(entry("heads/temperature", "temp"))
    else:
        rows += [*names.linear("projector", PROJECTOR), *names.llama(LANGUAGE)]
    return Family(tuple(rows), _DERIVED)


def layers(tensors: Iterable[str], pattern: str) -> int:
    """How many different numbers stand where `pattern` has its group."""
    return len({match[1] for name in tensors if (match := re.match(pattern, name))})


def copies(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors that LAVIS stores twice, or that are buffers, for a state of stage 0."""
    out = {}
    if "Qformer.cls.predictions.bias" in state:
        out["Qformer.cls.predictions.decoder.bias"] = state["Qformer.cls.predictions.bias"]
        words = state["Qformer.bert.embeddings.word_embeddings.weight"]
        out["Qformer.cls.predictions.decoder.weight"] = words
    table = "Qformer.bert.embeddings.position_embeddings.weight"
    if table in state:
        out["Qformer.bert.embeddings.position_ids"] = np.arange(len(state[table]))[None]
    return out
