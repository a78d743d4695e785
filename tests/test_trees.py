"""Trees of parameters by path: what is flattened comes back."""

import pytest

from zv_jax import trees


def test_leaves_keep_their_order_and_come_back():
    tree = {"b": {"x": 1, "a": {"deep": 2}}, "a": 3}
    flat = trees.flatten(tree)
    assert list(flat.items()) == [("b/x", 1), ("b/a/deep", 2), ("a", 3)]
    assert trees.unflatten(flat) == tree


def test_dictionaries_without_leaves_vanish():
    assert trees.flatten({"params": {"a": 1}, "lora": {}}) == {"params/a": 1}


@pytest.mark.parametrize("paths", [("a", "a/b"), ("a/b", "a")])
def test_no_leaf_is_lost_below_another(paths):
    with pytest.raises(ValueError, match="a"):
        trees.unflatten(dict.fromkeys(paths, 0))
