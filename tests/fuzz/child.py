"""Damages the sound files of a group of targets and reads them, for some time.

    python tests/fuzz/child.py GROUP SECONDS FOLDER

Ends with 1 and says what was damaged how when reading raises anything but an error of this program,
takes too long, or takes too much memory. What was tried last lies in FOLDER/last.txt, should the
process be killed.
"""

from __future__ import annotations

import copy
import faulthandler
import json
import random
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import strategies as st

from tests.fuzz import targets
from zv_jax.errors import ZvError

LONGEST = 20  # seconds for one read of files of a few kilobytes, on a busy machine
MOST = 400 * 2**20  # bytes by which a read may raise the peak of memory
EACH = 40  # ways to damage the files of a target, before the next one's turn

PLACES = st.floats(0, 1, allow_nan=False)
BITS = [
    b"", b"\0", b"\xff", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b'"', b"\\", b"\\ud800", b"[", b"]",
    b"{", b"}", b",", b":", b"\n", b"\r", b"\t", b"null", b"NaN", b"-Infinity", b"1e999", b"-1",
    b"0", b"9" * 25, b"../", b"/", b"<obj_9>", b"<image>", b"\x80" + b"\0" * 7, b"\xff" * 8,
    b"\xef\xbb\xbf", b"\xff\xfe", b"[" * 300, b'{"a":' * 300,
]  # fmt: skip
EDITS = st.tuples(
    st.sampled_from(["flip", "put", "over", "cut", "end", "twice"]), PLACES, st.sampled_from(BITS)
)
ODD = [
    None, True, False, 0, -1, 3, 10**30, 10**400, 0.5, float("nan"), float("inf"), "", " ", "a",
    "\ud800", "\0", "../../etc/hostname", "/etc/hostname", "x" * 5000, "<image>", "<obj_9>",
    [], {}, [[]], [None], ["a", 5], {"a": 1}, {"a": []}, json.loads("[" * 150 + "]" * 150),
    "<obj_" + "1" * 5000 + ">", "1" * 5000,
]  # fmt: skip
CHANGES = st.tuples(st.integers(0, 2**31), st.sampled_from(["drop", "twice", *range(len(ODD))]))
DAMAGE = st.tuples(
    st.integers(0, 2**31),
    st.lists(CHANGES, min_size=1, max_size=3) | st.lists(EDITS, min_size=1, max_size=3),
)


class Hang(BaseException):
    """A read took too long."""


def edited(data: bytes, edits: list) -> bytes:
    """`data` with bytes changed at places between 0 and 1."""
    for kind, place, bit in edits:
        at = int(place * len(data))
        if kind == "flip" and at < len(data):
            data = data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :]
        elif kind == "put":
            data = data[:at] + bit + data[at:]
        elif kind == "over":
            data = data[:at] + bit + data[at + len(bit) :]
        elif kind == "cut":
            data = data[:at] + data[at + 1 + at % 7 :]
        elif kind == "end":
            data = data[:at]
        elif kind == "twice":
            data = data[:at] + data[at : at + 40] + data[at:]
    return data


def changed(value: Any, changes: list) -> Any:
    """A value of JSON with nodes of it replaced, left out or repeated."""
    for number, what in changes:
        places = list(_places(value))
        if not places:
            return copy.deepcopy(ODD[what]) if isinstance(what, int) else value
        holder, key = places[number % len(places)]
        if what == "drop":
            del holder[key]
        elif what == "twice":
            if isinstance(holder, list):
                holder.insert(key, copy.deepcopy(holder[key]))
            else:
                holder[f"{key}2"] = copy.deepcopy(holder[key])
        else:
            holder[key] = copy.deepcopy(ODD[what])  # or later changes make it hold itself
    return value


def _places(value: Any) -> Any:
    waiting = [value]
    while waiting:
        held = waiting.pop()
        keys = list(held) if isinstance(held, dict) else range(len(held))
        for key in keys if isinstance(held, dict | list) else ():
            yield held, key
            if isinstance(held[key], dict | list):
                waiting.append(held[key])


def damaged(path: Path, data: bytes, edits: list) -> bytes:
    """The file `path` of bytes `data`, damaged: by value where it is JSON, else by byte."""
    if not isinstance(edits[0][0], int):
        return edited(data, edits)
    try:
        if path.suffix == ".jsonl":
            rows = changed([json.loads(line) for line in data.splitlines()], edits)
            rows = rows if isinstance(rows, list) else [rows]
            return "".join(json.dumps(row) + "\n" for row in rows).encode()
        return json.dumps(changed(json.loads(data), edits)).encode()
    except (ValueError, RecursionError):
        rng = random.Random(repr(edits))
        places = [("over", rng.random(), bytes([rng.randrange(256)])) for _ in edits]
        return edited(data, places)


def attempt(name: str, target: targets.Target, root: Path, sound: dict, damage: Any) -> None:
    """Reads the files with one of them damaged, and makes it whole again."""
    number, edits = damage
    path = sorted(sound)[number % len(sound)]
    (root.parent / "last.txt").write_text(f"{name}: {path.name}: {ascii(edits)}\n")
    path.write_bytes(damaged(path, sound[path], edits))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    signal.setitimer(signal.ITIMER_REAL, LONGEST)
    faulthandler.dump_traceback_later(3 * LONGEST, exit=True)
    targets.forget()
    try:
        target.read(root)
    except ZvError as error:
        str(error).encode()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        path.write_bytes(sound[path])
        for extra in set(root.rglob("*")) - set(sound):
            if extra.is_file():
                extra.unlink()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    assert grown < MOST, f"{name}: {grown / 2**20:.0f} MB for a file of {len(sound[path])} bytes"


def hung(signal_number: int, frame: Any) -> None:
    raise Hang(f"more than {LONGEST} s")


def read_damaged(name: str, target: targets.Target, root: Path, sound: dict, seed: int) -> None:
    """`attempt` with some tens of ways to damage the files."""

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=EACH,
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate],  # three edits at most are small already
        report_multiple_bugs=False,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(DAMAGE)
    def once(damage: Any) -> None:
        attempt(name, target, root, sound, damage)

    once()


def main(group: str, seconds: float, folder: Path, seed: int) -> None:
    signal.signal(signal.SIGALRM, hung)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    all_targets, sounds = targets.groups()[group](), {}
    for name, target in all_targets.items():
        root = folder / name
        root.mkdir()
        target.make(root)
        sounds[name] = {p: p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}
        target.read(root)  # and so imports what is needed
    end, round_, tries = time.monotonic() + seconds, 0, 0
    while time.monotonic() < end:
        for name, target in all_targets.items():
            print(name, flush=True)
            tries += 1
            read_damaged(name, target, folder / name, sounds[name], seed + round_)
        round_ += 1
    print(f"{tries * EACH} reads of {len(all_targets)} kinds of files")


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
