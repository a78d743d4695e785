"""Which records a stage draws, and how often."""

import pytest

from zv_jax.data.pipeline import selection
from zv_jax.data.sources.open import open_source
from zv_jax.errors import ConfigError
from zv_jax.stages import STAGES


@pytest.fixture
def facts(toy):
    return open_source("jsonl", str(toy)).facts


def draw(facts, stage, **kw):
    kind = STAGES[stage, "chat"].batch
    wanted = {"tasks": (), "langs": ("en", "zh"), "max_images": 1, "one_answer": True, **kw}
    return selection.samples(facts, selection.Selection(kind, **wanted))


def test_what_each_stage_draws(facts):
    n = 8  # images, each with four records in two languages
    assert len(draw(facts, "stage0")) == 2 * n
    assert len(draw(facts, "language")) == (4 + 1) * 2 * n
    assert len(draw(facts, "stage1", one_answer=False)) == 4 * 2 * n
    assert len(draw(facts, "stage2")) == 5 * 2 * n  # the conversation counts twice
    assert len(draw(facts, "stage2", langs=("zh",))) == 5 * n
    assert len(draw(facts, "stage2", tasks=("vqa", "caption"))) == 2 * 2 * n
    assert len(draw(facts, "stage2", max_images=0)) == 0


def test_expanded_parts_count_the_answers_of_a_record(facts):
    table = draw(facts, "stage2", tasks=("conversation",), langs=("en",))
    assert table[:, 1].tolist() == [0, 1] * 8
    assert table[0, 0] == table[1, 0]


def test_unknown_tasks_are_named_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'ref_ground'"):
        selection.check_tasks(["ref_gruond"], ["en"], "data.sources[0]")
    with pytest.raises(ConfigError, match="langs"):
        selection.check_tasks([], ["de"], "data.sources[0]")
