"""A server that errs in every way: the run ends, no row is lost, the budget holds."""

import random

import pytest
from asking import PRICES, ask, requests, row_of

from benchmarks.chat_server import completion, words
from zv_jax.errors import ServerError
from zv_jax.llm import ledger as ledger_lib
from zv_jax.llm.connection import retry_after
from zv_jax.llm.prices import BudgetReached
from zv_jax.llm.request import Reply

STORM = [429, (429, {"Retry-After": "0.01"}), (503, {"Retry-After": "nonsense"}), 500, 502, 408,
         409, "reset", "cut", "", "   ", {"choices": []}, "half a pair \ud800"]  # fmt: skip


def storm(seed, share):
    """A fault for `share` of the requests, another one each time; a row errs five times at most."""

    def script(body, before):
        dice = random.Random(f"{seed} {row_of(body)} {before}")
        return dice.choice(STORM) if before < 5 and dice.random() < share else None

    return script


@pytest.mark.parametrize("seed", [0, 1])
def test_a_storm_of_faults_costs_time_and_no_row(server, tmp_path, seed):
    server.script = storm(seed, 0.6)
    outcomes = ask(server, tmp_path, requests(60), patience=60.0)
    assert [name for name, _ in outcomes] == [str(n) for n in range(60)]
    for (_, request), (_, reply) in zip(requests(60), outcomes, strict=True):
        assert isinstance(reply, Reply) and reply.text == words(request.body)
    assert server.bill.seen > 90


def test_a_row_that_fails_for_good_is_named_and_the_others_are_not_touched(server, tmp_path):
    faults = [fault for fault in STORM if "429" not in str(fault)]
    server.script = lambda body, before: (
        faults[row_of(body) // 3 % len(faults)] if row_of(body) % 3 == 0 else None
    )
    outcomes = dict(ask(server, tmp_path, requests(39), tries=2))
    assert len(outcomes) == 39
    for name, outcome in outcomes.items():
        assert isinstance(outcome, Reply) == (int(name) % 3 != 0)


@pytest.mark.parametrize("fault", ["drip", "silent"])
def test_a_server_that_drips_or_says_nothing_holds_a_row_no_longer_than_the_timeout(
    server, tmp_path, fault
):
    server.script = lambda body, before: fault if row_of(body) == 1 and not before else None
    outcomes = ask(server, tmp_path, requests(4), timeout=1.0, tries=9)
    assert all(isinstance(outcome, Reply) for _, outcome in outcomes)
    assert sum(s.lost for s in ledger_lib.read(tmp_path / "ledger.jsonl")[0].packs.values()) >= 1


def test_a_429_never_costs_a_row_however_often_it_comes(server, tmp_path):
    server.script = lambda body, before: 429 if before < 12 else None
    outcomes = ask(server, tmp_path, requests(5), tries=2)
    assert all(isinstance(outcome, Reply) for _, outcome in outcomes)
    assert server.bill.seen == 5 * 13


def test_nothing_but_429_ends_the_run_and_the_next_one_asks_the_rest(server, tmp_path):
    server.script = lambda body, before: 429 if row_of(body) > 3 else None
    with pytest.raises(ServerError, match="too many requests"):
        ask(server, tmp_path, requests(10), patience=0.2)
    server.script = lambda body, before: None
    outcomes = ask(server, tmp_path, requests(10))
    assert [outcome.cached for _, outcome in outcomes] == [True] * 4 + [False] * 6


def test_a_server_that_is_down_ends_the_run_instead_of_failing_every_row(server, tmp_path):
    server.script = lambda body, before: 500 if row_of(body) > 5 else None
    with pytest.raises(ServerError, match="4 requests one after another got no reply"):
        ask(server, tmp_path, requests(500), tries=2, give_up=4, concurrency=2)
    assert server.bill.seen <= 6 + 2 * 64  # both tries of the rows that were read ahead


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_budget_holds_in_a_storm(server, tmp_path, seed):
    server.script = storm(seed, 0.5)
    one = PRICES.most(next(requests(1))[1])
    limit = 12 * one
    with pytest.raises(BudgetReached):
        ask(server, tmp_path, requests(200), limit=limit, patience=60.0)
    bill = server.bill
    assert (bill.tokens_in * 2.5 + bill.tokens_out * 10) / 1e6 <= limit
    assert ledger_lib.read(tmp_path / "ledger.jsonl")[0].spent <= limit


def test_a_free_try_before_the_budget_ends_costs_nothing(server, tmp_path):
    """Rows that were turned away once, and for whose next try no money is left, owe nothing."""
    one = PRICES.most(next(requests(1))[1])
    server.script = lambda body, before: 429 if not before else None
    with pytest.raises(BudgetReached):
        ask(server, tmp_path, requests(40), limit=4 * one, patience=60.0, concurrency=2)
    receipt = ledger_lib.read(tmp_path / "ledger.jsonl")[0]
    bill = server.bill
    assert sum(sums.lost for sums in receipt.packs.values()) == 0
    assert receipt.spent == pytest.approx((bill.tokens_in * 2.5 + bill.tokens_out * 10) / 1e6)


def test_replies_that_hold_nothing_are_paid_for_and_in_the_receipt(server, tmp_path):
    server.script = lambda body, before: "" if before < 2 else None
    ask(server, tmp_path, requests(4))
    receipt, _, _ = ledger_lib.read(tmp_path / "ledger.jsonl")
    sums = receipt.packs.values()
    assert sum(s.spoiled for s in sums) == 8 and sum(s.answered for s in sums) == 4
    assert sum(s.tokens_in for s in sums) == server.bill.tokens_in
    assert sum(s.tokens_out for s in sums) == server.bill.tokens_out


def test_an_empty_reply_that_was_cut_off_by_its_length_is_kept(server, tmp_path):
    server.script = lambda body, before: completion(body, "", "length")
    ((_, reply),) = ask(server, tmp_path, requests(1))
    assert (reply.text, reply.finish_reason, server.bill.seen) == ("", "length", 1)


def test_what_the_header_may_hold():
    assert retry_after("2.5") == 2.5
    assert retry_after("99999") == 600
    assert retry_after("-1") == 0
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    too_far = "Thu, 01 Jan 99999999999999999999 00:00:00 GMT"
    far_away = "Thu, 01 Jan 2020 00:00:00 +999999999999999999999999"
    for nothing in (None, "", "soon", "nan", too_far, far_away):
        assert retry_after(nothing) is None
