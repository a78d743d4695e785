"""Parts of images: their size, what is in them, and where boxes go."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from zv_jax.data.images import view as views
from zv_jax.data.images.view import View

MANY = range(2000)


@pytest.mark.parametrize("least", [0.5, 0.9])
def test_a_crop_has_at_least_the_share_it_is_asked_for_and_about_the_shape_of_its_image(least):
    boxes = np.array([views.draw(seed, least).box for seed in MANY])
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    area, ratio = width * height, width / height
    assert boxes.min() >= 0 and boxes.max() <= 1 + 1e-9
    assert area.min() >= least - 1e-9 and area.mean() == pytest.approx((least + 1) / 2, abs=0.01)
    assert 3 / 4 - 1e-9 <= ratio.min() and ratio.max() <= 4 / 3 + 1e-9
    assert np.log(ratio).mean() == pytest.approx(0, abs=0.02), "neither wider nor higher"
    middle = (boxes[:, :2] + boxes[:, 2:]).mean(0) / 2
    np.testing.assert_allclose(middle, 0.5, atol=0.01)


def test_every_second_image_is_mirrored_where_that_is_allowed():
    assert np.mean([views.draw(seed, 0.5, mirror=True).mirrored for seed in MANY]) == pytest.approx(
        0.5, abs=0.03
    )
    assert not any(views.draw(seed, 0.5).mirrored for seed in MANY)
    boxes = ([views.draw(s, 0.5, mirror=m).box for s in MANY] for m in (False, True))
    assert next(boxes) == next(boxes), "which part is seen does not depend on it"


def test_a_view_depends_on_its_seed_alone():
    assert views.draw(7, 0.5) == views.draw(7, 0.5) != views.draw(8, 0.5)


def test_no_crop_cuts_a_box_that_must_stay():
    box = (0.05, 0.4, 0.3, 0.6)
    found = [views.draw(seed, 0.5, keep=(box,)) for seed in MANY]
    assert all(view.holds(box) for view in found)
    assert 0.1 < np.mean([view.box != View().box for view in found]) < 0.9
    assert not views.draw(3, 0.5).holds((0.0, 0.0, 1.0, 1.0))


@pytest.mark.parametrize("mirror", [False, True])
def test_boxes_follow_what_is_seen(mirror):
    box = (0.3, 0.45, 0.5, 0.7)
    image = Image.new("RGB", (400, 300))
    ImageDraw.Draw(image).rectangle((120, 135, 199, 209), fill=(255, 255, 255))
    for seed in range(60):
        view = views.draw(seed, 0.5, mirror=mirror, keep=(box,))
        shown = view.show(image)
        rows, columns = np.nonzero(np.asarray(shown)[..., 0])
        seen = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        sides = (shown.width, shown.height) * 2
        for pixel, side, at in zip(seen, sides, view.moved(box), strict=True):
            assert pixel == pytest.approx(at * side, abs=1.5)


def test_an_image_of_one_pixel_has_a_part():
    assert views.draw(0, 0.5).show(Image.new("RGB", (1, 1))).size == (1, 1)
