"""Requests and replies as files, in the form of OpenAI's Batch API: one JSON object a line.

`custom_id` is the key of the request, so that a reply finds its place whatever the order of lines.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zv_jax import json_input
from zv_jax.errors import DataError
from zv_jax.files import write_atomic
from zv_jax.llm.ledger import Ledger
from zv_jax.llm.prices import Budget
from zv_jax.llm.reply import NoReply, parsed
from zv_jax.llm.request import Failure, Request

MOST_ROWS = 10_000  # of one file; services take at least five times as many
MOST_BYTES = 100 << 20  # of one file; services take at least as many
_TOGETHER = 256  # replies that go to the ledger with one fsync
_KEY = re.compile(r"[0-9a-f]{64}")


def line(request: Request) -> bytes:
    """The line of a request."""
    entry = {
        "custom_id": request.key,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": request.body,
    }
    return json.dumps(entry, ensure_ascii=False).encode() + b"\n"


def parts(rows: Iterable[tuple[str, Request]]) -> Iterator[list[tuple[str, Request]]]:
    """Rows of (id, request), cut so that each part makes one file."""
    part: list[tuple[str, Request]] = []
    size = 0
    for name, request in rows:
        more = len(line(request))
        if part and (len(part) == MOST_ROWS or size + more > MOST_BYTES):
            yield part
            part, size = [], 0
        part.append((name, request))
        size += more
    if part:
        yield part


def write(requests: Iterable[Request], path: str | Path) -> list[Path]:
    """Writes requests to `path`, and what is too much for one file to ``NAME.2.jsonl`` and so on.

    Each request is written once, whatever their number; returns the files, one at least.
    """
    path, files = Path(path), []
    for number, part in enumerate(parts((r.key, r) for r in _once(requests)), 1):
        file = path if number == 1 else path.with_name(f"{path.stem}.{number}{path.suffix}")
        write_atomic(file, b"".join(line(request) for _, request in part))
        files.append(file)
    if not files:
        write_atomic(path, b"")
    return files or [path]


def _once(requests: Iterable[Request]) -> Iterator[Request]:
    seen: set[bytes] = set()
    for request in requests:
        digest = bytes.fromhex(request.key)
        if digest not in seen:
            seen.add(digest)
            yield request


@dataclass
class Taken:
    """What a file of replies held: how many were taken, and key -> why there is none.

    Attributes:
        notes: a line for each reply that could not be taken, for people.
    """

    number: int = 0
    failures: dict[str, Failure] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read(
    path: str | Path,
    ledger: Ledger,
    packs: Mapping[str, str] | None = None,
    budget: Budget | None = None,
    share: float = 1.0,
) -> Taken:
    """Takes the replies in a file into the ledger.

    Args:
        packs: key -> prompt pack, so that the receipt counts the replies where they belong.
        budget: the prices, which this adds to. share: what a batch pays of them.

    Raises:
        DataError: the file is missing, or a line is no entry of a batch.
    """
    lines = ((f"{path} line {number}", text) for number, text in json_input.numbered(path))
    return take(lines, Path(path).name, ledger, packs, budget, share)


def take(
    lines: Iterable[tuple[str, bytes]],
    source: str,
    ledger: Ledger,
    packs: Mapping[str, str] | None = None,
    budget: Budget | None = None,
    share: float = 1.0,
) -> Taken:
    """As `read`, of (where, line)."""
    packs, budget, taken, seen = packs or {}, budget or Budget(), Taken(), set()
    waiting: list[dict[str, Any]] = []
    for where, text in lines:
        key, found = _outcome(text, where)
        raw = found if isinstance(found, dict) else None
        if raw is None:
            taken.failures[key] = found.failure
            taken.notes.append(f"{where}: {found.failure.reason} {found.failure.detail}".rstrip())
        else:
            taken.number += 1
        usage = raw.get("usage") if raw is not None else found.usage
        if key in seen or ledger.get(key) is not None or (raw is None and usage is None):
            continue  # taken before and paid for then, or not paid for at all
        seen.add(key)
        usd = budget.price(usage, share) if isinstance(usage, dict) else 0.0
        budget.spent += usd
        facts = {"key": key, "pack": packs.get(key, ""), "usd": usd, "source": source}
        if raw is None:
            waiting.append({"kind": "spoiled", **facts, "reason": "garbage", "usage": usage})
        else:
            waiting.append({"kind": "answered", **facts, "time": int(time.time()), "raw": raw})
        if len(waiting) >= _TOGETHER:
            ledger.add(waiting)
            waiting = []
    ledger.add(waiting)
    return taken


@dataclass
class _None:
    """A line without a reply, and what the server counted for it all the same."""

    failure: Failure
    usage: Mapping[str, Any] | None = None


def _outcome(text: bytes, where: str) -> tuple[str, dict[str, Any] | _None]:
    entry = json_input.parse(text, where, strict=False)
    response = entry.get("response") or {} if isinstance(entry, dict) else None
    if not isinstance(response, dict) or not _KEY.fullmatch(str(entry.get("custom_id"))):
        raise DataError(
            "not an entry of a batch",
            where=where,
            expected='{"custom_id": ..., "response": {"status_code": 200, "body": {...}}}',
            fix="give the file as the service sent it, and of requests that were written here",
        )
    key, status = entry["custom_id"], response.get("status_code", 200)
    if response and status == 200:
        try:
            return key, parsed(json.dumps(response.get("body")).encode())
        except NoReply as none:
            return key, _None(Failure("garbage", str(none)), none.usage)
    error = entry.get("error") or response.get("body") or {}
    code = error.get("code") if isinstance(error, dict) else None
    reason = f"http:{status}" if response else str(code or "no reply")
    return key, _None(Failure(reason, ascii(error)[:200] if error else ""))
