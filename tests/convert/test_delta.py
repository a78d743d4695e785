"""Published differences: which tensors are one is found out, told, or the conversion is refused."""

import numpy as np
import pytest

from zv_jax.cli import main as cli
from zv_jax.convert import hf, reader
from zv_jax.convert.sources import open_source
from zv_jax.errors import ConfigError, ConversionError

EMBED, HEAD, UP = "model.embed_tokens.weight", "lm_head.weight", "model.layers.1.mlp.up_proj.weight"
VOCABULARY = (EMBED, HEAD)
GROWN = 20  # rows that the base lacks


@pytest.fixture
def published(tmp_path, tensors, directory):
    """`published("all", change=0.1)`: a difference and its base on disk; the model behind them.

    The model is the base moved by that share of its size; `None` makes it another model.
    """

    def make(kind, change=0.1, grown=0):
        base, other = tensors("llama", 1), tensors("llama", 2)
        model = (
            dict(other) if change is None else {n: v + change * other[n] for n, v in base.items()}
        )
        model["model.norm.weight"] = base["model.norm.weight"] + np.float32(1 / 64)
        if grown:
            for name in VOCABULARY:
                model[name][-grown:] = other[name][-grown:]
                base[name] = base[name][:-grown]
        given = {}
        for name, value in model.items():
            given[name] = value.copy()
            if kind == "all" or name not in VOCABULARY:
                given[name][: len(base[name])] -= base[name]
        directory(tmp_path / "base", "llama", base)
        directory(tmp_path / "published", "llama", given)
        return model

    return make


def read(tmp_path, kind=None):
    options = reader.Options(base=str(tmp_path / "base"), delta_kind=kind)
    opened = hf.open_hf(tmp_path / "published", options)
    found = {path.removeprefix("params/llm/"): leaf.value() for path, leaf in opened.leaves.items()}
    return opened, {
        EMBED: found["embed/embedding"],
        HEAD: found["lm_head/kernel"].T,
        UP: found["layers/up/kernel"][1].T,
    }


@pytest.mark.parametrize("grown", [0, 1, GROWN])
@pytest.mark.parametrize("change", [0.1, 0.001, 0, None])
def test_a_difference_in_every_tensor_is_added_in_every_tensor(tmp_path, published, change, grown):
    """As of Vicuna; rows that the base lacks are whole, as FastChat and LLaVA make them."""
    model = published("all", change, grown)
    opened, found = read(tmp_path)
    for name, value in found.items():
        np.testing.assert_allclose(value, model[name], atol=1e-6, err_msg=name)
    assert "every tensor is a difference" in opened.coverage.text()
    assert opened.coverage.to_dict()["notes"]


@pytest.mark.parametrize("grown", [0, 1, GROWN])
@pytest.mark.parametrize("change", [0.3, 0.1, 0.001, None])
def test_whole_embeddings_stay_as_they_are(tmp_path, published, change, grown):
    """As of Ziya-LLaMA."""
    model = published("layers", change, grown)
    opened, found = read(tmp_path)
    for name in VOCABULARY:
        np.testing.assert_array_equal(found[name], model[name])
    np.testing.assert_allclose(found[UP], model[UP], atol=1e-6)
    assert "embeddings and output layer are whole" in opened.coverage.text()


def test_what_the_numbers_do_not_tell_is_refused_and_can_be_told(tmp_path, published):
    """Differences as large as the base and unlike it could be either."""
    model = published("all", 1.0)
    with pytest.raises(ConversionError, match="cannot be known") as caught:
        read(tmp_path)
    assert "--delta_kind=all" in caught.value.fix and "--delta_kind=layers" in caught.value.fix
    assert EMBED in caught.value.what
    opened, found = read(tmp_path, "all")
    for name, value in found.items():
        np.testing.assert_allclose(value, model[name], atol=1e-6, err_msg=name)
    assert "(as told)" in opened.coverage.text()
    _, found = read(tmp_path, "layers")
    given = open_source(tmp_path / "published").read(EMBED)
    np.testing.assert_array_equal(found[EMBED], given)


def test_embeddings_of_one_kind_and_an_output_layer_of_the_other_are_refused(
    tmp_path, published, directory
):
    model = published("all")
    source = open_source(tmp_path / "published")
    mixed = {name: source.read(name) for name in source.specs} | {HEAD: model[HEAD]}
    directory(tmp_path / "published", "llama", mixed)
    with pytest.raises(ConversionError, match="cannot be known"):
        read(tmp_path)


def test_the_command_prints_the_choice_and_knows_both_kinds(tmp_path, published, capsys):
    published("all")
    command = ["convert", "from-hf", str(tmp_path / "published"), str(tmp_path / "dst")]
    command += [f"--base={tmp_path / 'base'}"]
    assert cli.main([*command, "--delta_kind=some"]) == 2
    assert "'some'" in capsys.readouterr().err
    assert cli.main(command) == 0
    assert "every tensor is a difference, as in Vicuna" in capsys.readouterr().out


def test_a_kind_without_a_base_is_refused(tmp_path, published):
    published("all")
    with pytest.raises(ConfigError, match="--delta_kind without --base"):
        hf.open_hf(tmp_path / "published", reader.Options(delta_kind="all"))


def test_a_base_with_more_rows_than_the_difference_is_refused(tmp_path, published, directory):
    published("all")
    source = open_source(tmp_path / "published")
    cut = {n: source.read(n)[:290] if n in VOCABULARY else source.read(n) for n in source.specs}
    directory(tmp_path / "published", "llama", cut, vocab_size=290)
    with pytest.raises(ConversionError, match=r"the base has shape \(300, 48\)"):
        read(tmp_path)


def test_a_sum_beyond_float16_is_refused_and_the_fix_that_is_named_works(
    tmp_path, tensors, directory
):
    base, given = tensors("llama", 1), tensors("llama", 2, np.float16)
    base[UP][0, 0], given[UP][0, 0] = 70000, 0
    given["model.norm.weight"][:] = 0.01
    directory(tmp_path / "base", "llama", base)
    directory(tmp_path / "published", "llama", given)

    def read(dtype):
        options = reader.Options(base=str(tmp_path / "base"), delta_kind="layers", dtype=dtype)
        leaf = hf.open_hf(tmp_path / "published", options).leaves["params/llm/layers/up/kernel"]
        return leaf.value()[1].T[0, 0]

    for dtype in (None, "float16"):
        with pytest.raises(ConversionError, match="70000.* becomes infinite in float16") as caught:
            read(dtype)
        assert "--dtype=bfloat16" in caught.value.fix
    assert float(read("bfloat16")) == 70144  # the nearest it has
    assert float(read("float32")) == 70000
