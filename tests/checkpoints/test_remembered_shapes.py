"""Shapes of a model are traced once on a machine, and read from the user's cache after that."""

import dataclasses
import functools

import jax
import pytest

from zv_jax.checkpoints import shapes
from zv_jax.models import parameters
from zv_jax.models.presets import preset
from zv_jax.models.ziya_visual import ZiyaVisual

CFG = preset("tiny_chat")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ZV_CACHE", str(tmp_path))
    yield tmp_path / "shapes"
    shapes.abstract.cache_clear()


_traced = functools.cache(parameters.abstract)  # for real, but once in all tests here


@pytest.fixture
def traced(monkeypatch):
    """The models that are traced in a test."""
    found = []

    def noted(model, use, *given):
        found.append(model.cfg)
        return _traced(model, use, *given)

    monkeypatch.setattr(parameters, "abstract", noted)
    return found


def again(cfg=CFG, use=parameters.answers_and_retrieval):
    """The shapes, as a new process finds them."""
    shapes.abstract.cache_clear()
    return shapes.abstract(ZiyaVisual(cfg), use, *parameters.inputs(cfg))


def test_the_second_process_reads_what_the_first_traced(traced):
    first, second = again(), again()
    assert traced == [CFG]
    assert jax.tree.structure(first) == jax.tree.structure(second)  # logical axes included
    assert jax.tree.leaves(first) == jax.tree.leaves(second)


def test_another_architecture_use_or_dtype_has_shapes_of_its_own(traced):
    half = dataclasses.replace(CFG, param_dtype="bfloat16")
    dtypes = lambda tree: {str(leaf.dtype) for leaf in jax.tree.leaves(tree)}
    assert "bfloat16" in dtypes(again(half)) and dtypes(again()) == {"float32"}
    assert "heads" not in again(use=parameters.answers)["params"] and "heads" in again()["params"]
    assert len(traced) == 3


def test_shapes_of_other_code_are_not_used(traced, monkeypatch):
    again()
    monkeypatch.setattr(shapes, "_code", lambda: "another version of the models")
    again()
    assert len(traced) == 2


@pytest.mark.parametrize(
    "damage", [b"", b"{}", b"[1]", b'{"a": [[2], "no dtype", null]}', b"\xff", b"[" * 9999]
)
def test_a_damaged_file_is_made_anew(traced, cache, damage):
    whole = again()
    (file,) = cache.iterdir()
    file.write_bytes(damage)
    assert jax.tree.leaves(again()) == jax.tree.leaves(whole) and len(traced) == 2
    again()
    assert len(traced) == 2


def test_a_cache_that_cannot_be_written_costs_time_only(traced, cache):
    cache.write_text("a file where the folder would be")
    again(), again()
    assert len(traced) == 2
