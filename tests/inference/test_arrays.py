"""Arrays from a user: what does not fit is refused by row and name, before anything is computed."""

import jax
import numpy as np
import pytest

from zv_jax.errors import DataError
from zv_jax.inference.decoding import Beam, Sample
from zv_jax.models.placeholders import check_placeholders
from zv_jax.models.ziya_visual import ZiyaVisual

ASK = "What is in the picture?"


@pytest.fixture(scope="module")
def talker(model):
    return model("stage2", "chat")


@pytest.fixture
def given(talker, shown):
    """Two rows of the same image, as `Model.answer` makes them; four queries."""
    return talker.processor([ASK] * 2, [shown[:1]] * 2, max_new_tokens=2)


def with_placeholders(given, config, row, count):
    """`given`, `row` of it with `count` placeholders for the four visual tokens of its image."""
    ids, image = given.input_ids.copy(), config.model.image_token_id
    ids[row][ids[row] == image] = 5
    ids[row, -count - 2 : -2] = image
    return given._replace(input_ids=ids)


@pytest.mark.parametrize("found", [0, 2, 9])
def test_other_placeholders_than_visual_tokens_are_refused(talker, given, found):
    assert talker.config.model.qformer.num_queries == 4
    wrong = with_placeholders(given, talker.config, 1, found)
    told = rf"row 1 has {found} placeholders for 4 visual tokens"
    with pytest.raises(DataError, match=told) as refused:
        talker.generate(wrong, max_new_tokens=2)
    assert refused.value.expected.startswith("4 ids")
    for method in (Beam(2), Sample()):
        with pytest.raises(DataError, match=told):
            talker.generate(wrong, max_new_tokens=2, decoding=method)
    with pytest.raises(DataError, match=told):
        ZiyaVisual(talker.config.model).apply(talker.variables, *wrong)


def test_placeholders_without_an_image_are_refused(talker, given):
    text = given._replace(images=None)
    with pytest.raises(DataError, match="row 0 has 4 placeholders for 0 visual tokens"):
        talker.generate(text, max_new_tokens=2)


def test_a_row_may_have_fewer_images_than_others_and_not_fewer_placeholders(talker, given):
    cfg = talker.config.model
    none = np.zeros_like(given.images)
    more = np.concatenate([given.images, none], 1)
    check_placeholders(more, given.input_ids, cfg)
    text = with_placeholders(given, talker.config, 1, 0).input_ids
    check_placeholders(np.concatenate([given.images[:1], none[:1]]), text, cfg)
    with pytest.raises(DataError, match="row 0 has 4 placeholders for 8 visual tokens"):
        check_placeholders(np.concatenate([more[:, :1]] * 2, 1), given.input_ids, cfg)


def test_inside_of_a_compiled_program_nothing_is_counted(talker, given):
    wrong = with_placeholders(given, talker.config, 1, 2)
    jax.eval_shape(ZiyaVisual(talker.config.model).apply, talker.variables, *wrong)


@pytest.mark.parametrize(
    "name, spoil, told",
    [
        ("images", lambda x: x[:, 0], r"images has the shape \(2, 28, 28, 3\)"),
        ("images", lambda x: x[:1], r"images has the shape \(1, 1, 28, 28, 3\)"),
        ("input_ids", lambda x: x[0], "input_ids has the shape"),
        ("attention_mask", lambda x: x[:, 1:], "attention_mask has the shape"),
        ("qformer_input_ids", lambda x: x[:1], "qformer_input_ids has the shape"),
        ("qformer_attention_mask", lambda x: x[:, :1], "qformer_attention_mask has the shape"),
        ("qformer_input_ids", lambda x: None, "reads an instruction, and none is given"),
    ],
)
def test_arrays_of_other_rows_or_axes_are_refused_by_name(talker, given, name, spoil, told):
    with pytest.raises(DataError, match=told):
        talker.generate(given._replace(**{name: spoil(getattr(given, name))}), max_new_tokens=2)
