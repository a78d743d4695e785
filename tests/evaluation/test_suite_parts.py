"""The suite's configuration, the derangement, and reading of multiple-choice answers."""

import pytest

from zv_jax.configs.eval import quickstart
from zv_jax.errors import ConfigError
from zv_jax.evaluation.config import suite, validate
from zv_jax.evaluation.controls import derangement
from zv_jax.evaluation.metrics.choices import parse_choice
from zv_jax.evaluation.task import embedded


def test_the_quickstart_suite_is_valid():
    assert validate(quickstart.get_config()).tasks == ()
    assert validate(quickstart.get_config("retrieval")).tasks == ("retrieval",)
    assert validate(quickstart.get_config("language")).tasks == embedded()[1:]
    with pytest.raises(ConfigError, match="did you mean 'retrieval'"):
        quickstart.get_config("retrival")


@pytest.mark.parametrize(
    "fields,words",
    [
        ({"tasks": ("vqaa",)}, "did you mean 'vqa'"),
        ({"langs": ("fr",)}, "any of en, zh"),
        ({"langs": ()}, "at least one"),
        ({"batch_size": 0}, "above 0"),
        ({"limit": -1}, "at least 0"),
        ({"controls": ("shufled_images",)}, "did you mean 'shuffled_images'"),
    ],
)
def test_a_wrong_value_is_named(fields, words):
    with pytest.raises(ConfigError, match=words) as caught:
        validate(suite(**fields))
    assert caught.value.where == f"suite.{next(iter(fields))}"


def test_an_unknown_field_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'batch_size'"):
        suite(batchsize=3)
    with pytest.raises(ConfigError, match=r"suite\.limits\.vqq"):
        validate({"limits": {"vqq": 3}})


def test_a_limit_of_a_task_goes_before_the_general_one():
    config = validate(suite(limit=10, limits={"vqa": 3}))
    assert config.limit_of("vqa") == 3
    assert config.limit_of("caption") == 10


@pytest.mark.parametrize("n", [2, 3, 7, 300])
def test_no_image_keeps_its_place(n):
    image = derangement(n, seed=0)
    assert sorted(image) == list(range(n))
    assert all(i != to for i, to in enumerate(image))
    assert image == derangement(n, seed=0)


@pytest.mark.parametrize(
    "answer,lang,option",
    [
        ("Two cats.", "en", 1),
        ("(b)", "en", 1),
        ("B", "en", 1),
        ("c.", "en", 2),
        ("(b) two cats", "en", 1),
        ("(a) two cats", "en", None),
        ("a dog", "en", 0),
        ("It is a bird", "en", 2),
        ("a dog or a bird", "en", None),
        ("nothing", "en", None),
        ("(\r\nb\u00a0)", "en", 1),
        ("(\u0131)", "en", None),  # an i without its dot, which is no letter of an option
        ("（ｂ）", "zh", 1),
        ("两只猫。", "zh", 1),
        ("我看是鸟", "zh", 2),
    ],
)
def test_the_option_an_answer_names(answer, lang, option):
    choices = ("a dog", "two cats", "a bird") if lang == "en" else ("一只狗", "两只猫", "鸟")
    assert parse_choice(answer, choices, lang=lang) == option
