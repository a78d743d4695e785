"""Small files beside the weights that hold other kinds of values than they should."""

import time
from types import SimpleNamespace

import numpy as np
import pytest

from zv_jax.convert import architectures, asking, lavis, names, peft
from zv_jax.convert.sources import Spec, open_source
from zv_jax.errors import ConversionError
from zv_jax.models import presets


@pytest.mark.parametrize("raw", [b"5", b'"model_type"', b"[" * 100_000, b"\xff", b"null"])
def test_a_config_of_another_kind_is_none_of_theirs(tmp_path, raw):
    (tmp_path / "config.json").write_bytes(raw)
    assert not architectures.is_theirs(tmp_path)
    with pytest.raises(ConversionError, match="config.json cannot be read"):
        architectures.read_json(tmp_path / "config.json")


@pytest.mark.parametrize("raw", [b"[" * 100_000, b'{"weight_map": [["a", "b"]]}', b"{}"])
def test_an_index_of_another_kind(tmp_path, raw):
    (tmp_path / "model.safetensors.index.json").write_bytes(raw)
    with pytest.raises(ConversionError, match="the index cannot be read"):
        open_source(tmp_path)


@pytest.mark.parametrize("raw", [b"[1]", b"[" * 100_000, b"\xff"])
def test_a_tokenizer_config_of_another_kind_names_no_template(tmp_path, raw):
    (tmp_path / "tokenizer_config.json").write_bytes(raw)
    assert asking._chat_template(tmp_path) == ""


ADAPTER = {"peft_type": "LORA", "r": 8, "lora_alpha": 16}


@pytest.mark.parametrize(
    "changes",
    [
        *({"r": value} for value in (0, -1, "8", [8], None, True, 1.5, 10**30)),
        *({"lora_alpha": value} for value in ("16", [16], None, float("inf"), float("nan"))),
        *({"lora_dropout": value} for value in ("0", -1, 1.5, float("nan"), [0])),
        {"rank_pattern": [1]},
        {"init_lora_weights": [1]},
        {"peft_type": {"a": 1}},
    ],
    ids=str,
)
def test_an_adapter_config_of_other_kinds_is_one_error(changes):
    with pytest.raises(ConversionError) as caught:
        peft._lora(ADAPTER | changes, "adapter_config.json")
    assert caught.value.where == "adapter_config.json" and caught.value.fix


def specs(**shapes):
    return {name: Spec(shape, np.dtype(np.float32)) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    "changes",
    [
        {"query_tokens": (5,)},
        {"query_tokens": ()},
        {"visual_encoder.pos_embed": ()},
        {"visual_encoder.pos_embed": (1, 5, 32)},
        {"visual_encoder.patch_embed.proj.weight": (3,), "visual_encoder.pos_embed": (1, 5, 32)},
        {"Qformer.bert.embeddings.word_embeddings.weight": (100, 32)},
        {"Qformer.bert.embeddings.word_embeddings.weight": ()},
        {"vision_proj.weight": ()},
    ],
    ids=str,
)
def test_tensors_of_lavis_with_other_axes_are_one_error(changes):
    found = specs(**{"query_tokens": (1, 4, 32), "temp": (), **changes})
    source = SimpleNamespace(specs=found, where="x.pth")
    with pytest.raises(ConversionError):
        lavis.read_config(source, presets.preset("tiny_chat"))


def test_the_tower_of_a_name_of_very_many_words_is_told_at_once():
    start = time.process_time()
    long = ".a" * 100_000
    assert names.LLAMA.tower("model.layers.0.mlp" + long) == names.LLAMA.tower("model.layers.0")
    assert names.LLAMA.tower("nowhere" + long) == "other"
    assert time.process_time() - start < 1
