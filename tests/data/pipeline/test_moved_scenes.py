"""The vision warm-up moves scenes over the grid of patches, and their boxes with them."""

import numpy as np
import pytest

from zv_jax.data.pipeline.batches.patches import shifted

SIDE = 72


def scene(*boxes):
    """A grey image with a black rectangle in each box, given in pixels, and its view."""
    pixels = np.full((SIDE, SIDE, 3), 200, np.uint8)
    for x1, y1, x2, y2 in boxes:
        pixels[y1:y2, x1:x2] = 0
    objects = [["thing", [value / SIDE for value in box]] for box in boxes]
    return pixels, {"background": "grey", "objects": objects, "asked": None}


@pytest.mark.parametrize(
    "boxes", [[(30, 30, 45, 50)], [(2, 3, 20, 20), (50, 40, 70, 66)], [(0, 0, 72, 72)], []]
)
def test_boxes_stay_around_what_they_show(boxes):
    pixels, view = scene(*boxes)
    for seed in range(20):
        moved, now = shifted(pixels, view, 6, np.random.default_rng(seed))
        again, _ = scene(*(np.rint(np.array(box) * SIDE).astype(int) for _, box in now["objects"]))
        np.testing.assert_array_equal(moved, again)
        assert np.min([box for _, box in now["objects"]], initial=0) >= 0
        assert now["background"] == "grey" and now["asked"] is None


def test_a_scene_with_room_is_moved_by_up_to_half_a_patch_each_way():
    pixels, view = scene((30, 30, 45, 50))
    drawn = (shifted(pixels, view, 6, np.random.default_rng(seed))[1] for seed in range(300))
    moved = np.array([view["objects"][0][1][:2] for view in drawn]) * SIDE - 30
    assert {*np.rint(moved[:, 0])} == {*np.rint(moved[:, 1])} == {*range(-6, 7)}


def test_the_scene_that_is_given_stays_as_it_is():
    pixels, view = scene((30, 30, 45, 50))
    kept, box = pixels.copy(), list(view["objects"][0][1])
    shifted(pixels, view, 6, np.random.default_rng(1))
    np.testing.assert_array_equal(pixels, kept)
    assert view["objects"][0][1] == box
