"""Streaming: every value arrives, unchanged, with little of it in memory; or nothing is left."""

import ml_dtypes
import numpy as np
import pytest

from zv_jax.checkpoints import manager as checkpoint
from zv_jax.convert import names, stream
from zv_jax.convert.names import Family, entry, linear
from zv_jax.convert.sources import Spec, open_source
from zv_jax.errors import ConversionError

FAMILY = Family(
    (
        entry("llm/embed/embedding", "embed.weight"),
        *linear("llm/layers/up", "layers.{}.up"),
        entry("heads/temperature", "temp"),
    ),
    derived=(r".*inv_freq",),
)
WANTED = {
    "params/llm/embed/embedding": Spec((7, 3), np.float32),
    "params/llm/layers/up/kernel": Spec((4, 3, 5), np.float32),
    "params/llm/layers/up/bias": Spec((4, 5), np.float32),
    "params/heads/temperature": Spec((), np.float32),
}


def values(dtype=np.float32) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    out = {"embed.weight": rng.standard_normal((7, 3)), "temp": np.array(0.07)}
    for i in range(4):
        out[f"layers.{i}.up.weight"] = rng.standard_normal((5, 3))
        out[f"layers.{i}.up.bias"] = rng.standard_normal(5)
    return {name: np.asarray(value, dtype) for name, value in out.items()}


class Memory:
    """A source that counts how many of its tensors are alive."""

    where = "memory"

    def __init__(self, tensors):
        self.tensors, self.reads = tensors, []
        self.specs = {name: Spec(t.shape, t.dtype) for name, t in tensors.items()}

    def read(self, name):
        self.reads.append(name)
        return self.tensors[name].copy()


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_a_checkpoint_holds_the_tensors_bit_by_bit(tmp_path, shards, count, dtype):
    tensors = values(dtype)
    shards(tmp_path / "src", tensors, count)
    found, coverage = stream.plan(FAMILY, open_source(tmp_path / "src"), WANTED)
    with stream.building(tmp_path / "dst") as folder:
        stream.write_checkpoint(folder, found, {"config": {}})
    stored, meta = checkpoint.load_params(tmp_path / "dst")
    assert stored.keys() == WANTED.keys() and meta["step"] == 0
    kernel = np.stack([tensors[f"layers.{i}.up.weight"].T for i in range(4)])
    assert stored["params/llm/layers/up/kernel"].dtype == dtype
    np.testing.assert_array_equal(stored["params/llm/layers/up/kernel"], kernel)
    np.testing.assert_array_equal(stored["params/heads/temperature"], tensors["temp"])
    assert len(coverage.loaded) == len(tensors) and not coverage.missing


def test_a_cast_is_made_layer_by_layer():
    found, _ = stream.plan(FAMILY, Memory(values()), WANTED, dtype="bfloat16")
    leaf = found["params/llm/layers/up/kernel"]
    assert leaf.dtype == ml_dtypes.bfloat16 and leaf.shape == (4, 3, 5)
    assert leaf.value().dtype == ml_dtypes.bfloat16


def test_nothing_is_read_before_it_is_written_and_nothing_twice():
    source = Memory(values())
    found, _ = stream.plan(FAMILY, source, WANTED)
    assert source.reads == []
    for leaf in found.values():
        list(leaf.parts())
    assert sorted(source.reads) == sorted(source.tensors)


def test_layers_come_one_at_a_time():
    source = Memory(values())
    found, _ = stream.plan(FAMILY, source, WANTED)
    parts = found["params/llm/layers/up/kernel"].parts()
    next(parts)
    assert source.reads == ["layers.0.up.weight"]


def test_buffers_are_left_out_and_listed():
    tensors = values() | {"layers.0.rotary.inv_freq": np.ones(2, np.float32)}
    _, coverage = stream.plan(FAMILY, Memory(tensors), WANTED)
    assert [name for _, name in coverage.unused] == ["layers.0.rotary.inv_freq"]


def test_an_unexpected_tensor_is_an_error_unless_allowed():
    source = Memory(values() | {"layers.0.gate.weight": np.ones((5, 3), np.float32)})
    with pytest.raises(ConversionError, match=r"no place for tensor 'layers.0.gate.weight'"):
        stream.plan(FAMILY, source, WANTED)
    _, coverage = stream.plan(FAMILY, source, WANTED, allow=[r"layers\.\d+\.gate\..*"])
    assert coverage.unexpected == (("llm", "layers.0.gate.weight"),)


@pytest.mark.parametrize("how", ["optional", "allow"])
def test_a_missing_tensor_is_an_error_unless_allowed(how):
    tensors = values()
    del tensors["temp"]
    with pytest.raises(ConversionError, match="tensor 'temp' is missing"):
        stream.plan(FAMILY, Memory(tensors), WANTED)
    pattern = "params/heads/.*" if how == "optional" else "temp"
    found, coverage = stream.plan(FAMILY, Memory(tensors), WANTED, **{how: [pattern]})
    assert "params/heads/temperature" not in found
    assert coverage.missing == (("heads", "temp"),)


def test_a_missing_layer_is_named():
    tensors = values()
    del tensors["layers.3.up.bias"]
    with pytest.raises(ConversionError, match=r"'layers.3.up.bias' is missing \(1 are\)"):
        stream.plan(FAMILY, Memory(tensors), WANTED)


def test_a_surplus_layer_is_unexpected():
    tensors = values() | {"layers.4.up.bias": np.ones(5, np.float32)}
    with pytest.raises(ConversionError, match="no place for tensor 'layers.4.up.bias'"):
        stream.plan(FAMILY, Memory(tensors), WANTED)


def test_a_wrong_shape_names_leaf_tensor_and_both_shapes():
    tensors = values() | {"embed.weight": np.ones((9, 3), np.float32)}
    with pytest.raises(ConversionError) as caught:
        stream.plan(FAMILY, Memory(tensors), WANTED)
    text = str(caught.value)
    assert "'embed.weight' has shape (9, 3)" in text and "(7, 3)" in text
    assert "vocab_size" in text


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_tensor_that_is_not_finite_stops_the_conversion(tmp_path, dtype, bad):
    tensors = values(dtype)
    tensors["layers.2.up.weight"][1, 1] = bad
    found, _ = stream.plan(FAMILY, Memory(tensors), WANTED)
    with pytest.raises(ConversionError, match="'layers.2.up.weight' has values"):
        with stream.building(tmp_path / "dst") as folder:
            stream.write_checkpoint(folder, found, {})
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_conversion_restarts_cleanly(tmp_path):
    left = tmp_path / "dst.partial"  # what a killed process leaves
    (left / "checkpoints").mkdir(parents=True)
    found, _ = stream.plan(FAMILY, Memory(values()), WANTED)
    with stream.building(tmp_path / "dst") as folder:
        stream.write_checkpoint(folder, found, {})
    assert [path.name for path in tmp_path.iterdir()] == ["dst"]
    checkpoint.describe(tmp_path / "dst")


def test_a_destination_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "dst").mkdir()
    (tmp_path / "dst/precious").write_text("kept")
    with pytest.raises(ConversionError, match="exists already"):
        with stream.building(tmp_path / "dst"):
            pass
    assert (tmp_path / "dst/precious").read_text() == "kept"


@pytest.mark.parametrize(
    "family", [names.INSTRUCT_BLIP, names.BLIP2, names.BLIP2_RETRIEVAL, names.LLAMA, names.VISION]
)
def test_tables_name_every_leaf_and_every_tensor_once(family):
    ours = [path for row in family.entries for path in row.ours]
    theirs = [(name, row.first) for row in family.entries for name in row.theirs]
    assert len(set(ours)) == len(ours)
    assert len(set(theirs)) == len(theirs)


@pytest.mark.parametrize(
    "transform, shape",
    [
        (names.SAME, (3, 4)),
        (names.LINEAR, (3, 4)),
        (names.PATCH, (5, 3, 2, 2)),
    ],
)
def test_transforms_undo_themselves(transform, shape):
    theirs = np.random.default_rng(1).standard_normal(shape)
    (back,) = transform.save(*transform.load(theirs))
    np.testing.assert_array_equal(back, theirs)


def test_a_fused_bias_keeps_query_and_value():
    query, value = names.QUERY_VALUE_BIAS.load(np.array([1.0, 2, 0, 0, 5, 6]))
    (back,) = names.QUERY_VALUE_BIAS.save(query, value)
    np.testing.assert_array_equal(back, [1, 2, 0, 0, 5, 6])


def test_a_bias_of_keys_is_dropped_with_a_warning():
    """It adds one number to all scores of a query, so no output depends on it."""
    with pytest.warns(UserWarning, match="biases of attention keys"):
        query, value = names.QUERY_VALUE_BIAS.load(np.arange(6.0))
    np.testing.assert_array_equal([*query, *value], [0, 1, 4, 5])
