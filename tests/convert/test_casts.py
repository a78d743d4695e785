"""A dtype that cannot hold a value: refused where it would be infinite, said where it is 0."""

from collections import Counter
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from zv_jax import casts
from zv_jax.checkpoints import manager as checkpoint
from zv_jax.cli import main as cli
from zv_jax.convert import export, formats, hf, own_checkpoint, reader, stream
from zv_jax.errors import ConversionError
from zv_jax.models.presets import LoraConfig

EMBED = "model.embed_tokens.weight"
LEAF = "params/llm/embed/embedding"
WIDE = [np.float32, ml_dtypes.bfloat16]


@pytest.mark.parametrize("dtype", [*WIDE, np.float64])
@pytest.mark.parametrize("large", [1e5, -1e5])
def test_a_number_beyond_the_dtype_is_refused_and_named(dtype, large):
    value = np.array([1, large, 2], dtype)
    with pytest.raises(ConversionError, match="becomes infinite in float16") as caught:
        casts.cast(value, "float16", "the/leaf", "here")
    assert "'the/leaf'" in caught.value.what and caught.value.where == "here"
    assert f"{float(value[1]):g}" in caught.value.what
    assert "65504" in caught.value.expected and "bfloat16" in caught.value.fix


@pytest.mark.parametrize("dtype", WIDE)
def test_numbers_that_become_zero_are_counted(dtype):
    zeroed = Counter()
    value = np.array([1e-9, 0, 1, -1e-10], dtype)
    got = casts.cast(value, np.float16, "leaf", "here", zeroed)
    np.testing.assert_array_equal(got, np.array([0, 0, 1, 0], np.float16))
    assert zeroed == {"leaf": 2}


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32])
def test_a_wider_dtype_loses_nothing(dtype):
    value = np.array([6e-8, 1e4, -3], dtype)
    assert casts.cast(value, np.float32, "leaf", "here").astype(dtype).tolist() == value.tolist()


def test_rounding_beyond_bfloat16_is_refused_too():
    largest = np.array([np.finfo(np.float32).max])
    with pytest.raises(ConversionError, match="infinite in bfloat16"):
        casts.cast(largest.astype(np.float32), "bfloat16", "leaf", "here")


@pytest.fixture
def llama(tmp_path, tensors, directory):
    """`llama(value, dtype)`: a directory of transformers with that value in one place."""

    def make(value, dtype):
        given = tensors("llama", dtype=dtype)
        given[EMBED][3, 4] = value
        return directory(tmp_path / "src", "llama", given)

    return make


@pytest.mark.parametrize("dtype", WIDE)
def test_from_hf_refuses_what_float16_cannot_hold(tmp_path, llama, dtype, capsys):
    src = llama(1e5, dtype)
    assert cli.main(["convert", "from-hf", str(src), str(tmp_path / "dst"), "--dtype=float16"]) == 2
    said = capsys.readouterr().err
    assert LEAF in said and "becomes infinite in float16" in said
    assert not (tmp_path / "dst").exists()
    hf.from_hf(src, tmp_path / "dst", reader.Options(dtype="bfloat16"))
    stored = checkpoint.load_params(tmp_path / "dst")[0][LEAF]
    assert float(stored[3, 4]) == float(np.array(1e5, ml_dtypes.bfloat16))


@pytest.mark.parametrize("dtype", WIDE)
def test_to_hf_refuses_what_float16_cannot_hold(tmp_path, llama, dtype, capsys):
    hf.from_hf(llama(1e5, dtype), tmp_path / "run")
    command = ["convert", "to-hf", str(tmp_path / "run"), str(tmp_path / "out")]
    assert cli.main([*command, "--dtype=float16"]) == 2
    said = capsys.readouterr().err
    assert EMBED in said and "becomes infinite in float16" in said
    assert not (tmp_path / "out").exists()
    assert cli.main([*command, "--dtype=bfloat16"]) == 0


def test_both_ways_say_what_became_zero(tmp_path, llama, caplog):
    src = llama(1e-9, np.float32)
    coverage = hf.from_hf(src, tmp_path / "half", reader.Options(dtype="float16"))
    assert coverage.zeroed[LEAF] == 1
    assert f"in {LEAF!r}" in caplog.text and "are 0 now" in caplog.text
    caplog.clear()
    hf.from_hf(src, tmp_path / "run")
    assert not caplog.records
    export.to_hf(
        formats.open_any(tmp_path / "run"), tmp_path / "out", export.Options(dtype="float16")
    )
    assert f"in {EMBED!r}" in caplog.text


def test_reading_a_directory_of_transformers_in_float16(llama):
    model = formats.open_any(llama(1e5, np.float32))
    wanted = {LEAF: stream.Spec(model.specs[LEAF].shape, np.float16)}
    with pytest.raises(ConversionError, match="becomes infinite in float16"):
        model.read(wanted)


def test_a_merge_beyond_the_dtype_of_the_kernel_is_refused():
    kernel = np.full((2, 2), 6e4, np.float16)
    a, b = np.full((2, 1), 100, np.float32), np.full((1, 2), 100, np.float32)
    with pytest.raises(ConversionError, match="'llm/q' becomes infinite in float16"):
        own_checkpoint.merged(kernel, a, b, LoraConfig(rank=1, alpha=1.0), "llm/q")


def test_adapters_that_are_not_finite_are_not_exported(tmp_path, workdir):
    from zv_jax.convert import peft

    model = own_checkpoint.open_checkpoint(workdir("stage2", "chat"))
    broken = lambda wanted: {p: np.asarray(v) * np.nan for p, v in model.read(wanted).items()}
    with pytest.raises(ConversionError, match="not finite numbers"):
        peft.to_peft(replace(model, read=broken), tmp_path / "out")
    assert not (tmp_path / "out").exists()
