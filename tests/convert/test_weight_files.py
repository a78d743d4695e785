"""Which files are the weights: as transformers decides, and said where there is a choice."""

import dataclasses
import json
import shutil
import struct

import numpy as np
import pytest
from safetensors.numpy import save_file

from zv_jax.convert import config_json, hf
from zv_jax.convert.architectures import LLAMA
from zv_jax.convert.sources import open_source, together
from zv_jax.errors import ConversionError
from zv_jax.models.presets import RopeScaling

INDEX = "model.safetensors.index.json"
OLD = {"a": np.zeros(2, np.float32), "b": np.zeros(3, np.float32), "c": np.zeros(1, np.float32)}
NEW = {name: value + 1 for name, value in OLD.items()}


def test_a_whole_file_goes_before_an_old_index_and_that_is_said(tmp_path, shards, caplog):
    shards(tmp_path, OLD, 3)
    save_file(NEW, tmp_path / "model.safetensors")
    assert open_source(tmp_path).read("a")[0] == 1
    assert "model.safetensors is read, as transformers does" in caplog.text
    assert INDEX in caplog.text


def test_an_old_index_without_its_shards_beside_a_whole_file(tmp_path, shards, caplog):
    shards(tmp_path, OLD, 3)
    for file in tmp_path.glob("model-*"):
        file.unlink()
    save_file(NEW, tmp_path / "model.safetensors")
    assert open_source(tmp_path).read("b")[0] == 1
    assert INDEX in caplog.text


def test_an_index_of_one_whole_file_is_no_choice(tmp_path, caplog):
    save_file(NEW, tmp_path / "model.safetensors")
    weight_map = dict.fromkeys(NEW, "model.safetensors")
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    assert open_source(tmp_path).specs.keys() == NEW.keys()
    assert not caplog.records


def test_safetensors_go_before_files_of_pytorch(tmp_path, shards):
    """Neither torch nor a whole file is needed for a choice that transformers makes alike."""
    shards(tmp_path, NEW, 3)
    (tmp_path / "pytorch_model.bin").write_bytes(b"old")
    assert open_source(tmp_path).read("c")[0] == 1


def test_shards_without_an_index_are_read_together(tmp_path, shards):
    shards(tmp_path, NEW, 3)
    (tmp_path / INDEX).unlink()
    source = open_source(tmp_path)
    assert source.specs.keys() == NEW.keys()
    for name, value in NEW.items():
        np.testing.assert_array_equal(source.read(name), value)


@pytest.mark.parametrize(
    "name", ["model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors"]
)
def test_shards_without_an_index_that_are_not_all_there(tmp_path, shards, name):
    shards(tmp_path, NEW, 3)
    (tmp_path / INDEX).unlink()
    (tmp_path / name).unlink()
    with pytest.raises(ConversionError, match=f"no index, and {name} is missing"):
        open_source(tmp_path)


@pytest.mark.parametrize("count", ["1000000000000", "9" * 200, "0"])
def test_a_name_that_claims_any_number_of_shards_is_not_counted_to(tmp_path, count):
    save_file(NEW, tmp_path / f"model-00001-of-{count}.safetensors")
    with pytest.raises(ConversionError, match="no index"):
        open_source(tmp_path)


def test_shards_of_two_checkpoints_without_an_index(tmp_path, shards):
    shards(tmp_path, NEW, 3)
    (tmp_path / INDEX).unlink()
    save_file(OLD, tmp_path / "model-00001-of-00002.safetensors")
    with pytest.raises(ConversionError, match="no index, and"):
        open_source(tmp_path)


def test_a_tensor_in_two_shards_without_an_index(tmp_path, shards):
    shards(tmp_path, NEW, 3)
    (tmp_path / INDEX).unlink()
    first, second = "model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors"
    shutil.copy(tmp_path / first, tmp_path / second)
    with pytest.raises(ConversionError, match="in two shards") as caught:
        open_source(tmp_path)
    assert first in caught.value.where and second in caught.value.where


def test_other_files_are_named(tmp_path):
    save_file(NEW, tmp_path / "model.fp16.safetensors")
    with pytest.raises(ConversionError, match="only model.fp16.safetensors") as caught:
        open_source(tmp_path)
    assert "rename model.fp16.safetensors" in caught.value.fix


@pytest.mark.parametrize(
    "name", ["../outside.safetensors", "{}/outside.safetensors", "sub/x", ".."]
)
def test_an_index_reads_nothing_outside_its_folder(tmp_path, name):
    save_file(NEW, tmp_path / "outside.safetensors")
    (tmp_path / "src").mkdir()
    weight_map = dict.fromkeys(NEW, name.format(tmp_path))
    (tmp_path / "src" / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(ConversionError, match="the index names the file") as caught:
        open_source(tmp_path / "src")
    assert caught.value.where.endswith(INDEX)


@pytest.mark.parametrize("weight_map", [{"a": None}, {"a": ["x"]}, {"a": 3}, [1], None, "text"])
def test_an_index_of_other_types_is_one_error(tmp_path, weight_map):
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(ConversionError, match="the index cannot be read"):
        open_source(tmp_path)


# --- rotary scaling in config.json ----------------------------------------------------------------


@pytest.mark.parametrize(
    "fields, says",
    [
        ({"rope_scaling": {"type": "linear"}}, "'linear' has factor 'missing'"),
        ({"rope_parameters": {"rope_type": "linear", "factor": None}}, "has factor None"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 0}}, "has factor 0"),
        ({"rope_parameters": {"rope_type": "linear", "factor": float("inf")}}, "has factor inf"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 10**400}}, "has factor 1000"),
        ({"rope_scaling": {"type": "linear", "factor": "two"}}, "has factor 'two'"),
        ({"rope_parameters": {"rope_type": "llama3", "factor": 8}}, "low_freq_factor 'missing'"),
        ({"rope_scaling": {"factor": 2.0}}, "a factor and no type"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor is 0.5"),
        *(
            ({"rope_scaling": {"rope_type": kind, "factor": 2.0}}, f"'{kind}' is not supported")
            for kind in ("yarn", "dynamic", "longrope", "su", "mrope", "proportional")
        ),
    ],
)
def test_rotary_scaling_that_cannot_be_computed_is_one_error(tmp_path, directory, fields, says):
    src = directory(tmp_path / "src", "llama", **fields)
    with pytest.raises(ConversionError, match=says) as caught:
        hf.open_hf(src)
    assert "config.json" in caught.value.where and caught.value.fix


def test_linear_scaling_with_a_factor_is_read(tmp_path, directory):
    for number, name in enumerate(("rope_scaling", "rope_parameters")):
        given = {name: {"rope_type": "linear", "factor": 2}}
        config = hf.open_hf(directory(tmp_path / str(number), "llama", **given)).config
        assert config.model.llm.rope_scaling.kind == "linear"
        assert config.model.llm.rope_scaling.factor == 2.0


def test_two_rotary_scalings_that_differ_are_not_chosen_from(tmp_path, directory):
    """transformers reads rope_scaling alone where both are there; without it, no scaling."""
    other = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}
    for number, scaling in enumerate([{"type": "linear", "factor": 2}, {"rope_theta": 1e6}]):
        src = directory(tmp_path / str(number), "llama", rope_scaling=scaling, **other)
        with pytest.raises(ConversionError, match="rope_scaling is .* and rope_parameters"):
            hf.open_hf(src)


@pytest.mark.parametrize(
    "scaling", [RopeScaling("linear", 4.0), RopeScaling("llama3", 8.0, 1.0, 4.0, 16)]
)
def test_a_scaling_is_written_for_all_releases_of_transformers(tmp_path, directory, scaling):
    """Those before 5 read rope_scaling and know no rope_parameters: none would be no scaling."""
    config = hf.open_hf(directory(tmp_path / "plain", "llama")).config
    llm = dataclasses.replace(config.model.llm, rope_scaling=scaling)
    model = dataclasses.replace(config.model, llm=llm)
    config = dataclasses.replace(config, model=model)
    raw = config_json.write_config(config, LLAMA, "float32", {})
    assert raw["rope_scaling"] | {"rope_theta": raw["rope_theta"]} == raw["rope_parameters"]
    again = directory(tmp_path / "scaled", "llama", rope_parameters=raw["rope_parameters"])
    assert hf.open_hf(again).config.model.llm.rope_scaling == scaling
    old = directory(tmp_path / "old", "llama", rope_scaling=raw["rope_scaling"])
    assert hf.open_hf(old).config.model.llm.rope_scaling == scaling


def test_of_two_files_neither_replaces_a_tensor_of_the_other(tmp_path):
    save_file(OLD, tmp_path / "one.safetensors")
    save_file({"c": NEW["c"]}, tmp_path / "two.safetensors")
    one, two = (open_source(tmp_path / f"{name}.safetensors") for name in ("one", "two"))
    with pytest.raises(ConversionError, match="tensor 'c' is there twice") as caught:
        together(one, two)
    assert "one.safetensors and " in caught.value.where


@pytest.mark.parametrize("shape", [[0, 2**62], [2**62, 0, 4], [0, 2**40, 2**40], [1] * 100])
def test_a_shape_that_no_array_has_is_an_error_before_anything_is_read(shape, tmp_path):
    size = 0 if 0 in shape else 4
    facts = {"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}
    header = json.dumps(facts).encode()
    file = tmp_path / "model.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * size)
    with pytest.raises(ConversionError, match="'a' has a shape that no array has") as caught:
        open_source(tmp_path)
    assert caught.value.where == str(file)
