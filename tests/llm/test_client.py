"""Rows go to a server and come back in order; what was answered is never sent again."""

import asyncio
import time

import pytest
from asking import PRICES, QUICK, ask, requests, row_of

from benchmarks.chat_server import completion, usage, words
from zv_jax.errors import ConfigError, DataError, ServerError
from zv_jax.llm import ledger as ledger_lib
from zv_jax.llm.client import Client
from zv_jax.llm.endpoint import Endpoint
from zv_jax.llm.ledger import Ledger
from zv_jax.llm.prices import Budget, BudgetReached
from zv_jax.llm.request import Failure, Reply


def test_outcomes_come_in_the_order_of_the_rows_whichever_is_answered_first(server, tmp_path):
    server.script = lambda body, before: 500 if row_of(body) % 5 == 0 and not before else None
    outcomes = ask(server, tmp_path, requests(40))
    assert [name for name, _ in outcomes] == [str(n) for n in range(40)]
    for (_, request), (_, reply) in zip(requests(40), outcomes, strict=True):
        assert reply.text == words(request.body) and not reply.cached
        assert reply.usage == usage(request.body) and reply.finish_reason == "stop"


def test_a_second_run_is_answered_by_the_ledger(server, tmp_path):
    first = ask(server, tmp_path, requests(10))
    again = ask(server, tmp_path, requests(12))
    assert server.bill.seen == 12
    assert [reply.text for _, reply in again[:10]] == [reply.text for _, reply in first]
    assert [reply.cached for _, reply in again] == [True] * 10 + [False] * 2


def test_requests_of_one_key_are_sent_once(server, tmp_path):
    server.pause = 0.05
    rows = [("a", request) for _, request in requests(2)] + [("b", r) for _, r in requests(2)]
    outcomes = ask(server, tmp_path, rows)
    assert [name for name, _ in outcomes] == ["a", "a", "b", "b"]
    assert server.bill.seen == 2 and outcomes[0][1].text == outcomes[2][1].text


def test_the_receipt_is_the_sum_of_what_the_server_counted(server, tmp_path):
    ask(server, tmp_path, requests(30))
    receipt, run, _ = ledger_lib.read(tmp_path / "ledger.jsonl")
    sums = receipt.packs.values()
    assert run == "test" and set(receipt.packs) == {"0", "1", "2"}
    assert sum(s.answered for s in sums) == len(server.bill.paid) == 30
    assert sum(s.tokens_in for s in sums) == server.bill.tokens_in
    assert sum(s.tokens_out for s in sums) == server.bill.tokens_out
    dollars = (server.bill.tokens_in * 2.5 + server.bill.tokens_out * 10) / 1e6
    assert receipt.spent == pytest.approx(dollars, abs=1e-12)
    assert not sum(s.lost + s.spoiled + s.failed for s in sums)


def test_rows_are_read_a_bounded_number_ahead(server, tmp_path):
    read = []

    def rows():
        for name, request in requests(400):
            read.append(name)
            yield name, request

    end = Endpoint(server.url, "m", **QUICK)
    with Ledger(tmp_path / "ledger.jsonl", "test") as ledger, Client(end, ledger) as client:
        for number, _ in enumerate(client.ask_all(rows()), 1):
            assert len(read) <= number + client.look_ahead


def test_replies_arrive_while_whoever_asks_is_busy(server, tmp_path):
    end = Endpoint(server.url, "m", **QUICK)
    with Ledger(tmp_path / "ledger.jsonl", "test") as ledger, Client(end, ledger) as client:
        outcomes = client.ask_all(requests(20))
        next(outcomes)
        until = time.monotonic() + 30
        while len(ledger) < 20 and time.monotonic() < until:
            pass
        assert len(ledger) == 20
        assert len(list(outcomes)) == 19


def test_one_stage_may_feed_another_through_the_same_client(server, tmp_path):
    end = Endpoint(server.url, "m", **QUICK)

    def second(client):
        for name, reply in client.ask_all(requests(30)):
            assert isinstance(reply, Reply)
            yield from requests(1, first=1000 + int(name))

    with Ledger(tmp_path / "ledger.jsonl", "test") as ledger, Client(end, ledger) as client:
        assert len(list(client.ask_all(second(client)))) == 30
    assert server.bill.seen == 60


def test_one_request_can_be_asked_from_any_event_loop(server, tmp_path):
    end = Endpoint(server.url, "m", **QUICK)
    request = next(requests(1))[1]

    async def main(client):
        return await asyncio.gather(client.ask(request), client.ask(request))

    with Ledger(tmp_path / "ledger.jsonl", "test") as ledger, Client(end, ledger) as client:
        one, two = asyncio.run(main(client))
    assert one.text == two.text == words(request.body) and server.bill.seen == 1


def test_an_iterator_that_is_closed_early_keeps_what_is_paid_and_sends_no_more(server, tmp_path):
    server.pause = 0.1
    end = Endpoint(server.url, "m", **(QUICK | {"concurrency": 4}))
    with Ledger(tmp_path / "ledger.jsonl", "test") as ledger, Client(end, ledger) as client:
        outcomes = client.ask_all(requests(60))
        next(outcomes)
        outcomes.close()
        seen = server.bill.seen
        assert seen < 60 and len(ledger) == seen
    receipt, _, _ = ledger_lib.read(tmp_path / "ledger.jsonl")
    assert not sum(s.lost for s in receipt.packs.values())


def test_a_consumer_that_fails_loses_no_reply_that_is_paid_for(server, tmp_path):
    server.pause = 0.05
    with pytest.raises(ZeroDivisionError):
        end = Endpoint(server.url, "m", **QUICK)
        with Ledger(tmp_path / "ledger.jsonl", "test") as ledger, Client(end, ledger) as client:
            for _ in client.ask_all(requests(60)):
                _ = 1 / 0
    receipt, _, _ = ledger_lib.read(tmp_path / "ledger.jsonl")
    assert sum(s.answered for s in receipt.packs.values()) == server.bill.seen < 60


@pytest.mark.parametrize("price_of", [0, 3, 17])
def test_a_budget_is_never_exceeded_and_a_larger_one_goes_on(server, tmp_path, price_of):
    server.pause = 0.01
    one = PRICES.most(next(requests(1))[1])
    limit = one * (price_of + 0.5)
    with pytest.raises(BudgetReached, match="the budget is used up"):
        ask(server, tmp_path, requests(200), limit=limit)
    spent = ledger_lib.read(tmp_path / "ledger.jsonl")[0].spent
    seen = server.bill.seen
    assert spent <= limit and (seen == 0) == (price_of == 0)
    assert limit - spent < 2 * one  # and it is used: no request would fit any more
    outcomes = ask(server, tmp_path, requests(200), limit=1.0)
    assert len(outcomes) == 200 and max(server.bill.paid.values()) == 1


def test_a_budget_counts_earlier_runs_and_what_they_may_have_lost(server, tmp_path):
    with Ledger(tmp_path / "ledger.jsonl", "test") as ledger:
        ledger.add([{"kind": "asked", "key": "ab" * 32, "pack": "", "most": 0.7}])
    with pytest.raises(BudgetReached, match=r"\$0.700000 of \$0.7"):
        ask(server, tmp_path, requests(1), limit=0.7)
    assert server.bill.seen == 0


def test_a_budget_needs_prices_and_the_length_of_replies(server, tmp_path):
    with pytest.raises(ConfigError, match="a budget needs prices"):
        Budget(1.0)
    with pytest.raises(ConfigError, match="how long a reply may be"):
        ask(server, tmp_path, requests(3, max_tokens=None), limit=1.0)
    assert server.bill.seen == 0


def test_a_server_that_counts_no_tokens_costs_the_most_it_can(server, tmp_path):
    server.script = lambda body, before: completion(body, "hm") | {"usage": None}
    ask(server, tmp_path, requests(1), limit=1.0)
    request = next(requests(1))[1]
    assert ledger_lib.read(tmp_path / "ledger.jsonl")[0].spent == PRICES.most(request)


def test_a_refusal_is_a_reply_and_not_asked_again(server, tmp_path):
    message = {"role": "assistant", "content": None, "refusal": "I will not."}

    def refuse(body, before):
        whole = completion(body, "")
        return whole | {"choices": [whole["choices"][0] | {"message": message}]}

    server.script = refuse
    for cached in (False, True):
        ((_, reply),) = ask(server, tmp_path, requests(1))
        assert reply.refused and reply.text == "I will not." and reply.cached is cached
    assert server.bill.seen == 1


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_that_is_wrong_itself_is_asked_once_and_never_kept(server, tmp_path, status):
    server.script = lambda body, before: status if row_of(body) == 3 else None
    outcomes = dict(ask(server, tmp_path, requests(6)))
    assert outcomes["3"].reason == f"http:{status}" and server.bill.seen == 6
    assert all(isinstance(outcomes[name], Reply) for name in "01245")
    server.script = lambda body, before: None
    assert isinstance(dict(ask(server, tmp_path, requests(6)))["3"], Reply)
    assert server.bill.seen == 7


def test_a_server_without_structured_output_is_asked_without(server, tmp_path):
    server.script = lambda body, before: 400 if "response_format" in body else None
    rows = list(requests(12, response_format={"type": "json_schema", "json_schema": {}}))
    outcomes = ask(server, tmp_path, rows, concurrency=1)
    assert all(isinstance(outcome, Reply) for _, outcome in outcomes)
    seen = server.bill.seen
    assert 13 <= seen <= 15  # it is known as soon as one was answered
    assert '"without":["response_format"]' in (tmp_path / "ledger.jsonl").read_text()
    ask(server, tmp_path, rows)
    assert server.bill.seen == seen


@pytest.mark.parametrize("status", [401, 402, 403, 404, 307])
def test_a_wrong_key_or_address_is_one_error_after_one_request(server, tmp_path, status):
    server.script = lambda body, before: status
    with pytest.raises(ServerError, match="refuses every request") as caught:
        ask(server, tmp_path, requests(50), key="sk-SECRET-1", concurrency=1, prefix="ZV_BMMIC")
    assert server.bill.seen == 1
    assert "ZV_BMMIC_KEY" in str(caught.value)
    everything = str(caught.value) + (tmp_path / "ledger.jsonl").read_text()
    assert "sk-SECRET" not in everything


def test_no_money_left_is_no_reason_to_wait(server, tmp_path):
    poor = b'{"error": {"code": "insufficient_quota"}}'
    server.script = lambda body, before: (429, {}, poor)
    with pytest.raises(ServerError, match="refuses every request: http:429"):
        ask(server, tmp_path, requests(3), concurrency=1)
    assert server.bill.seen == 1


def test_nobody_at_the_address_is_one_error(tmp_path):
    class Nobody:
        url = "http://127.0.0.1:9/v1"

    with pytest.raises(ServerError, match="nothing answers at this address"):
        ask(Nobody, tmp_path, requests(50), tries=2)


def test_a_key_that_a_reply_repeats_is_not_written_down(server, tmp_path):
    server.script = lambda body, before: "your key is sk-SECRET-1"
    ((_, reply),) = ask(server, tmp_path, requests(1), key="sk-SECRET-1")
    assert reply.text == "your key is ***"
    assert server.headers[0]["authorization"] == "Bearer sk-SECRET-1"
    assert "SECRET" not in (tmp_path / "ledger.jsonl").read_text()


@pytest.mark.parametrize(
    "url", ["localhost:8000/v1", "http://me:sk-SECRET@host/v1", "http://h/v1?key=sk-SECRET"]
)
def test_an_address_holds_no_key(url):
    with pytest.raises(ConfigError, match="no address of an endpoint") as caught:
        Endpoint(url, "m")
    assert "SECRET" not in str(caught.value)


def test_a_key_that_no_header_can_hold_is_refused_without_showing_it():
    with pytest.raises(ConfigError, match="no header can hold") as caught:
        Endpoint("http://h/v1", "m", key="sk-SECRET\n")
    assert "SECRET" not in str(caught.value) + repr(Endpoint("http://h/v1", "m", key="sk-SECRET"))


def test_a_ledger_of_another_run_is_refused_before_anything_is_sent(server, tmp_path):
    ask(server, tmp_path, requests(1))
    with pytest.raises(DataError, match="the ledger of another run: 'test'"):
        ask(server, tmp_path, requests(5), run="other")
    assert server.bill.seen == 1


def test_failures_say_why(server, tmp_path):
    server.script = lambda body, before: 503 if row_of(body) == 1 else None
    outcomes = dict(ask(server, tmp_path, requests(3), tries=2))
    assert outcomes["1"] == Failure("http:503", '{"error": "told to by None"}')
