"""What each patch shows, for the vision warm-up."""

import numpy as np
import pytest

from zv_jax.data.pipeline import pipeline
from zv_jax.data.pipeline.symbols import patch_symbols, shown_objects
from zv_jax.errors import DataError


def test_a_patch_shows_the_box_that_covers_most_of_it():
    boxes = np.array([[0.0, 0.0, 0.6, 0.5], [0.6, 0.0, 1.0, 0.5]])
    assert shown_objects(boxes, 2).reshape(2, 2).tolist() == [[0, 1], [-1, -1]]


def test_a_box_that_hardly_touches_a_patch_is_not_what_it_shows():
    assert shown_objects(np.array([[0.0, 0.0, 0.52, 1.0]]), 2).tolist() == [0, -1, 0, -1]


def test_an_image_without_objects_shows_only_its_background():
    view = {"background": "blue 蓝色", "objects": []}
    assert patch_symbols(view, 2, 2) == [["blue 蓝色"] * 4] * 4


def test_each_patch_has_a_symbol_for_each_side_of_its_object():
    view = {"background": "blue", "objects": [["top left dog", [0, 0, 0.25, 0.5]]]}
    dog = ["top left dog x1 0.00", "top left dog y1 0.00",
           "top left dog x2 0.25", "top left dog y2 0.50"]  # fmt: skip
    assert patch_symbols(view, 2, 2) == [dog, ["blue"] * 4, ["blue"] * 4, ["blue"] * 4]


def test_records_without_views_are_refused_by_name(make_config, tokenizer):
    config = make_config("vision")
    with pytest.raises(DataError, match="toy/train/.*meta.views"):
        next(pipeline.make_pipeline(config, tokenizers=(tokenizer, tokenizer)))
