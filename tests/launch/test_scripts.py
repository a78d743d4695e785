"""The launch scripts with programs that only note how they were called."""

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TRAIN = ["--", "train", "--config=configs/stage2.py:chat,v5e-256", "--workdir=/gcs/b/x"]
TPU = ["--name=zv", "--zone=us-west4-a", "--type=v5litepod-256"]
GKE = [*TPU, "--cluster=c", "--image=registry/zv:1"]
EVAL = ["eval", "--checkpoint=gs://b/x", "--suite=configs/eval/ziya.py", "--workdir=gs://b/y"]
FAKE = """#!/bin/bash
printf '%s\\n' "$(basename "$0") $*" >>"$LOG"
case "$*" in
  *describe*) cat "$STATE" 2>/dev/null; exit 0 ;;
  *' create '*) echo READY >"$STATE" ;;
  *'bin/zv '*) code=$(head -n 1 "$CODES"); sed -i 1d "$CODES"
    if [ "$code" = gone ]; then echo PREEMPTED >"$STATE"; exit 1; fi
    exit "${code:-0}" ;;
esac
exit 0
"""


@pytest.fixture
def launch(tmp_path):
    """`launch(script, arguments, codes)`: exit code, what was printed, calls of other programs."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("gcloud", "xpk", "sbatch"):
        (programs / name).write_text(FAKE)
        (programs / name).chmod(0o755)

    def run(script: str, arguments: list[str], codes: tuple = (), **environment: str):
        log, left = tmp_path / "log", tmp_path / "codes"
        log.write_text("")
        left.write_text("".join(f"{code}\n" for code in codes))
        env = os.environ | environment | {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "LOG": str(log), "CODES": str(left), "STATE": str(tmp_path / "state"),
        }  # fmt: skip
        done = subprocess.run(
            ["bash", str(ROOT / "launch" / script), *arguments],
            env=env, capture_output=True, text=True, cwd=tmp_path,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr, log.read_text().splitlines()

    return run


@pytest.mark.parametrize(
    "script, arguments, program",
    [("tpu_vm.sh", TPU, "gcloud"), ("gke.sh", GKE, "xpk"), ("slurm.sh", [], "sbatch")],
)
def test_a_dry_run_prints_the_commands_and_runs_none(launch, script, arguments, program):
    code, shown, calls = launch(script, [*arguments, "--dry_run", *TRAIN])
    assert code == 0 and calls == []
    assert program in shown and "stage2.py:chat" in shown


@pytest.mark.parametrize(
    "script, arguments, words",
    [
        ("tpu_vm.sh", [*TPU, "--zoen=x", *TRAIN], "unknown option --zoen"),
        ("tpu_vm.sh", [*TPU[:2], *TRAIN], "--type is missing"),
        ("tpu_vm.sh", [*TPU, "--name=Zv_1", *TRAIN], "no name for a TPU"),
        ("tpu_vm.sh", [*TPU, "--restarts=many", *TRAIN], "is no whole number"),
        ("tpu_vm.sh", [*TPU, "--type=v9-8", *TRAIN], "unknown accelerator"),
        ("tpu_vm.sh", TPU, "nothing to run is given"),
        ("tpu_vm.sh", [*TPU, "--", "rm", "-rf"], "cannot launch: rm"),
        ("tpu_vm.sh", [*TPU, "--", "data", "peek"], "cannot launch: data peek"),
        ("tpu_vm.sh", [*TPU, "--", *EVAL], "eval runs on one host"),
        ("gke.sh", [*GKE, "--", "bmmic", "run"], "bmmic runs on one host"),
        (
            "gke.sh",
            [*GKE, "--type=v5litepod-8", "--slices=2", "--", *EVAL],
            "eval runs on one host",
        ),
        ("slurm.sh", ["--nodes=2", "--", "data", "prepare", "x"], "data runs on one host"),
        ("tpu_vm.sh", [*TPU, "--env=NOT_THERE_AT_ALL", *TRAIN], "there is no such variable here"),
        ("gke.sh", [*TPU, *TRAIN], "--cluster is missing"),
        ("slurm.sh", ["--time=soon", *TRAIN], "--time=soon"),
        ("slurm.sh", ["--env=NOT_THERE_AT_ALL", *TRAIN], "there is no such variable here"),
        ("slurm.sh", ["--env=x[$(touch made)]", *TRAIN], "no name of a variable"),
        ("gke.sh", [*GKE, "--env=x[$(touch made)]", *TRAIN], "no name of a variable"),
        ("tpu_vm.sh", [*TPU, "--env=x[$(touch made)]", *TRAIN], "no name of a variable"),
        ("tpu_vm.sh", [*TPU, "--type=v5litepod-16;touch made", *TRAIN], "unknown accelerator"),
        ("gke.sh", [*GKE, "--type=v5litepod-16$(touch made)", *TRAIN], "unknown accelerator"),
    ],
)
def test_mistakes_stop_before_anything_is_made(launch, script, arguments, words, tmp_path):
    code, shown, calls = launch(script, arguments)
    assert code == 2 and words in shown
    assert not (tmp_path / "made").exists() and not (ROOT / "made").exists()
    assert not any("create" in call or "sbatch" in call for call in calls)


def test_a_slice_is_made_filled_and_started_on_all_workers(launch):
    code, _, calls = launch("tpu_vm.sh", [*TPU, "--spot", "--delete", *TRAIN])
    assert code == 0
    made, copied, installed, trained, fetched, removed = [c for c in calls if "describe" not in c]
    assert "--accelerator-type=v5litepod-256" in made and "--spot" in made
    assert "code.tar.gz" in copied and "FETCH_PYTHON=1 launch/environment.sh" in installed
    assert "zv train" in trained and trained.count("--multihost") == 1 and "--worker=all" in trained
    assert "zv.log" in fetched and " delete " in removed


def test_a_training_that_asks_for_it_is_started_again(launch):
    code, shown, calls = launch("tpu_vm.sh", [*TPU, *TRAIN], codes=(75, 0))
    assert code == 0 and "Restart 1 of 20 (exit code 75" in shown
    assert sum("zv train" in call for call in calls) == 2
    assert sum(" create " in call for call in calls) == 1, "the slice is still there"


def test_a_slice_that_was_taken_away_is_made_again(launch):
    code, _, calls = launch("tpu_vm.sh", [*TPU, *TRAIN], codes=("gone", 0))
    assert code == 0 and sum(" create " in call for call in calls) == 2


def test_a_training_that_fails_is_not_started_again(launch):
    code, shown, calls = launch("tpu_vm.sh", [*TPU, *TRAIN], codes=(1,))
    assert code == 1 and "failed (1)" in shown
    assert sum("zv train" in call for call in calls) == 1


def test_restarts_end(launch):
    code, shown, _ = launch("tpu_vm.sh", [*TPU, "--restarts=1", *TRAIN], codes=(75, 75, 75))
    assert code == 75 and "after 1 restarts" in shown


@pytest.mark.parametrize(
    "script, arguments", [("tpu_vm.sh", TPU), ("gke.sh", GKE), ("slurm.sh", [])]
)
@pytest.mark.parametrize("dry", [[], ["--dry_run"]])
def test_secrets_are_in_no_command_and_no_output(launch, script, arguments, dry):
    secret = "s3cret-value"
    code, shown, calls = launch(
        script, [*arguments, "--env=MY_TOKEN", *dry, *TRAIN], MY_TOKEN=secret
    )
    assert code == 0 and secret not in shown and not any(secret in call for call in calls)


AWKWARD = """it's "a b" $HOME `x` \\ #1 中文"""


def test_xpk_gets_a_secret_as_it_is(launch, tmp_path):
    """XPK reads NAME=VALUE lines and knows no quotes."""
    kept = tmp_path / "kept"
    (tmp_path / "bin" / "xpk").write_text(
        "#!/bin/bash\n"
        'for a in "$@"; do case $a in --env-file=*) cat "${a#*=}" >"$KEPT";; esac; done\n'
    )
    code, *_ = launch("gke.sh", [*GKE, "--env=MY_TOKEN", *TRAIN], MY_TOKEN=AWKWARD, KEPT=str(kept))
    assert code == 0 and kept.read_text() == f"MY_TOKEN={AWKWARD}\n"
    code, shown, calls = launch("gke.sh", [*GKE, "--env=MY_TOKEN", *TRAIN], MY_TOKEN="a\nb=c")
    assert code == 2 and "several lines" in shown and calls == []


def test_a_worker_gets_a_secret_as_it_is_and_keeps_no_file(launch, tmp_path):
    """What the script hands to the workers is run by a shell with a home of its own."""
    home = tmp_path / "home"
    (home / "zv" / ".venv-tpu" / "bin").mkdir(parents=True)
    (home / "zv" / "launch").mkdir()
    shutil.copy(ROOT / "launch/xla_flags.py", home / "zv" / "launch")
    zv = home / "zv" / ".venv-tpu" / "bin" / "zv"
    zv.write_text('#!/bin/bash\nprintf %s "$MY_TOKEN" >"$HOME/seen"\n')
    zv.chmod(0o755)
    (tmp_path / "bin" / "gcloud").write_text(
        """#!/bin/bash
case "$*" in
  *describe*) echo READY ;;
  *'zv train'*) for a in "$@"; do
      case $a in --command=*) HOME=$WORKER bash -c "cd; ${a#*=}" ;; esac; done ;;
  *secrets.sh*:*) for a in "$@"; do case $a in */secrets.sh) cp "$a" "$WORKER/";; esac; done ;;
esac
"""
    )
    code, shown, _ = launch(
        "tpu_vm.sh", [*TPU, "--env=MY_TOKEN", *TRAIN], MY_TOKEN=AWKWARD, WORKER=str(home)
    )
    assert code == 0, shown
    assert (home / "seen").read_text() == AWKWARD
    assert not (home / "secrets.sh").exists()


@pytest.mark.parametrize("words", [EVAL, ["data", "prepare", "coco_caption"], ["bmmic", "run"]])
def test_other_commands_run_on_one_host_without_others_to_join(launch, words):
    one = "--type=v5litepod-8"
    for script, arguments in (("tpu_vm.sh", [*TPU, one]), ("gke.sh", [*GKE, one])):
        code, shown, calls = launch(script, [*arguments, "--", *words])
        (started,) = [line for line in "\n".join(calls).splitlines() if f"zv {words[0]}" in line]
        assert code == 0 and words[-1] in started and "--multihost" not in started, shown
    code, _, calls = launch("slurm.sh", ["--nodes=1", "--", *words])
    assert code == 0 and calls[0].endswith(" ".join(["slurm.sbatch h100", *words]))


def test_gke_starts_again_after_the_codes_that_ask_for_it(launch):
    from zv_jax.cli.train import AGAIN
    from zv_jax.training.monitors import EXIT_CODE

    _, _, calls = launch("gke.sh", [*GKE, *TRAIN])
    assert f"--max-restarts=20 --restart-on-exit-codes={EXIT_CODE},{AGAIN} " in calls[0]


XPK = """
import argparse, json, sys
from xpk.commands.workload import get_restart_exit_codes
from xpk.parser.core import set_parser
parser = argparse.ArgumentParser("xpk")
set_parser(parser)
given = parser.parse_args(sys.argv[1:])
print(json.dumps([sorted(get_restart_exit_codes(given)), given.workload, given.command]))
"""


@pytest.mark.skipif(shutil.which("xpk") is None, reason="xpk is not installed")
def test_xpk_understands_the_command_as_it_is_meant(launch, tmp_path):
    """XPK's own parser, run by the Python of the `xpk` on the PATH."""
    interpreter = Path(shutil.which("xpk")).read_text().splitlines()[0].removeprefix("#!")
    (tmp_path / "bin" / "xpk").write_text(
        f'#!/bin/bash\n[ "$2" = list ] || exec {interpreter} -c "$PROGRAM" "$@"\n'
    )
    code, shown, _ = launch("gke.sh", [*GKE, "--env=TOKEN", *TRAIN], TOKEN="x", PROGRAM=XPK)
    assert code == 0, shown
    codes, name, command = json.loads(shown.splitlines()[-1])
    assert {70, 75} <= set(codes) and not {0, 1, 2} & set(codes) and name == "zv"
    assert shlex.split(command.splitlines()[-1]) == ["zv", *TRAIN[1:], "--multihost"]


def test_gke_builds_the_image_and_says_of_which_code(launch, tmp_path):
    (tmp_path / "bin" / "docker").write_text(FAKE)
    (tmp_path / "bin" / "docker").chmod(0o755)
    code, shown, calls = launch("gke.sh", [*GKE, "--build", *TRAIN])
    assert code == 0 and "The code: commit" in shown
    assert calls[0] == "docker build --build-arg=EXTRA=tpu --tag=registry/zv:1 -"
    assert calls[1] == "docker push registry/zv:1" and calls[2].startswith("xpk workload create")


@pytest.fixture
def checkout(tmp_path):
    """A repository with the launch scripts, one changed, one new and one removed file."""
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT / "launch", folder / "launch")
    (folder / ".gitignore").write_text("*.log\n")
    (folder / "gone.py").touch()
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "first"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    (folder / "recipe of mine.py").write_text("new")
    (folder / "launch/gke.sh").write_text("changed")
    (folder / "gone.py").unlink()
    (folder / "run.log").touch()
    return folder


def test_a_tpu_vm_gets_what_is_not_committed_too_and_it_is_named(launch, checkout, tmp_path):
    (tmp_path / "bin" / "gcloud").write_text(
        """#!/bin/bash
case "$*" in *code.tar.gz*:*) for a in "$@"; do case $a in */code.tar.gz)
  mkdir -p "$WORKER" && tar xzf "$a" -C "$WORKER" ;; esac; done ;; esac
"""
    )
    worker = tmp_path / "worker"
    code, shown, _ = launch(checkout / "launch/tpu_vm.sh", [*TPU, *TRAIN], WORKER=str(worker))
    assert code == 0, shown
    assert (worker / "recipe of mine.py").read_text() == "new"
    assert (worker / "launch/gke.sh").read_text() == "changed"
    assert not (worker / "gone.py").exists() and not (worker / "run.log").exists()
    assert "these changes, which go along" in shown and '?? "recipe of mine.py"' in shown


PYTHON = """#!/bin/bash
# Like a Python 3.12 whose virtual environments are links to it, and whose pip only notes.
case "$*" in
  *ensurepip*) exit "${UNFIT:-0}" ;;
  *version_info*) echo 312 ;;
  '-m venv '*) mkdir -p "$3/bin" && ln -s "$(realpath "$0")" "$3/bin/python" ;;
  *) printf '%s\\n' "$*" >>"$LOG" ;;
esac
"""


def test_a_machine_without_a_new_python_gets_one(checkout, tmp_path, launch):
    for name, text in {
        "old": PYTHON.replace("${UNFIT:-0}", "1"),
        "new": PYTHON,
        "uv": f'#!/bin/bash\necho "uv $*" >>"$LOG"\n[ $2 = find ] && echo {tmp_path}/bin/new\n'
        "true\n",
    }.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    (checkout / "setup.py").touch()
    script = checkout / "launch/environment.sh"
    code, shown, calls = launch(script, [".venv-x", "gpu"], PYTHON="old")
    assert code == 1 and "PYTHON=/path/to/python3.12" in shown and calls == []
    code, shown, calls = launch(script, [".venv-x", "gpu"], PYTHON="old", FETCH_PYTHON="1")
    assert code == 0 and "Installed: .venv-x" in shown, shown
    assert "uv python install" in calls[0] and calls[-1].endswith("install -e .[dev,gpu]")
    code, shown, calls = launch(script, [".venv-x", "gpu"], PYTHON="new")
    assert code == 0 and shown == "" and calls == [], "equal, nothing is done"


def test_jobs_that_share_an_environment_install_it_once(checkout, tmp_path, launch):
    (tmp_path / "bin" / "new").write_text(PYTHON)
    (tmp_path / "bin" / "new").chmod(0o755)
    (checkout / "setup.py").touch()
    (tmp_path / "log").write_text("")
    env = os.environ | {"PYTHON": str(tmp_path / "bin/new"), "LOG": str(tmp_path / "log")}
    words = ["bash", str(checkout / "launch/environment.sh"), ".venv-x", "gpu"]
    jobs = [subprocess.Popen(words, env=env, stdout=subprocess.PIPE) for _ in range(4)]
    assert sum(b"Installed" in job.communicate()[0] for job in jobs) == 1
    assert len((tmp_path / "log").read_text().splitlines()) == 1


@pytest.mark.parametrize("script", sorted(p.name for p in (ROOT / "launch").glob("*.sh")))
def test_help_shows_the_first_lines_and_runs_nothing(launch, script):
    if script == "common.sh":  # which the others source
        return
    code, shown, calls = launch(script, ["--help"])
    first = (ROOT / "launch" / script).read_text().splitlines()[1].removeprefix("# ")
    assert code == 0 and shown.splitlines()[0] == first and calls == []
    assert "set -euo pipefail" not in shown and "common.sh" not in shown


def flags_module():
    spec = importlib.util.spec_from_file_location("xla_flags", ROOT / "launch/xla_flags.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_flags_of_every_chip_can_be_evaluated_and_the_users_come_last():
    from zv_jax.parallel.hardware import CHIPS

    module = flags_module()
    assert module.FLAGS.keys() == CHIPS.keys()
    assert module.chip_of("v5litepod-256") == "v5e"
    shown = subprocess.run(
        ["bash", "-c", f"{module.exports('v5e')}\necho $LIBTPU_INIT_ARGS"],
        env={"LIBTPU_INIT_ARGS": "--mine=1"}, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    assert shown[-1] == "--mine=1" and shown[:-1] == list(module.FLAGS["v5e"]["LIBTPU_INIT_ARGS"])


def test_a_plan_is_compiled_with_the_flag_that_changes_what_tpus_compute():
    from zv_jax.plan.compiled import WHOLE_PRODUCTS

    tpus = [found["LIBTPU_INIT_ARGS"] for found in flags_module().FLAGS.values()
            if "LIBTPU_INIT_ARGS" in found]  # fmt: skip
    assert len(tpus) == 4 and all(WHOLE_PRODUCTS in flags for flags in tpus)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_has_nothing_to_say():
    scripts = [*(ROOT / "launch").glob("*.sh"), ROOT / "launch/slurm.sbatch"]
    done = subprocess.run(["shellcheck", "-x", *scripts], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_image_installs_what_the_package_has():
    text = (ROOT / "Dockerfile").read_text()
    python = re.search(r"^ARG PYTHON=(\d+)\.(\d+)$", text, re.MULTILINE)
    assert (ROOT / f"requirements-py{python[1]}{python[2]}.lock").is_file()
    extras = {*re.findall(r"EXTRA=([a-z]+)", text), *re.findall(r"\.\[([a-z]+)", text)}
    known = set(re.findall(r'^    "([a-z-]+)": ', (ROOT / "setup.py").read_text(), re.MULTILINE))
    assert extras == {"gcs", "gpu", "tpu"} and extras <= known
    # What git ignores at the top stays out of a build by hand, too.
    ignored = {line.strip("/") for line in (ROOT / ".dockerignore").read_text().splitlines()}
    assert {".git", ".venv*", "runs", "build", "dist", "site"} <= ignored


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed")
def test_hadolint_has_nothing_to_say():
    done = subprocess.run(["hadolint", ROOT / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
