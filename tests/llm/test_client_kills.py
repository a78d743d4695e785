"""Processes that are killed, interrupted, or meet a full disk: nothing is lost or paid twice."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from asking import ask, requests

from benchmarks.chat_server import ChatServer, running, usage
from zv_jax.errors import ConfigError, DataError
from zv_jax.llm import ledger as ledger_lib
from zv_jax.llm.ledger import Ledger

ROOT = Path(__file__).resolve().parents[2]
WORKER = """
import json, signal, sys
from pathlib import Path
from asking import ask, requests

signal.signal(signal.SIGINT, signal.default_int_handler)  # shells turn it off in the background

class Server:
    url = sys.argv[1]

folder = Path(sys.argv[2])
outcomes = ask(Server, folder, requests(int(sys.argv[3])))
lines = [json.dumps([name, reply.text, reply.usage]) for name, reply in outcomes]
(folder / "output.jsonl").write_text("\\n".join(lines))
"""


def start(server, folder, number):
    places = [str(ROOT), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, server.url, str(folder), str(number)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(places)},
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(condition, seconds=900):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def killed_and_resumed(server, folder, number, kills, seed):
    """Runs a worker, kills it when the server has seen so many requests, and lets it end."""
    dice = random.Random(seed)
    for _ in range(kills):
        enough = server.bill.seen + dice.randint(1, 2 * number // (kills + 1))
        worker = start(server, folder, number)
        wait_until(lambda w=worker, n=enough: server.bill.seen >= n or w.poll() is not None)
        time.sleep(dice.random() * 0.02)  # anywhere between sending and writing down
        worker.send_signal(signal.SIGKILL)
        worker.communicate()
    worker = start(server, folder, number)
    said = worker.communicate()[1]
    assert worker.returncode == 0, said


@pytest.mark.parametrize(
    ("kills", "number"), [(3, 120), pytest.param(10, 1000, marks=pytest.mark.slow)]
)
def test_a_killed_run_ends_as_one_that_was_not_and_the_receipt_is_the_servers(
    tmp_path, kills, number
):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    with running(ChatServer(pause=0.02)) as server:
        killed_and_resumed(server, cut, number, kills, seed=kills)
    with running(ChatServer()) as other:
        killed_and_resumed(other, whole, number, 0, seed=0)
    assert (cut / "output.jsonl").read_bytes() == (whole / "output.jsonl").read_bytes()

    receipt, _, _ = ledger_lib.read(cut / "ledger.jsonl")
    sums = receipt.packs.values()
    # Each request is in the ledger once, and was asked for by its content.
    assert sum(s.answered for s in sums) == len(server.bill.paid) == number
    once = [json.loads(body) for body in server.bill.paid]
    assert sum(s.tokens_in for s in sums) == sum(usage(b)["prompt_tokens"] for b in once)
    assert sum(s.tokens_out for s in sums) == sum(usage(b)["completion_tokens"] for b in once)
    # What a kill cut off on its way is all that was paid for twice, and the receipt knows of it.
    twice = sum(server.bill.paid.values()) - number
    assert twice <= sum(s.lost for s in sums) <= kills * 16  # in flight, and being written
    everything = (server.bill.tokens_in * 2.5 + server.bill.tokens_out * 10) / 1e6
    assert sum(s.dollars for s in sums) <= everything + 1e-9 <= receipt.spent + 2e-9


def test_an_interruption_waits_for_what_is_paid_for(tmp_path):
    with running(ChatServer(pause=0.05)) as server:
        worker = start(server, tmp_path, 150)
        wait_until(lambda: server.bill.seen >= 20)
        worker.send_signal(signal.SIGINT)
        assert worker.wait() != 0
        worker.communicate()
        receipt, _, _ = ledger_lib.read(tmp_path / "ledger.jsonl")
        sums = receipt.packs.values()
        assert sum(s.answered for s in sums) == server.bill.seen < 150
        assert not sum(s.lost for s in sums)
        worker = start(server, tmp_path, 150)
        assert worker.wait() == 0
        worker.communicate()
    assert max(server.bill.paid.values()) == 1 and len(server.bill.paid) == 150


def test_two_processes_cannot_share_a_ledger(server, tmp_path):
    with Ledger(tmp_path / "ledger.jsonl", "test"):
        worker = start(server, tmp_path, 3)
        assert worker.wait() != 0
        assert "another process is using this ledger" in worker.communicate()[1]
        with pytest.raises(ConfigError, match="another process"):
            Ledger(tmp_path / "ledger.jsonl", "test")
    assert server.bill.seen == 0


def test_a_changed_line_is_found_and_nothing_is_sent(server, tmp_path):
    ask(server, tmp_path, requests(5))
    file = tmp_path / "ledger.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    changes = {
        "a word": lambda n: [*lines[:n], lines[n].replace(b"word", b"lord"), *lines[n + 1 :]],
        "a price": lambda n: [*lines[:n], lines[n].replace(b'"usd":', b'"usd":1'), *lines[n + 1 :]],
        "taken out": lambda n: lines[:n] + lines[n + 1 :],
        "twice": lambda n: [*lines[: n + 1], lines[n], *lines[n + 1 :]],
    }
    answered = [n for n, line in enumerate(lines) if b'"answered"' in line]
    for what, change in changes.items():
        n = answered[1]
        file.write_bytes(b"".join(change(n)))
        number = n + 2 if what == "twice" else n + 1
        for use in (ledger_lib.read, lambda path: Ledger(path, "test")):
            with pytest.raises(DataError, match=rf"was changed[\s\S]*line {number}\b"):
                use(file)
    assert server.bill.seen == 5


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 6 MB; only where one can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not shutil.which("mount"):
        pytest.skip("no mount")
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", folder], capture_output=True
    )
    if made.returncode:
        pytest.skip("nothing can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_keeps_every_reply_that_is_paid_for_and_stops(small_disk):
    with running(ChatServer(pause=0.05)) as server:
        fill = small_disk / "other"
        thread = threading.Thread(target=fill_later, args=(server, fill))
        thread.start()
        with pytest.raises(Exception, match="the ledger cannot be written: No space left"):
            ask(server, small_disk, requests(5000), concurrency=16)
        thread.join()
        paid = server.bill.seen
        receipt, _, _ = ledger_lib.read(small_disk / "ledger.jsonl")
        assert sum(s.answered for s in receipt.packs.values()) == paid < 5000
        with pytest.raises(Exception, match="No space left"):
            ask(server, small_disk, requests(5000))
        assert server.bill.seen == paid  # not even begun
        fill.unlink()
        outcomes = ask(server, small_disk, requests(paid + 20))
    assert len(outcomes) == paid + 20 and max(server.bill.paid.values()) == 1


def fill_later(server, fill):
    """Takes all the room that is left as soon as a few requests were answered."""
    wait_until(lambda: server.bill.seen > 40)
    with fill.open("wb", buffering=0) as out:
        for size in (1 << 16, 1 << 8, 1):
            try:
                while True:
                    out.write(b"x" * size)
            except OSError:
                continue
