"""Requests, one line to ask them of a scripted server, and how its rows are known again."""

from zv_jax.llm.client import Client
from zv_jax.llm.endpoint import Endpoint
from zv_jax.llm.ledger import Ledger
from zv_jax.llm.prices import Budget, Prices
from zv_jax.llm.request import Request

PRICES = Prices(2.5, 10.0)
QUICK = {"first_wait": 0.001, "longest_wait": 0.01, "timeout": 20.0, "concurrency": 8}


def requests(number, first=0, **parameters):
    """(id, request) rows in both languages, each with a key of its own."""
    given = {"model": "m", "max_tokens": 20} | parameters
    for row in range(first, first + number):
        content = f"Row {row}: what is there?" if row % 2 else f"第{row}行: 图里有什么?"
        yield str(row), Request(({"role": "user", "content": content},), given, pack=f"{row % 3}")


def ask(server, folder, rows, limit=None, run="test", **endpoint):
    """All outcomes in order, from a client of its own."""
    end = Endpoint(server.url, "m", **(QUICK | endpoint))
    with Ledger(folder / "ledger.jsonl", run) as ledger:
        with Client(end, ledger, Budget(limit, PRICES)) as client:
            return list(client.ask_all(rows))


def row_of(body):
    """The number of the row that a request is of."""
    return int("".join(c for c in body["messages"][0]["content"] if c.isdigit()))
