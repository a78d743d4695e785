"""Whole runs that are killed at random moments of every step, and started again."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import scripted
from bmmic_server import Model

from zv_jax.data.public import catalogue
from zv_jax.llm import ledger as ledger_lib

ROOT = Path(__file__).resolve().parents[2]
RECIPE = """
import json
from zv_jax.bmmic.config import recipe

def get_config():
    return recipe(**json.loads({!r}))
"""
KILLS = 10
# Steps that ask nothing: a kill comes when one of these appears.
FILES = ("symbols/00000.jsonl", "kept/generated/00000.jsonl", "export/bmmic", "export/tfds")


class Slow:
    """The scripted model, after as long as a kill needs to come between."""

    def __init__(self):
        self.script = scripted.Script()

    def __call__(self, messages):
        said = self.script(messages)
        threading.Event().wait(0.05)
        return said


def write_recipe(root, model):
    images = {"name": "records", "root": str(root.parent / "data" / "scenes.jsonl")}
    questions = {"name": "vqav2", "root": str(root.parent / "data" / "vqav2.jsonl"),
                 "split": "train"}  # fmt: skip
    fields = {
        "shard_size": 2,
        "symbols": {"sources": [images], "licence": "CC BY 4.0"},
        "translate": {"sources": [questions], "batch": 2},
        "rewrite": {"share": 1.0},
        "server": {"url": model.url, "model": "scripted", "price_in": 1.0, "price_out": 2.0,
                   "concurrency": 4},
        "export": {"title": "Test"},
    }  # fmt: skip
    root.mkdir()
    path = root / "recipe.py"
    path.write_text(RECIPE.format(json.dumps(fields)))
    return path


def start(root, recipe):
    words = ["-m", "zv_jax", "bmmic", "run", f"--config={recipe}", f"--workdir={root / 'run'}"]
    places = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, *words],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(places)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(worker):
    said = worker.communicate()[1]
    assert worker.returncode == 0, said


def killed(worker, reached, dice):
    """Kills a worker soon after `reached`; whether it was still at work."""
    until = time.monotonic() + 600
    while not reached() and worker.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.002)
    time.sleep(dice.random() * 0.03)
    worker.send_signal(signal.SIGKILL)
    worker.communicate()
    return worker.returncode == -signal.SIGKILL


def files(workdir):
    """What a run has made, without what it paid: the ledger, and the sums of it on the cards.

    TFDS writes the two fields of a row in any order, so its rows are read.
    """
    made = {p.relative_to(workdir): p for p in workdir.rglob("*") if p.is_file()}
    out = {name: path.read_bytes() for name, path in made.items()
           if name.name not in ("ledger.jsonl", "README.md", "README_zh.md")
           and ".array_record-" not in name.name}  # fmt: skip
    tfds = {path.parent for path in made.values() if path.name == "features.json"}
    assert len(tfds) == 2
    for folder in tfds:
        out[folder.relative_to(workdir)] = list(catalogue.read("tfds", folder))
    return out


@pytest.mark.slow
def test_a_run_killed_ten_times_gives_what_one_that_was_not_gives_and_pays_once(tmp_path):
    scripted.write_images(tmp_path / "data")
    scripted.write_questions(tmp_path / "data")
    whole, cut = Model(Slow()), Model(Slow())
    ended(start(tmp_path / "whole", write_recipe(tmp_path / "whole", whole)))
    number = len(whole.requests)

    dice, hits = random.Random(20), 0
    recipe, run = write_recipe(tmp_path / "cut", cut), tmp_path / "cut" / "run"
    counts = sorted(dice.sample(range(1, number), KILLS - len(FILES)))
    moments = [lambda f=f: (run / f).exists() for f in FILES]
    moments[1:1] = [lambda n=n: len(cut.requests) >= n for n in counts]
    for reached in moments:
        hits += killed(start(tmp_path / "cut", recipe), reached, dice)
    ended(start(tmp_path / "cut", recipe))
    assert hits == KILLS

    assert files(run) == files(tmp_path / "whole" / "run")
    receipt, _, _ = ledger_lib.read(run / "ledger.jsonl")
    sums = receipt.packs.values()
    sent = {json.dumps(body, sort_keys=True) for body in cut.requests}
    answered, lost = sum(s.answered for s in sums), sum(s.lost for s in sums)
    assert answered == len(sent) == number, "each request is paid for once, and is in the ledger"
    # What a kill cut off on its way is all that came twice, and the receipt knows of it.
    assert len(cut.requests) - number <= lost <= KILLS * 8
    price = (100 * 1.0 + 20 * 2.0) / 1e6
    assert sum(s.dollars for s in sums) == pytest.approx(number * price)
    assert len(cut.requests) * price <= receipt.spent + 1e-9
