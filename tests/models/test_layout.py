"""Layers laid out one by one are the same layers: same leaves, same numbers, adapters too."""

import jax
import jax.numpy as jnp
import numpy as np

from zv_jax import trees
from zv_jax.models import layout

IDS = jnp.array([[5, 6, 7, 8], [9, 10, 11, 12]])
MASK = jnp.ones_like(IDS, bool).at[1, 0].set(False)


def laid_out(tiny):
    """`for_inference` empties what it is given."""
    return trees.unflatten(layout.for_inference(trees.flatten(tiny.variables)))


def test_the_leaves_are_those_of_the_stack_and_back(tiny_chat):
    flat = trees.flatten(tiny_chat.variables)
    given = dict(flat)
    found = layout.for_inference(given)
    assert not given
    assert "params/llm/layers/1/attn/q/kernel" in found
    assert "lora/llm/layers/0/attn/q/lora_a" in found
    assert "params/llm/layers/attn/q/kernel" not in found
    np.testing.assert_array_equal(
        found["params/llm/layers/1/gate/kernel"], flat["params/llm/layers/gate/kernel"][1]
    )
    back = layout.stacked(found)
    assert back.keys() == flat.keys()
    for path, leaf in flat.items():
        np.testing.assert_array_equal(back[path], leaf)


def test_accelerators_keep_their_stacks(tiny_base, monkeypatch):
    monkeypatch.setattr(layout, "one_by_one", lambda: False)
    flat = trees.flatten(tiny_base.variables)
    assert layout.for_inference(dict(flat)).keys() == flat.keys()


def test_both_layouts_compute_the_same_with_adapters(tiny_chat):
    def run(model, method, *arguments):
        apply = jax.jit(lambda v: tiny_chat.model.apply(v, *arguments, method=method))
        return [apply(variables) for variables in (tiny_chat.variables, laid_out(tiny_chat))]

    stacked, apart = run(tiny_chat, "hidden", None, IDS, MASK)
    np.testing.assert_allclose(apart, stacked, atol=1e-6)
    (stacked, kept), (apart, parts) = run(tiny_chat, "prefill", None, IDS, MASK)
    np.testing.assert_allclose(apart, stacked, atol=1e-5)
    np.testing.assert_allclose(jnp.stack([p.keys for p in parts]), kept.keys, atol=1e-6)
    without = {"params": laid_out(tiny_chat)["params"], "lora": {}}
    zeroed = jax.tree.map(jnp.zeros_like, laid_out(tiny_chat)["lora"])
    bare = tiny_chat.model.apply(without | {"lora": zeroed}, None, IDS, MASK, method="hidden")
    assert np.abs(bare - run(tiny_chat, "hidden", None, IDS, MASK)[1]).max() > 1e-3
