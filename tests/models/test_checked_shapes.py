"""Signatures carry shapes, which are checked while tests run (see tests/conftest.py)."""

import ast
import dataclasses
from pathlib import Path

import jax.numpy as jnp
import pytest
from jaxtyping import TypeCheckError

from zv_jax.models.attention import attend
from zv_jax.models.presets import preset
from zv_jax.models.qformer import causal_mask
from zv_jax.models.vit import normalise
from zv_jax.models.ziya_visual import positions_of
from zv_jax.objectives import itc

ROOT = Path(__file__).resolve().parents[2] / "zv_jax"
ROOMS = ("models", "objectives", "training/losses", "inference")


def test_arrays_that_do_not_fit_each_other_are_refused_by_name():
    images, texts = jnp.ones((5, 3, 8)), jnp.ones((4, 8))  # five images, four texts
    with pytest.raises(TypeCheckError, match=r"(?s)objectives.contrastive.itc.*'texts'.*'B E'"):
        itc(images, texts, jnp.float32(0.1))
    q, k = jnp.ones((2, 3, 4, 8)), jnp.ones((2, 3, 4, 6))  # heads of 8 and of 6 values
    with pytest.raises(TypeCheckError, match=r"(?s)attention.attend.*'k'.*'B S G K'"):
        attend(q, k, k)


def test_arrays_of_another_kind_are_refused_by_name():
    with pytest.raises(TypeCheckError, match=r"(?s)positions_of.*'attention_mask'.*Bool"):
        positions_of(jnp.ones((2, 3)))
    with pytest.raises(TypeCheckError, match=r"(?s)normalise.*'images'"):
        normalise(jnp.ones((1, 4, 28, 28, 3)))  # rows of images, not images


def test_a_result_of_another_shape_is_refused(monkeypatch):
    wrong = lambda queries, mask: jnp.ones((1, 10, 10), bool)  # one row of two
    monkeypatch.setattr("zv_jax.models.qformer.bidirectional_mask", wrong)
    with pytest.raises(TypeCheckError, match=r"(?s)return value of .*causal_mask"):
        causal_mask(4, jnp.ones((2, 6), bool))


def test_plain_types_are_checked_too():
    with pytest.raises(TypeCheckError, match="'heads'"):
        dataclasses.replace(preset("tiny_chat").vision, heads="four")


def test_public_signatures_never_say_just_array():
    """A public function or method that takes or returns an array says which shape it has."""
    found = []
    for room in ROOMS:
        for path in sorted((ROOT / room).glob("*.py")):
            tree = ast.parse(path.read_text("utf-8"))
            scopes = [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef))]
            for function in (node for scope in scopes for node in scope.body):
                if isinstance(function, ast.FunctionDef) and is_public(function.name):
                    found += [f"{path.name}: {function.name}" for _ in shapeless(function)]
    assert found == []


def is_public(name: str) -> bool:
    return name == "__call__" or not name.startswith("_")


def shapeless(function: ast.FunctionDef) -> list[str]:
    """Annotations that are an array of any shape."""
    given = function.args
    parameters = (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg)
    annotations = [p.annotation for p in parameters if p is not None] + [function.returns]
    texts = [ast.unparse(annotation).split(" | ") for annotation in annotations if annotation]
    return [text for text in texts if {"Array", "jax.Array", "np.ndarray"} & set(text)]
