import pytest

from zv_jax.data.guard import Guard
from zv_jax.data.records import ImageRef, Record


@pytest.mark.parametrize(
    "lists, held",
    [
        ({"coco": ["42"]}, True),
        ({"visual_genome": ["1"]}, True),
        ({"coco": ["1"], "visual_genome": ["42"]}, False),
    ],
)
def test_an_image_is_known_by_its_name_in_another_set(lists, held):
    """Half of Visual Genome is of COCO: such a record has a name in both."""
    image = (ImageRef(path="VG_100K/1.jpg"),)
    record = Record("vg/train/1", "vg", "train", "caption", "en", image, (), meta={"coco_id": 42})
    assert Guard(lists).holds(record, "visual_genome") == held
