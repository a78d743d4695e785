"""Boxes in text, and recall of retrieval."""

import numpy as np
import pytest

from zv_jax.evaluation import retrieve, task
from zv_jax.evaluation.metrics import grounding, retrieval


@pytest.mark.parametrize(
    "text,box",
    [
        ("[0.12,0.25,0.50,0.62]", (0.12, 0.25, 0.5, 0.62)),
        ("it is at [ 0.1, 0.2 ,0.5, 1 ].", (0.1, 0.2, 0.5, 1.0)),
        ("［０.1，0.2， 0.5、0.6］", (0.1, 0.2, 0.5, 0.6)),
        ("[.1,.2,.3,.4] or [0.5,0.5,0.9,0.9]", (0.1, 0.2, 0.3, 0.4)),
        ("[0.5,0.2,0.1,0.6]", None),
        ("[0.1,0.2,0.5]", None),
        ("[10,20,50,60]", None),
        ("[0.1,0.2,0.5,nan]", None),
        ("0.1,0.2,0.5,0.6", None),
        ("", None),
        ("<think>[0,0,1,1]</think>[0.1,0.2,0.5,0.6]", (0.1, 0.2, 0.5, 0.6)),
        ("[0,0,1,1]</think>\n[0.1,0.2,0.5,0.6]", (0.1, 0.2, 0.5, 0.6)),
        ("<thinking>[0,0,1,1]", None),
    ],
)
def test_reading_a_box(text, box):
    assert grounding.parse_box(text) == box


def test_swapped_corners_are_repaired_only_if_asked():
    assert grounding.parse_box("[0.5,0.2,0.1,0.6]", repair=True) == (0.1, 0.2, 0.5, 0.6)


def test_overlap_and_hits():
    whole, half, apart = (0, 0, 1, 1), (0, 0, 1, 0.5), (0, 0.6, 1, 1)
    assert grounding.box_iou(whole, half) == pytest.approx(0.5)
    assert grounding.box_iou(half, apart) == 0
    assert grounding.box_iou((0, 0, 0, 0), (0, 0, 0, 0)) == 0
    assert grounding.hit(half, whole)  # exactly one half is a hit
    assert grounding.accuracy([whole, half, None, apart], [whole] * 4) == pytest.approx(0.5)


def test_recall_with_several_captions_per_image():
    # Images 0 and 1; texts 0, 1 belong to image 0 and text 2 to image 1.
    belongs = retrieval.positives([0, 0, 1], 2)
    similarity = np.array([[0.1, 0.9, 0.5], [0.8, 0.2, 0.6]])
    hits = retrieval.recall_hits(similarity, belongs, (1, 2))
    assert hits["text_recall@1"].tolist() == [True, False]  # any own text counts
    assert hits["text_recall@2"].tolist() == [True, True]
    assert hits["image_recall@1"].tolist() == [False, True, True]
    assert hits["image_recall@2"].all()


def test_ties_count_against_us():
    hits = retrieval.recall_hits(np.zeros((3, 3)), np.eye(3, dtype=bool), (1, 3))
    assert not hits["text_recall@1"].any()
    assert hits["text_recall@3"].all()


def test_equal_captions_are_one_target():
    belongs = retrieval.same_text(["a dog", "a cat", "a dog"])
    similarity = np.array([[0.1, 0.2, 0.9], [0.3, 0.8, 0.1], [0.9, 0.2, 0.1]])
    assert retrieval.recall_hits(similarity, belongs, (1,))["text_recall@1"].all()


def test_chance_is_the_expected_recall_of_a_random_order():
    belongs = retrieval.positives([0, 0, 1, 2], 3)
    expected = retrieval.chance(belongs, (1, 2))
    # Image 0 has two of four texts, the others one.
    assert expected["text_recall@1"] == pytest.approx((2 / 4 + 1 / 4 + 1 / 4) / 3)
    assert expected["text_recall@2"] == pytest.approx((5 / 6 + 1 / 2 + 1 / 2) / 3)
    assert expected["image_recall@1"] == pytest.approx(1 / 3)


def test_reranking_adds_itm_to_itc_of_the_candidates():
    itc = np.array([[0.1, 0.3, 0.2]])
    got = retrieval.reranked(itc, np.array([[1, 2]]), np.array([[2.0, 2.0]]))
    assert got[0, 1:] == pytest.approx([2.3, 2.2])  # equal ITM: ITC decides
    assert got[0, 0] < got[0, 1:].min()


def test_each_direction_is_ranked_by_its_own_scores():
    pair = retrieve.Gallery(("a", "b"), (), ("a", "b"), (0, 1), np.eye(2, dtype=bool))
    own = task.load("coco_cn_retrieval")
    found = retrieve._recalls(own, pair, np.eye(2), 1 - np.eye(2), 1, "how")
    values = {measure.metric: measure.value for measure in found}
    assert (values["text_recall@1_itm"], values["image_recall@1_itm"]) == (100, 0)


def test_retrieval_refuses_a_similarity_that_is_not_a_number():
    with pytest.raises(ValueError, match="not a number"):
        retrieval.ranks(np.array([[np.nan]]), np.array([[True]]))
