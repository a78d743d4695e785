"""Detected boxes: what suppression, one label for each and tightening promise for any input."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from zv_jax.bmmic.annotate import boxes, grounding_dino_text


@st.composite
def found(draw):
    """Up to 12 boxes with area on a small grid, so that many overlap and many scores are equal."""
    count = draw(st.integers(0, 12))
    low = draw(st.lists(st.tuples(*[st.integers(0, 9)] * 4), min_size=count, max_size=count))
    corners = np.array([(x, y, x + w + 1, y + h + 1) for x, y, w, h in low], np.float64)
    numbers = st.lists(st.integers(0, 2), min_size=count, max_size=count)
    scores = np.array(draw(numbers), np.float64) / 4
    return corners.reshape(-1, 4), np.array(draw(numbers), np.int64), scores


@settings(max_examples=60, deadline=None)
@given(found(), st.floats(0, 1))
def test_what_is_suppressed_has_a_better_box_of_its_label_that_stays(world, limit):
    corners, labels, scores = world
    kept = boxes.suppressed(corners, labels, scores, limit)
    assert list(scores[kept]) == sorted(scores[kept], reverse=True)
    overlap, stays = boxes.iou(corners, corners), set(kept.tolist())
    for i in range(len(corners)):
        rivals = [j for j in stays - {i} if labels[j] == labels[i] and overlap[i, j] > limit]
        better = [j for j in rivals if (-scores[j], j) < (-scores[i], i)]
        assert bool(better) == (i not in stays)
        assert i not in stays or not rivals, "of two that overlap one stays"
    again = boxes.suppressed(corners[kept], labels[kept], scores[kept], limit)
    assert again.tolist() == list(range(len(kept)))


@settings(max_examples=60, deadline=None)
@given(found())
def test_overlap_is_symmetric_and_one_with_itself(world):
    corners = world[0]
    overlap = boxes.iou(corners, corners)
    assert np.array_equal(overlap, overlap.T) and (overlap >= 0).all() and (overlap <= 1).all()
    assert (np.diag(overlap) == 1).all()


def test_no_area_overlaps_nothing():
    nothing = np.array([[3.0, 3, 3, 3], [5, 5, 2, 2]])
    assert not boxes.iou(nothing, np.array([[0.0, 0, 9, 9], [3, 3, 3, 3]])).any()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=5), st.integers(0, 4), st.randoms())
def test_the_label_of_a_box_is_the_one_with_its_most_probable_token(lengths, count, random):
    spans = grounding_dino_text.spans_of(lengths)
    width = spans[-1][1] + 2
    scores = np.array([[random.random() for _ in range(width)] for _ in range(count)])
    scores = scores.reshape(count, width)
    best, sure = boxes.best_labels(scores, spans)
    for row, label, score in zip(scores, best, sure, strict=True):
        assert score == max(row[i] for start, end in spans for i in range(start, end))
        assert score in row[slice(*spans[label])]


@settings(max_examples=60, deadline=None)
@given(found(), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_a_tightened_box_bounds_its_mask_or_is_the_box(world, seed, least):
    mask = np.random.default_rng(seed).random((20, 20)) < 0.02
    for box in world[0]:
        tight = boxes.tightened(box, mask, least)
        if tight is box:
            continue
        x1, y1, x2, y2 = tight.astype(int)
        inside = np.zeros_like(mask)
        inside[y1:y2, x1:x2] = True
        assert not (mask & ~inside).any(), "nothing of the mask is cut off"
        assert mask[y1].any() and mask[y2 - 1].any() and mask[:, x1].any() and mask[:, x2 - 1].any()
        assert boxes.iou(tight[None], box[None])[0, 0] >= least


def test_a_mask_that_runs_out_of_its_box_is_not_believed():
    box, mask = np.array([2.0, 2, 8, 8]), np.zeros((20, 20), bool)
    assert boxes.tightened(box, mask, 0.5) is box
    mask[3:8, 3:8] = True
    assert boxes.tightened(box, mask, 0.5).tolist() == [3, 3, 8, 8]
    mask[:, 5] = True
    assert boxes.tightened(box, mask, 0.5) is box


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=20), st.integers(2, 12))
def test_names_are_divided_among_texts_in_order_and_fit(lengths, room):
    groups = list(grounding_dino_text.groups(lengths, room))
    assert [i for group in groups for i in group] == [
        i for i, length in enumerate(lengths) if 1 < length <= room
    ]
    assert all(0 < sum(lengths[i] for i in group) <= room for group in groups)


def test_names_lose_what_would_end_them():
    assert grounding_dino_text.clean(" St.  Bernard dog.") == "st bernard dog"
