"""Requests through a batch service that expires, fails and forgets; and as files by hand."""

import contextlib
import json

import pytest
from asking import PRICES, QUICK, requests, row_of

from benchmarks.chat_server import ChatServer, completion, running, send, words
from zv_jax.errors import ConfigError, DataError, ServerError
from zv_jax.llm import batch_files
from zv_jax.llm import ledger as ledger_lib
from zv_jax.llm.batches import Batches
from zv_jax.llm.client import Client
from zv_jax.llm.endpoint import Endpoint
from zv_jax.llm.ledger import Ledger
from zv_jax.llm.prices import Budget, BudgetReached
from zv_jax.llm.request import Failure, Reply


class BatchServer(ChatServer):
    """`answers` says how many lines of the n-th batch are answered before it ends."""

    def __init__(self, answers=lambda n: None, status="completed"):
        super().__init__()
        self.answers, self.status = answers, status
        self.files, self.batches, self.looks = {}, {}, 0
        self.faults = {}  # path -> what goes wrong the next time

    async def respond(self, method, path, headers, content, writer):
        fault = self.faults.pop(path.split("?")[0], None)
        if fault == "lost" and method == "POST":  # it is done, and the answer is lost
            self.create(json.loads(content))
            writer.transport.abort()
            return False
        if fault:
            return await send(writer, fault, b"{}")
        found = self.answer(method, path, content)
        data = found if isinstance(found, bytes) else json.dumps(found).encode()
        return await send(writer, 200, data)

    def answer(self, method, path, content):
        if (method, path) == ("POST", "/v1/files"):
            name = f"file{len(self.files)}"
            self.files[name] = content[content.index(b"{") : content.rindex(b"}") + 1]
            return {"id": name}
        if (method, path) == ("POST", "/v1/batches"):
            return self.create(json.loads(content))
        if path.startswith("/v1/batches?"):
            return {"data": list(self.batches.values()), "has_more": False}
        if path.startswith("/v1/batches/"):
            self.looks += 1
            batch = self.batches[path.split("/")[-1]]
            return batch | ({"status": "in_progress"} if self.looks % 2 else {})
        return self.files[path.split("/")[3]]

    def create(self, asked):
        name = f"batch{len(self.batches)}"
        lines = [json.loads(row) for row in self.files[asked["input_file_id"]].splitlines()]
        done = self.answers(len(self.batches))
        good, bad = [], []
        for entry in lines[: len(lines) if done is None else done]:
            body, key = entry["body"], entry["custom_id"]
            wrong = self.script(body, 0)
            reply = {"status_code": wrong or 200, "body": completion(body, words(body))}
            (bad if wrong else good).append({"custom_id": key, "response": reply})
            if not wrong:
                self.bill.add(body)
        for entry in lines[len(good) + len(bad) :]:
            error = {"code": "batch_expired", "message": "too late"}
            bad.append({"custom_id": entry["custom_id"], "response": None, "error": error})
        for kind, rows in (("output", good[::-1]), ("error", bad)):
            self.files[f"{kind}-{name}"] = "\n".join(map(json.dumps, rows)).encode()
        self.batches[name] = {"id": name, "metadata": asked["metadata"],
                              "status": self.status if not bad or good else "expired",
                              "output_file_id": f"output-{name}",
                              "error_file_id": f"error-{name}"}  # fmt: skip
        return self.batches[name]


@contextlib.contextmanager
def through(server, folder, limit=None, **given):
    end = Endpoint(server.url, "m", **QUICK)
    with Ledger(folder / "ledger.jsonl", "test") as ledger:
        with Batches(end, ledger, Budget(limit, PRICES), poll=0.001, **given) as batches:
            yield batches


def ask(server, folder, rows, **given):
    with through(server, folder, **given) as batches:
        return list(batches.ask_all(rows))


def test_a_batch_answers_as_single_requests_do_at_half_the_price(tmp_path, server):
    with running(BatchServer()) as service:
        outcomes = ask(service, tmp_path, requests(20))
    assert [name for name, _ in outcomes] == [str(n) for n in range(20)]
    assert [r.text for _, r in outcomes] == [words(request.body) for _, request in requests(20)]
    receipt, _, _ = ledger_lib.read(tmp_path / "ledger.jsonl")
    bill = service.bill
    dollars = 0.5 * (bill.tokens_in * 2.5 + bill.tokens_out * 10) / 1e6
    assert receipt.spent == pytest.approx(dollars) and not receipt.batches
    end = Endpoint(server.url, "m", **QUICK)
    with Ledger(tmp_path / "ledger.jsonl", "test") as ledger, Client(end, ledger) as client:
        assert all(reply.cached for _, reply in client.ask_all(requests(20)))
    assert server.bill.seen == 0


def test_what_an_expired_batch_has_answered_is_kept_and_the_rest_sent_again(tmp_path):
    with running(BatchServer(answers=lambda n: 7 if n < 2 else None)) as service:
        outcomes = ask(service, tmp_path, requests(20))
    assert all(isinstance(reply, Reply) for _, reply in outcomes)
    assert len(service.batches) == 3 and max(service.bill.paid.values()) == 1


def test_rows_that_never_come_are_failures_and_no_row_is_lost(tmp_path):
    with running(BatchServer(answers=lambda n: 3 if n == 0 else 0)) as service:
        outcomes = ask(service, tmp_path, requests(10), rounds=3)
    assert len(outcomes) == 10 and len(service.batches) == 3
    assert [name for name, o in outcomes if o == Failure("expired")] == list("3456789")


def test_a_row_that_the_service_calls_wrong_is_sent_once(tmp_path):
    with running(BatchServer()) as service:
        service.script = lambda body, before: 400 if row_of(body) == 4 else None
        outcomes = dict(ask(service, tmp_path, requests(10)))
    assert outcomes["4"].reason == "http:400" and len(service.batches) == 1
    assert sum(isinstance(outcome, Reply) for outcome in outcomes.values()) == 9


def test_a_batch_under_way_is_found_again_and_never_made_twice(tmp_path):
    with running(BatchServer()) as service:
        with pytest.raises(KeyboardInterrupt), through(service, tmp_path) as batches:
            batches._finish = interrupted  # a kill while the batch is at work
            list(batches.ask_all(requests(10)))
        assert len(ledger_lib.read(tmp_path / "ledger.jsonl")[0].batches) == 1
        with Ledger(tmp_path / "ledger.jsonl", "test") as ledger:
            with pytest.raises(ConfigError, match="a batch of this ledger is under way"):
                Client(Endpoint(service.url, "m"), ledger)
        outcomes = ask(service, tmp_path, requests(12))
    assert all(isinstance(reply, Reply) for _, reply in outcomes)
    assert len(service.batches) == 2 and max(service.bill.paid.values()) == 1
    assert not ledger_lib.read(tmp_path / "ledger.jsonl")[0].batches


def interrupted(part):
    raise KeyboardInterrupt


@pytest.mark.parametrize("path", ["/v1/files", "/v1/batches"])
def test_a_service_that_stumbles_is_asked_again(tmp_path, path):
    with running(BatchServer()) as service:
        service.faults[path] = 503
        outcomes = ask(service, tmp_path, requests(5))
    assert len(service.batches) == 1 and all(isinstance(reply, Reply) for _, reply in outcomes)


def test_a_batch_whose_making_was_not_confirmed_is_looked_for(tmp_path):
    with running(BatchServer()) as service:
        service.faults["/v1/batches"] = "lost"
        outcomes = ask(service, tmp_path, requests(5))
    assert len(service.batches) == 1 and all(isinstance(reply, Reply) for _, reply in outcomes)


def test_large_sets_travel_as_several_batches_and_equal_rows_once(tmp_path, monkeypatch):
    monkeypatch.setattr(batch_files, "MOST_ROWS", 4)
    rows = [*requests(10), *requests(10)]
    with running(BatchServer()) as service:
        outcomes = ask(service, tmp_path, rows, ahead=2)
    assert [name for name, _ in outcomes] == [name for name, _ in rows]
    assert len(service.batches) == 3 and max(service.bill.paid.values()) == 1


def test_a_budget_counts_batches_before_they_are_made(tmp_path, monkeypatch):
    monkeypatch.setattr(batch_files, "MOST_ROWS", 4)
    limit = 6 * PRICES.most(next(requests(1))[1], 0.5)
    with running(BatchServer()) as service:
        with pytest.raises(BudgetReached), through(service, tmp_path, limit) as batches:
            list(batches.ask_all(requests(40)))
        bill = service.bill
        assert 0 < 0.5 * (bill.tokens_in * 2.5 + bill.tokens_out * 10) / 1e6 <= limit


def test_a_service_that_refuses_a_file_is_one_error(tmp_path):
    with running(BatchServer(answers=lambda n: 0)) as service:
        create = service.create
        service.create = lambda asked: create(asked) | {"status": "failed"}
        service.create = lambda asked: service.batches.setdefault(
            "b", {"id": "b", "metadata": {}, "status": "failed", "errors": ["no such model"]}
        )
        with pytest.raises(ServerError, match="refused a batch: .*no such model"):
            ask(service, tmp_path, requests(5))


def test_files_by_hand_hold_each_request_once_and_replies_join_by_key(tmp_path, monkeypatch):
    monkeypatch.setattr(batch_files, "MOST_ROWS", 4)
    wanted = [request for _, request in [*requests(10), *requests(3)]]
    files = batch_files.write(wanted, tmp_path / "out.jsonl")
    assert [file.name for file in files] == ["out.jsonl", "out.2.jsonl", "out.3.jsonl"]
    entries = [json.loads(text) for file in files for text in file.read_text().splitlines()]
    assert [entry["custom_id"] for entry in entries] == [request.key for request in wanted[:10]]
    back = tmp_path / "back.jsonl"
    lines = [{"custom_id": e["custom_id"], "response": {"status_code": 200,
              "body": completion(e["body"], words(e["body"]))}} for e in entries]  # fmt: skip
    lines[2] = lines[2] | {"response": None, "error": {"code": "batch_expired"}}
    lines[3]["response"]["body"]["choices"] = []
    back.write_text("\n".join(map(json.dumps, [*lines, lines[0]])))
    with Ledger(tmp_path / "ledger.jsonl", "test") as ledger:
        packs = {request.key: request.pack for request in wanted}
        taken = batch_files.read(back, ledger, packs, Budget(None, PRICES), 0.5)
        assert len(ledger) == 8 and set(ledger.receipt.packs) == {"0", "1", "2"}
        assert ledger.receipt.packs["0"].spoiled == 1  # it was paid for
        assert [f.reason for f in taken.failures.values()] == ["batch_expired", "garbage"]
        again = batch_files.read(back, ledger, packs, Budget(None, PRICES), 0.5)
        assert again.number == 9 and len(ledger) == 8
        for text in ('{"custom_id": "1", "response": {}}', "[]", "not JSON"):
            back.write_text(text)
            with pytest.raises(DataError, match=r"back.jsonl line 1"):
                batch_files.read(back, ledger)
