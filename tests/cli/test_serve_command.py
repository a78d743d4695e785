"""`zv serve`: its flags, and a real process from the first line to SIGTERM."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from random_runs import TEXTS, random_run

from zv_jax.cli import main as cli
from zv_jax.cli.serve import name_of

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize(
    "path", ["runs/mine", "runs/mine/checkpoints", "runs/mine/checkpoints/120", "runs/mine/"]
)
def test_a_model_has_the_name_of_its_workdir(path):
    assert name_of(Path(path)) == "mine"


def test_a_key_that_is_not_there_is_no_open_door(capsys, monkeypatch):
    monkeypatch.delenv("ZV_NO_KEY", raising=False)
    assert cli.main(["serve", "--checkpoint=x", "--api_key_env=ZV_NO_KEY"]) == 2
    assert "ZV_NO_KEY is empty or missing" in capsys.readouterr().err


@pytest.mark.slow
def test_it_serves_until_sigterm(tmp_path):
    httpx2 = pytest.importorskip("httpx2")
    pytest.importorskip("fastapi")
    from zv_jax.data.text import tokenizers

    tokenizer = tokenizers.train_sentencepiece(TEXTS, 400, tmp_path / "tokenizer")
    folder = random_run(tmp_path / "tiny0", tokenizer, "stage0", "chat")
    command = [sys.executable, "-m", "zv_jax", "serve", f"--checkpoint={folder}", "--port=0"]
    env = os.environ | {"PYTHONPATH": str(ROOT), "ZV_KEY": "sk-1"}
    with subprocess.Popen(
        [*command, "--api_key_env=ZV_KEY"], env=env, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            line = process.stdout.readline()
            (url,) = re.findall(r"^serving tiny0 at (http://127.0.0.1:\d+/v1)\n$", line)
            body = {"model": "tiny0", "input": ["two", "图"]}
            headers = {"Authorization": "Bearer sk-1"}
            reply = httpx2.post(f"{url}/embeddings", json=body, headers=headers, timeout=120)
            assert len(reply.json()["data"]) == 2
            assert httpx2.post(f"{url}/embeddings", json=body).status_code == 401
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()
