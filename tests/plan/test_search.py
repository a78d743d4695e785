"""The search of `zv plan --fit` over made-up costs, against trying everything."""

from hypothesis import given
from hypothesis import strategies as st

from zv_jax.plan.search import Outcome, Setting, fitting, too_large_already

MICROBATCHES = (1, 2, 4, 8)
REMAT = ("none", "dots", "names", "full")
GRID = [Setting(parts, remat) for parts in MICROBATCHES for remat in REMAT]
BYTES = st.integers(1, 100)


@st.composite
def costs(draw):
    """Bytes of each setting, falling with microbatches from two on and otherwise of any kind;
    None for one that cannot be compiled. And any order of their times."""
    need: dict[Setting, int | None] = {}
    for remat in REMAT:
        need[Setting(1, remat)] = draw(BYTES)
        falling = sorted(draw(st.lists(BYTES, min_size=3, max_size=3)), reverse=True)
        need |= {Setting(m, remat): b for m, b in zip(MICROBATCHES[1:], falling, strict=True)}
    for broken in draw(st.sets(st.sampled_from(GRID), max_size=3)):
        need[broken] = None
    return need, draw(st.permutations(GRID)), draw(st.integers(0, 110))


def answers(need: dict, limit: float):
    """What a compiler would find, and the list of what it was asked."""
    asked = []

    def attempt(setting: Setting) -> Outcome:
        asked.append(setting)
        size = need[setting]
        if size is None:
            return Outcome(None, why="cannot be compiled")
        return Outcome(size, too_large=size > limit)

    return attempt, asked


@given(costs(), st.sets(st.sampled_from(GRID)), st.integers(1, 4))
def test_it_finds_what_trying_everything_finds_whatever_is_guessed(cost, guesses, wanted):
    need, order, limit = cost
    attempt, asked = answers(need, limit)
    tried = {}
    found = fitting(order, attempt, guesses.__contains__, tried, wanted)
    everything = [s for s in order if need[s] is not None and need[s] <= limit]
    assert found == everything[:wanted]
    assert len(asked) == len(set(asked)) and set(asked) == set(tried)
    assert set(found) <= set(asked)  # nothing is proposed on another's word


@given(costs(), st.sets(st.sampled_from(GRID)))
def test_what_was_not_tried_is_too_large_or_slower_than_enough_that_fit(cost, guesses):
    need, order, limit = cost
    attempt, _ = answers(need, limit)
    tried = {}
    found = fitting(order, attempt, guesses.__contains__, tried)
    for setting in set(GRID) - set(tried):
        if too_large_already(setting, tried):
            assert need[setting] is None or need[setting] > limit
        else:
            assert len(found) == 3 and order.index(setting) > order.index(found[-1])


def by_parts(setting: Setting) -> int:
    return 80 // setting.microbatches


def test_a_loose_limit_takes_three_compilations():
    attempt, asked = answers({s: by_parts(s) for s in GRID}, 100)
    assert fitting(GRID, attempt, lambda s: False, {}) == GRID[:3] == asked


def test_a_row_that_is_too_large_takes_one_compilation_for_all_but_one_microbatch():
    row = [Setting(parts, "none") for parts in MICROBATCHES]
    attempt, asked = answers({s: by_parts(s) for s in row}, 15)
    assert fitting(row, attempt, lambda s: by_parts(s) > 15, {}) == [row[3]]
    assert asked == [row[0], row[2], row[3]]


def test_one_microbatch_and_other_recomputation_are_never_judged_by_another():
    tried = {Setting(8, "none"): Outcome(50, too_large=True)}
    assert too_large_already(Setting(4, "none"), tried) == Setting(8, "none")
    for setting in (
        Setting(1, "none"),
        Setting(4, "dots"),
        Setting(3, "none"),
        Setting(16, "none"),
    ):
        assert too_large_already(setting, tried) is None


def test_a_failed_compilation_rules_out_nothing_else():
    need = {s: by_parts(s) for s in GRID} | {Setting(8, "none"): None}
    attempt, _ = answers(need, 30)
    tried = {}
    found = fitting(GRID, attempt, lambda s: by_parts(s) > 30, tried, 16)
    assert Setting(4, "none") in found and not tried[Setting(8, "none")].too_large
