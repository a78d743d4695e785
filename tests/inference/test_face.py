"""The public face: one form of inputs, methods of decoding as objects, names that editors see."""

import ast
import copy
import importlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zv_jax
from zv_jax import Beam, Greedy, Inputs, Sample
from zv_jax.errors import ConfigError
from zv_jax.inference.logits import nucleus
from zv_jax.models.ziya_visual import ZiyaVisual

ASK = ["What is in the picture?", "图里有什么？"]
NEW = 5


@pytest.fixture(scope="module")
def talker(model):
    return model("stage2", "chat")


@pytest.fixture(scope="module")
def inputs(talker, shown):
    return talker.processor(texts=ASK, images=[shown[:1], shown[1:2]], max_new_tokens=NEW)


def test_inputs_are_a_pytree(inputs):
    assert jax.tree.map(lambda array: array, inputs) == inputs
    assert len(jax.tree.leaves(inputs)) == 5
    assert len(jax.tree.leaves(inputs._replace(images=None))) == 4


def test_a_model_is_called_with_inputs_or_their_fields(talker, inputs):
    """Logits float32 [B, T, V], those of the module itself."""
    logits = talker(inputs)
    llm = talker.config.model.llm
    assert logits.dtype == np.float32
    assert logits.shape == (*inputs.input_ids.shape, llm.vocab_size)
    np.testing.assert_array_equal(talker(**inputs._asdict()), logits)
    expected = jax.jit(ZiyaVisual(talker.config.model).apply)(talker.variables, *inputs)
    seen = inputs.attention_mask
    np.testing.assert_allclose(logits[seen], np.asarray(expected)[seen], atol=1e-5)
    with pytest.raises(TypeError, match="or its fields: input_ids"):
        talker(inputs, input_ids=inputs.input_ids)
    with pytest.raises(TypeError, match="attention_mask"):
        talker(input_ids=inputs.input_ids)


@pytest.mark.parametrize(
    ("decoding", "keywords"),
    [
        (Greedy(), {}),
        (Sample(1.5, top_p=0.9, top_k=7, seed=3),
         {"temperature": 1.5, "top_p": 0.9, "top_k": 7, "seed": 3}),
        (Beam(3, length_penalty=0.0), {"num_beams": 3, "length_penalty": 0.0}),
    ],
)  # fmt: skip
def test_a_method_and_its_keywords_give_the_same_ids(talker, inputs, decoding, keywords):
    found = talker.generate(inputs, decoding, max_new_tokens=NEW)
    assert found.dtype == np.int32 and found.shape == (2, NEW)
    np.testing.assert_array_equal(
        talker.generate(**inputs._asdict(), max_new_tokens=NEW, **keywords), found
    )
    texts = [talker.config.model.prompt.heard(talker.tokenizer.decode(row)) for row in found]
    again = talker.answer([ASK[0]], [_shown(inputs, 0)], NEW, decoding=decoding)
    assert again == texts[:1]


def _shown(inputs, row):
    return list(inputs.images[row])


def test_a_method_and_keywords_at_once_or_unknown_ones_are_refused(talker, inputs):
    with pytest.raises(ConfigError, match="Beam beside num_beams"):
        talker.generate(inputs, Beam(2), num_beams=3)
    with pytest.raises(TypeError, match="tempreature"):
        talker.generate(inputs, tempreature=1.0)
    with pytest.raises(ConfigError, match="2 beams with temperature 1.0"):
        talker.generate(inputs, num_beams=2, temperature=1.0)
    with pytest.raises(ConfigError, match="restricted to given answers"):
        talker.answer([ASK[0]], [[]], decoding=Sample(), choices=["two"])
    for wrong in (lambda: Sample(0.0), lambda: Sample(top_p=0.0), lambda: Sample(top_k=-1)):
        with pytest.raises(ConfigError, match="top_p"):
            wrong()
    with pytest.raises(ConfigError, match="0 beams"):
        Beam(0)


def test_ids_are_continued_without_any_tokenizer(talker, inputs):
    """`</s>` is 2 then, as in this model's tokenizer, and what follows it 0."""

    def until_end(ids):
        return [row[: row.index(2) + 1] if 2 in row else row for row in ids.tolist()]

    bare = copy.copy(talker)
    bare.tokenizer = bare.qformer_tokenizer = None
    assert talker.tokenizer.eos_id == 2
    for decoding in (Greedy(), Sample(seed=1), Beam(2)):
        found, expected = (m.generate(inputs, decoding, max_new_tokens=NEW) for m in (bare, talker))
        assert until_end(found) == until_end(expected)
    with pytest.raises(ConfigError, match="without its tokenizer"):
        bare.answer([ASK[0]], [[]])
    with pytest.raises(ConfigError, match="without its tokenizer"):
        bare.processor([ASK[0]])


def test_ids_of_stop_end_a_row_as_its_end_does(talker, inputs):
    free = talker.generate(inputs, max_new_tokens=NEW)
    end = int(free[0, 1])
    first = int(np.flatnonzero(free[0] == end)[0])
    for decoding in (Greedy(), Beam(1)):
        row = talker.generate(inputs, decoding, max_new_tokens=NEW, stop=[end])[0]
        assert row[: first + 1].tolist() == free[0, : first + 1].tolist()
        assert (row[first + 1 :] == talker.tokenizer.pad_id).all()


def test_top_k_keeps_that_many_tokens_and_the_share_is_of_them():
    p = jnp.log(jnp.array([[0.1, 0.5, 0.3, 0.06, 0.04]]))
    kept = lambda top_p, top_k: np.isfinite(np.asarray(nucleus(p, top_p, top_k)))[0].tolist()
    assert kept(1.0, 2) == [False, True, True, False, False]
    assert kept(1.0, 0) == kept(1.0, 5) == [True] * 5
    # Of the first two, 0.5 is 62 %: enough for 0.6, which it is not of all.
    assert kept(0.6, 2) == [False, True, False, False, False]
    assert kept(0.6, 0) == [False, True, True, False, False]


@pytest.mark.parametrize("decoding", [Greedy(), Sample(1.5, seed=3)])
def test_a_stream_gives_the_columns_of_generate(talker, inputs, decoding):
    whole = talker.generate(inputs, decoding, max_new_tokens=NEW)
    columns = list(talker.stream(inputs, decoding, max_new_tokens=NEW))
    np.testing.assert_array_equal(np.stack(columns, 1), whole[:, : len(columns)])
    assert (whole[:, len(columns) :] == talker.tokenizer.pad_id).all()
    end = int(whole[0, 0])
    one = jax.tree.map(lambda array: array[:1], inputs)
    assert len(list(talker.stream(one, decoding, max_new_tokens=NEW, stop=[end]))) == 1
    with pytest.raises(ConfigError, match="no token before its end"):
        next(talker.stream(inputs, Beam(2)))


def test_attention_maps_are_one_for_each_image(talker, shown):
    maps = talker.attention_maps(shown, ASK[:1] * 3)
    one = talker.attention_maps(shown[1:2], ASK[:1])
    assert maps.shape == (3, *one.shape[1:])
    np.testing.assert_allclose(maps[1], one[0], atol=1e-6)


def test_every_public_name_is_there_and_seen_by_dir_and_editors():
    for name in zv_jax.__all__:
        assert getattr(zv_jax, name) is not None and name in dir(zv_jax)
    assert zv_jax.__all__ == sorted(zv_jax.__all__)
    tree = ast.parse(Path(zv_jax.__file__).read_text("utf-8"))
    typed = {
        alias.name
        for block in tree.body if isinstance(block, ast.If)
        for node in block.body if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }  # fmt: skip
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert set(zv_jax.__all__) <= typed | defined
    assert zv_jax.Inputs is Inputs is importlib.import_module("zv_jax.inference.inputs").Inputs


def test_importing_and_listing_load_no_jax(fresh_python):
    code = """
import sys, zv_jax
dir(zv_jax), zv_jax.train, zv_jax.evaluate, zv_jax.Greedy(), zv_jax.metrics.vqa_accuracy
assert not {"jax", "flax", "orbax"} & set(sys.modules), "jax was loaded"
zv_jax.Inputs
assert "jax" in sys.modules
"""
    done = fresh_python("-c", code)
    assert done.returncode == 0, done.stderr
