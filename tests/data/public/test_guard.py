import pytest

from zv_jax.data.public import guard
from zv_jax.data.public.guard import Guard
from zv_jax.data.records.record import ImageRef, Record
from zv_jax.errors import DataError


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


@pytest.mark.parametrize(
    "text",
    [
        "[" * 5000,
        "[]",
        '{"lists": []}',
        '{"lists": {"coco": 5}}',
        '{"lists": {"../coco": {"sha256": ""}}}',
    ],
)
def test_lists_of_others_are_read_from_their_own_folder_and_said_if_damaged(tmp_path, text):
    guard.write(tmp_path / "lists", {"coco": {"a": ["1"]}})
    (tmp_path / "coco.txt").write_text("")
    (tmp_path / "lists" / guard.MANIFEST).write_text(text)
    with pytest.raises(DataError, match="no guard lists"):
        Guard.load(tmp_path / "lists")
