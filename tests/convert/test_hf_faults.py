"""Bad input of conversions: one error, and the destination untouched."""

import json
import shutil

import ml_dtypes
import numpy as np
import pytest

import zv_jax
from zv_jax.convert import export, hf, own_checkpoint
from zv_jax.errors import ConversionError


def cut(src, _):
    file = src / "model-00002-of-00003.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def lose_shard(src, _):
    (src / "model-00002-of-00003.safetensors").unlink()


def index_without_entry(src, _):
    path = src / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    del index["weight_map"]["query_tokens"]
    path.write_text(json.dumps(index))


def index_with_wrong_file(src, _):
    path = src / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"]["invented"] = "model-00001-of-00003.safetensors"
    path.write_text(json.dumps(index))


def no_config(src, _):
    (src / "config.json").unlink()


def broken_config(src, _):
    (src / "config.json").write_text("{")


def list_config(src, _):
    (src / "config.json").write_text("[1]")


def fields(**changes):
    def change(src, _):
        path = src / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def part(name, **changes):
    def change(src, _):
        path = src / "config.json"
        raw = json.loads(path.read_text())
        raw[name] |= changes
        path.write_text(json.dumps(raw))

    return change


def no_weights(src, _):
    for file in src.glob("model*"):
        file.unlink()


def no_placeholder(src, _):
    path = src / "config.json"
    raw = json.loads(path.read_text())
    del raw["image_token_index"]
    path.write_text(json.dumps(raw))


def large_vocabulary(src, tokenizer):
    tokenizer.save(src)


@pytest.mark.parametrize(
    "damage, says",
    [
        (cut, "damaged or cut off"),
        (lose_shard, "shard model-00002-of-00003.safetensors is missing"),
        (index_without_entry, "'query_tokens' of .* is not in the index"),
        (index_with_wrong_file, "'invented' is not in its shard"),
        (no_config, "there is no config.json"),
        (broken_config, "config.json cannot be read"),
        (no_weights, "there are no weights here"),
        (no_placeholder, "the image placeholder has no id"),
        (fields(architectures=["LlavaForConditionalGeneration"]), "unknown architecture"),
        (part("text_config", model_type="opt"), "model_type is 'opt'"),
        (part("text_config", vocab_size=256), r"has shape \(300, 48\)"),
        (part("text_config", rope_parameters={"rope_type": "yarn"}), "'yarn' is not supported"),
        (part("text_config", num_hidden_layers=3), "is missing"),
        (part("text_config", num_hidden_layers=1), "no place for tensor"),
        (part("vision_config", qkv_bias=False), "qkv_bias is False"),
        (part("vision_config", hidden_size=64), "has shape"),
        (part("vision_config", num_attention_heads=5), "not divisible by 5 heads"),
        (part("qformer_config", cross_attention_frequency=1), "cross_attention_frequency is 1"),
        (part("qformer_config", hidden_size="wide"), "'wide'"),
        (part("text_config", rms_norm_eps="small"), "of the wrong kind"),
        (part("text_config", num_attention_heads=[4]), r"\[4\] is a list"),
        (part("text_config", num_attention_heads=0), "0 is not valid"),
        (part("text_config", num_key_value_heads=0), "0 is not valid"),
        (part("text_config", vocab_size=0), "0 is not valid"),
        (part("text_config", vocab_size=True), "True is a bool"),
        (part("text_config", hidden_size=10**30), "is not valid"),
        (part("text_config", num_hidden_layers=10**9), "1000000000 is not valid"),
        (part("text_config", head_dim="a", num_attention_heads=10**12), "'a' is a str"),
        (part("text_config", rms_norm_eps=float("inf")), "inf is not valid"),
        (part("vision_config", patch_size=0), "0 is not valid"),
        (part("vision_config", image_size=14 * 10**8), "1400000000 is not valid"),
        (part("qformer_config", num_attention_heads=-3), "-3 is not valid"),
        (fields(num_query_tokens=None), "None is a NoneType"),
        (fields(image_token_index=[299]), "has the id"),
        (fields(image_token_index=-1), "has the id -1"),
        (fields(architectures=5, model_type=["llama"]), "unknown architecture"),
        (fields(architectures=[["x"]]), "unknown architecture"),
        (fields(vision_config=[1]), "of the wrong kind"),
        (part("text_config", rope_parameters=["linear"]), "of the wrong kind"),
        (list_config, "config.json cannot be read"),
        (large_vocabulary, "the tokenizer of the language model has 321 ids"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_bad_input_is_one_error(tmp_path, directory, tokenizer, damage, says):
    src = directory(tmp_path / "src", "instructblip", shards=3)
    damage(src, tokenizer)
    with pytest.raises(ConversionError, match=says) as caught:
        hf.from_hf(src, tmp_path / "dst")
    assert caught.value.where
    assert [path.name for path in tmp_path.iterdir()] == ["src"]


def test_a_tensor_with_nan(tmp_path, tensors, directory):
    given = tensors("instructblip", dtype=ml_dtypes.bfloat16)
    given["language_model.model.layers.1.mlp.up_proj.weight"][3, 4] = np.nan
    src = directory(tmp_path / "src", "instructblip", given)
    with pytest.raises(ConversionError, match="up_proj.weight' has values that are not finite"):
        hf.from_hf(src, tmp_path / "dst")
    assert [path.name for path in tmp_path.iterdir()] == ["src"]


def test_a_pytorch_file_needs_torch(tmp_path, directory, monkeypatch):
    import sys

    src = directory(tmp_path / "src", "llama")
    (src / "model.safetensors").rename(src / "pytorch_model.bin")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(zv_jax.errors.SetupError, match="needs the package `torch`"):
        hf.from_hf(src, tmp_path / "dst")


def test_torch_is_not_imported(tmp_path, directory, fresh_python):
    directory(tmp_path / "src", "llama")
    code = (
        "import sys; from zv_jax.convert import hf; hf.from_hf('src', 'dst');"
        "sys.exit('torch' in sys.modules)"
    )
    assert fresh_python("-c", code).returncode == 0


def test_an_export_that_fails_leaves_nothing(tmp_path, workdir):
    shutil.copytree(workdir("stage1", "base"), tmp_path / "run")
    (damaged,) = (tmp_path / "run/checkpoints/1/state").glob("ocdbt.process_0/d")
    for file in damaged.iterdir():
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(zv_jax.errors.CheckpointError):
        export.to_hf(own_checkpoint.open_checkpoint(tmp_path / "run"), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_models_that_transformers_cannot_express(tmp_path, workdir):
    from dataclasses import replace

    model = own_checkpoint.open_checkpoint(workdir("stage1", "base"))
    vision = replace(model.config.model.vision, drop_cls=True)
    other = replace(model.config, model=replace(model.config.model, vision=vision))
    with pytest.raises(ConversionError, match="no class for this model"):
        export.to_hf(replace(model, config=other), tmp_path / "out")
