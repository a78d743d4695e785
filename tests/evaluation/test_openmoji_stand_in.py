"""The paper's tables on the embedded data set with a model of the quickstart's size, from the
command line: straight, killed half-way and continued, and as two processes at once."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from zv_jax.configs.eval.ziya import get_config
from zv_jax.evaluation import task as task_lib

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
ENV = os.environ | {"PYTHONPATH": str(ROOT), "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
LIMIT = 5  # records of each benchmark
ALONE = [
    f"--suite.limit={LIMIT}",
    "--suite.batch_size=2",
    "--suite.rerank_k=2",
    *(f"--suite.max_new_tokens.{task}=6" for task in get_config("openmoji").tasks),
]
SMALL = ("train.steps=1", "train.batch_size=2", "optimizer.warmup_steps=0")
LEFT_BEHIND = ("items.jsonl", "samples.jsonl", "samples.html", "tables.md")


def start(*words: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "zv_jax", *words]
    return subprocess.Popen(command, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finish(*processes: subprocess.Popen) -> list[str]:
    """What they printed; all must succeed."""
    said = [process.communicate(timeout=1800)[0].decode() for process in processes]
    for process, text in zip(processes, said, strict=True):
        assert process.returncode == 0, text[-3000:]
    return said


@pytest.fixture(scope="module")
def evaluate(tmp_path_factory):
    """`evaluate(workdir, *more)` is the command with two barely trained checkpoints."""
    root = tmp_path_factory.mktemp("runs")
    small = [f"--config.{x}" for x in SMALL]
    for name, before in (("stage0", ""), ("stage1_chat", str(root / "stage0"))):
        recipe = f"--config={ROOT / 'configs/quickstart.py'}:{name}"
        finish(start("train", recipe, f"--workdir={root / name}",
                     f"--config.init_from={before}", *small))  # fmt: skip

    def command(workdir: Path, *more: str) -> list[str]:
        return ["eval", f"--checkpoint={root / 'stage1_chat'}", f"--workdir={workdir}",
                f"--suite={ROOT / 'configs/eval/ziya.py'}:openmoji",
                f"--suite.retrieval_checkpoint={root / 'stage0'}", *ALONE, *more]  # fmt: skip

    return command


@pytest.fixture(scope="module")
def straight(evaluate, tmp_path_factory):
    """The folder of a run that nothing disturbed, and what it printed."""
    folder = tmp_path_factory.mktemp("straight")
    (said,) = finish(start(*evaluate(folder)))
    return folder, said


def results_of(workdir: Path) -> dict:
    """results.json without what the machine decides."""
    results = json.loads((workdir / "results.json").read_text("utf-8"))
    return {k: v for k, v in results.items() if k not in ("seconds", "peak_rss_bytes")}


def assert_same(workdir: Path, straight: Path) -> None:
    assert results_of(workdir) == results_of(straight)
    for name in LEFT_BEHIND:
        assert (workdir / name).read_bytes() == (straight / name).read_bytes(), name
    pictures = [{p.name: p.read_bytes() for p in (w / "images").iterdir()}
                for w in (workdir, straight)]  # fmt: skip
    assert pictures[0] == pictures[1]


def answered(workdir: Path) -> int:
    return sum(file.read_bytes().count(b"\n") for file in workdir.glob("predictions/*.jsonl"))


def test_every_benchmark_of_the_paper_has_its_place(straight):
    folder, said = straight
    results = json.loads((folder / "results.json").read_text("utf-8"))
    benchmarks = [task_lib.load(name) for name in get_config("openmoji").tasks]
    numbers = {entry["task"] for entry in results["scores"]}
    for benchmark in benchmarks:
        name = f"zv_openmoji:{benchmark.name}"
        assert (name in numbers) != (benchmark.kind == "judged")
        assert (name in results["notes"]) == (benchmark.kind == "judged")
    assert all(entry["metric"].endswith(f"@{LIMIT}") for entry in results["scores"])
    assert [table["number"] for table in results["tables"]] == [4, 5, 6, 7]
    for table in results["tables"][1:]:
        *_, ours = table["rows"]
        assert ours["name"] == "this checkpoint, stand-in data"
        assert all((cell is None) == (table["number"] == 7) for cell in ours["cells"])
        assert f"Table {table['number']}: {table['title']}" in said
    assert answered(folder) == LIMIT * sum(b.kind != "retrieval" for b in benchmarks)


def test_killed_half_way_and_continued(evaluate, straight, tmp_path):
    running = start(*evaluate(tmp_path))
    while answered(tmp_path) < answered(straight[0]) / 2:
        assert running.poll() is None, running.stdout.read().decode()[-3000:]
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    kept = {file: file.read_bytes() for file in tmp_path.glob("predictions/*.jsonl")}
    assert answered(tmp_path) < answered(straight[0]) and not (tmp_path / "results.json").exists()
    finish(start(*evaluate(tmp_path)))
    for file, data in kept.items():  # nothing that was on the disk is answered again
        assert file.read_bytes().startswith(data[: data.rfind(b"\n") + 1])
    assert answered(tmp_path) == answered(straight[0])
    assert_same(tmp_path, straight[0])


def test_two_processes_at_once(evaluate, straight, tmp_path):
    finish(*(start(*evaluate(tmp_path, f"--shard={i}/2")) for i in range(2)))
    assert answered(tmp_path) == answered(straight[0])  # each record by one of them
    assert_same(tmp_path, straight[0])
