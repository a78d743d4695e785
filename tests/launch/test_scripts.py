"""The launch scripts with programs that only note how they were called."""

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TRAIN = ["--", "train", "--config=configs/stage2.py:chat,v5e-256", "--workdir=/gcs/b/x"]
TPU = ["--name=zv", "--zone=us-west4-a", "--type=v5litepod-256"]
GKE = [*TPU, "--cluster=c", "--image=registry/zv:1"]
FAKE = """#!/bin/bash
printf '%s\\n' "$(basename "$0") $*" >>"$LOG"
case "$*" in
  *describe*) cat "$STATE" 2>/dev/null; exit 0 ;;
  *' create '*) echo READY >"$STATE" ;;
  *'zv train'*) code=$(head -n 1 "$CODES"); sed -i 1d "$CODES"
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
    assert "code.tar.gz" in copied and "environment.sh .venv tpu" in installed
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
    (home / "zv" / ".venv" / "bin").mkdir(parents=True)
    (home / "zv" / "launch").mkdir()
    shutil.copy(ROOT / "launch/xla_flags.py", home / "zv" / "launch")
    zv = home / "zv" / ".venv" / "bin" / "zv"
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
