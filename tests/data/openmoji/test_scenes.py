import itertools

import pytest

from zv_jax.data.openmoji import scenes
from zv_jax.data.openmoji.scene import PLACE_KEYS, Concept
from zv_jax.errors import DataError

COLOURS = ("red", "yellow", "green", "blue", "white", "grey")
CONCEPTS = tuple(
    Concept(f"c{i}", "1F34E", f"c{i}", f"c{i}s", "a", f"物{i}", "个", "food", True)
    for i in range(40)
)


@pytest.fixture(scope="module")
def splits():
    sizes = {"train": 3000, "val": 100, "test": 200}
    return {s: scenes.sample_scenes(s, n, 0, CONCEPTS, COLOURS) for s, n in sizes.items()}


def test_the_same_seed_gives_the_same_scenes_and_a_prefix_is_a_smaller_set(splits):
    again = scenes.sample_scenes("test", 50, 0, CONCEPTS, COLOURS)
    assert again == splits["test"][:50]
    assert again != scenes.sample_scenes("test", 50, 1, CONCEPTS, COLOURS)


def test_ids_are_addresses(splits):
    assert [s.id for s in splits["val"][:2]] == ["zv_openmoji/val/0", "zv_openmoji/val/1"]


def test_no_combination_or_arrangement_is_in_two_splits(splits):
    for a, b in itertools.combinations(splits.values(), 2):
        groups = [{c for c in map(scenes.combination, s) if len(c) > 1} for s in (a, b)]
        assert groups[0] and groups[1] and not groups[0] & groups[1]
        looks = [set(map(scenes.arrangement, s)) for s in (a, b)]
        assert not looks[0] & looks[1]


def test_seeds_cannot_contaminate_each_other(splits):
    other = scenes.sample_scenes("train", 3000, 7, CONCEPTS, COLOURS)
    tested = {c for c in map(scenes.combination, splits["test"]) if len(c) > 1}
    assert not tested & set(map(scenes.combination, other))


def test_held_out_triples_are_only_in_test_and_name_their_scenes(splits):
    assert not any(map(scenes.has_held_out_triple, splits["train"] + splits["val"]))
    kinds = [scenes.kind(s) for s in splits["test"]]
    held = [s for s, k in zip(splits["test"], kinds, strict=True) if k == "held_out_triple"]
    assert all(map(scenes.has_held_out_triple, held))
    assert 0.2 < len(held) / len(kinds) < 0.4
    assert set(kinds) == {"held_out_triple", "new_combination", "new_arrangement"}
    assert {scenes.kind(s) for s in splits["train"]} == {"seen"}
    triples = [
        scenes.is_held_out(c.key, colour, place)
        for c in CONCEPTS
        for colour in COLOURS
        for place in PLACE_KEYS
    ]
    assert 0.03 < sum(triples) / len(triples) < 0.07


def test_test_scenes_differ_from_each_other(splits):
    assert len(set(map(scenes.arrangement, splits["test"]))) == len(splits["test"])


def test_shares_places_and_groups(splits):
    train = splits["train"]
    for n, share in scenes.PICTURES.items():
        assert abs(sum(len(s.objects) == n for s in train) / len(train) - share) < 0.04
    for scene in train:
        places = [PLACE_KEYS.index(p.place) for p in scene.objects]
        assert places == sorted(set(places))
        copies = [sum(p.concept.key == k for p in scene.objects) for k in scenes.combination(scene)]
        assert len(copies) <= 3 and max(copies) <= 3


def test_pictures_stay_in_their_cell(splits):
    for placed in (p for s in splits["train"][:300] for p in s.objects):
        x1, y1, x2, y2 = placed.box
        row, column = divmod(PLACE_KEYS.index(placed.place), 3)
        assert column / 3 <= x1 < x2 <= (column + 1) / 3
        assert row / 3 <= y1 < y2 <= (row + 1) / 3
        assert x2 - x1 == pytest.approx(scenes.SIZES[placed.size])


def test_what_cannot_be_sampled_says_so():
    with pytest.raises(DataError, match="did you mean 'train'"):
        scenes.sample_scenes("trian", 1, 0, CONCEPTS, COLOURS)
    with pytest.raises(DataError, match="at least 3"):
        scenes.sample_scenes("train", 1, 0, CONCEPTS[:2], COLOURS)
    with pytest.raises(DataError, match="more concepts than 3"):
        scenes.sample_scenes("test", 3000, 0, CONCEPTS[:3], COLOURS)
