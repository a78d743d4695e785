"""Checkpoints in the format of transformers, written by numpy from their public lists of names."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from random_runs import TEXTS, random_runs
from safetensors.numpy import save_file

from zv_jax.data.text import tokenizers

HERE = Path(__file__).parent


def tensors_of(kind: str, seed: int = 0, dtype: object = np.float32) -> dict[str, np.ndarray]:
    """Random tensors with the names and shapes of a tiny model of that kind.

    The middle third of a fused bias is zero, as it is in every published checkpoint.
    """
    rng = np.random.default_rng(seed)
    out = {}
    lines = (HERE / f"keys/{'blip2' if kind == 'llama' else kind}.txt").read_text().splitlines()
    if kind == "llama":
        head = "language_model."
        lines = [line.removeprefix(head) for line in lines if line.startswith(head)]
    for line in lines:
        if line.startswith("#"):
            continue
        name, shape = line.split("\t")
        shape = tuple(int(n) for n in shape.strip("(),").split(",") if n.strip())
        value = rng.standard_normal(shape) * 0.15
        if name.endswith("qkv.bias"):
            value[len(value) // 3 : 2 * len(value) // 3] = 0
        if name.endswith("weight") and len(shape) == 1:
            value += 1
        out[name] = value.astype(dtype)
    return out


def save_shards(folder: Path, tensors: dict[str, np.ndarray], shards: int = 1) -> None:
    """As `save_pretrained` writes them: one file, or several with an index."""
    folder.mkdir(parents=True, exist_ok=True)
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        return
    names = list(tensors)
    weight_map = {}
    for i in range(shards):
        part = {name: tensors[name] for name in names[i::shards]}
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        save_file(part, folder / file, {"format": "pt"})
        weight_map.update(dict.fromkeys(part, file))
    total = sum(value.nbytes for value in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


_VISION = dict(
    hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
    image_size=28, patch_size=14,
)  # fmt: skip
_QFORMER = dict(
    vocab_size=100, hidden_size=24, num_hidden_layers=4, num_attention_heads=3,
    intermediate_size=48, max_position_embeddings=64,
)  # fmt: skip
LLAMA = dict(
    model_type="llama", vocab_size=300, hidden_size=48, intermediate_size=96, num_hidden_layers=2,
    num_attention_heads=4, max_position_embeddings=128,
)  # fmt: skip
_BLIP = dict(vision_config=_VISION, qformer_config=_QFORMER, num_query_tokens=5)
CONFIGS = {
    "instructblip": dict(
        _BLIP, architectures=["InstructBlipForConditionalGeneration"], model_type="instructblip",
        text_config=LLAMA, image_token_index=299,
    ),
    "blip2": dict(
        _BLIP, architectures=["Blip2ForConditionalGeneration"], model_type="blip-2",
        text_config=LLAMA, image_token_index=299,
    ),
    "retrieval": dict(
        _BLIP, architectures=["Blip2ForImageTextRetrieval"], model_type="blip-2",
        image_text_hidden_size=256,
    ),
    "llama": dict(LLAMA, architectures=["LlamaForCausalLM"]),
}  # fmt: skip


def save_directory(
    folder: Path, kind: str, tensors: dict | None = None, shards: int = 1, **fields: object
) -> Path:
    """A directory of `save_pretrained`; `fields` change its config.json."""
    save_shards(folder, tensors_of(kind) if tensors is None else tensors, shards)
    (folder / "config.json").write_text(json.dumps({**copy.deepcopy(CONFIGS[kind]), **fields}))
    return folder


@pytest.fixture(scope="session")
def tensors():
    """`tensors("instructblip", seed=0, dtype=float32)`."""
    return tensors_of


@pytest.fixture(scope="session")
def shards():
    """`shards(folder, tensors, count)` writes them."""
    return save_shards


@pytest.fixture(scope="session")
def directory():
    """`directory(folder, "instructblip", tensors, shards, **fields)` makes one."""
    return save_directory


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
    """One model for both towers, in English and Chinese."""
    return tokenizers.train_sentencepiece(TEXTS, 399, tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="session")
def workdir(tokenizer, tmp_path_factory):
    """`workdir("stage2", "chat")`: the folder of a run whose weights are random."""
    return random_runs(tokenizer, tmp_path_factory)
