"""Adapters beside the base, unmerged, and what is refused instead of being served in part."""

import gc
import shutil

import conftest
import pytest
from conftest import Engine
from safetensors.torch import load_file, save_file
from vllm.lora.request import LoRARequest
from zv_vllm.errors import Refused

LORA = dict(enable_lora=True, max_lora_rank=64)


@pytest.fixture(scope="module")
def plain(exports):
    """The base without its adapters, which are served beside it."""
    # Trap 6: a budget that is no multiple of the number of queries.
    engine = Engine(
        exports / "plain", **LORA, enable_tower_connector_lora=True, max_num_batched_tokens=250
    )
    yield engine
    del engine
    gc.collect()


def test_an_adapter_of_vit_and_language_model(plain, exports, cases, images):
    """As zv_jax answers with it, the base between two answers of the adapter included (trap 5)."""
    names = load_file(exports / "adapter/adapter_model.safetensors")
    assert any("vision_model" in name and "qkv" in name for name in names)
    adapter = LoRARequest("chat", 1, str(exports / "adapter"))
    dialogues = [conftest.messages(case["turns"], images) for case in cases["chat"]]
    expected = [case["answer"] for case in cases["chat"]]
    assert plain.answers(dialogues, lora_request=adapter) == expected
    assert plain.answers(dialogues) != expected
    assert plain.answers(dialogues, lora_request=adapter) == expected


def test_vllm_does_not_start_where_it_would_drop_adapters_of_the_image_encoder(exports):
    with pytest.raises(Refused, match="add --enable-tower-connector-lora"):
        Engine(exports / "plain", **LORA)


@pytest.mark.parametrize(
    "path", ["qformer.encoder.layer.0.attention.attention.query", "vision_model.layers.0.mlp.fc1"]
)
def test_an_adapter_of_a_layer_that_takes_none_is_refused_by_name(plain, exports, tmp_path, path):
    tensors = load_file(exports / "adapter/adapter_model.safetensors")
    first = next(name for name in tensors if "lora_A" in name)
    module = first.removesuffix(".lora_A.weight")
    for half in "AB":
        moved = tensors.pop(f"{module}.lora_{half}.weight")
        tensors[f"base_model.model.{path}.lora_{half}.weight"] = moved
    shutil.copytree(exports / "adapter", tmp_path / "adapter")
    save_file(tensors, tmp_path / "adapter/adapter_model.safetensors")
    wrong = LoRARequest("wrong", 2, str(tmp_path / "adapter"))
    with pytest.raises(Refused, match=f"leave out the adapter of {path}"):
        plain.llm.llm_engine.add_lora(wrong)
