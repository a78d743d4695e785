"""The dispatcher: help, unknown commands and flags, exit codes."""

import re
import signal
import subprocess
import sys

import pytest

from zv_jax.cli import commands
from zv_jax.cli import main as cli
from zv_jax.errors import DataError


def test_overview_names_every_command(capsys):
    for arguments in ([], ["--help"], ["help"]):
        assert cli.main(arguments) == 0
        text = capsys.readouterr().out
        assert all(f"\n  {name} " in text for name in commands.COMMANDS)


def helped(name: str, capsys) -> str:
    """The help of a command, the same in both ways to ask for it."""
    assert cli.main([*name.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 110
    assert cli.main(["help", *name.split()]) == 0
    assert capsys.readouterr().out == shown
    return shown


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_help_of_each_command_shows_usage(name, capsys):
    shown = helped(name, capsys)
    assert f"usage: zv {name}" in shown and "--debug" in shown


@pytest.mark.parametrize("command", list(commands.every()), ids=lambda c: c.program)
def test_help_of_each_command_shows_every_flag(command, capsys):
    shown = helped(command.program.removeprefix("zv "), capsys)
    assert f"usage: {command.program}" in shown and "--debug" in shown
    for flag in command.flags():
        assert re.search(rf"^  --{flag}(=<[^>]+>)?  +\S", shown, re.MULTILINE), flag


def test_the_overview_of_a_command_names_its_subcommands(capsys):
    for group in ("data", "convert", "eval", "tokenizer", "config"):
        shown = helped(group, capsys)
        for command in commands.members(group):
            assert command.program in shown


@pytest.mark.parametrize(
    "arguments, owners",
    [
        (["data", "peek", "--quality=3"], "--quality with zv data prepare"),
        (["data", "stats", "x", "--nodecode"], "--nodecode with zv data validate"),
        (["data", "list", "--config=configs/stage1.py"], "--config with zv data peek"),
        (["convert", "to-peft", "a", "b", "--merge-lora"], "with zv convert to-hf"),
        (["convert", "from-gguf", "a", "b", "--vision=c"], "with zv convert from-lavis"),
        (["eval", "--bench=x"], "--bench with zv eval judge"),
        (["eval", "score", "--suite.seed=1"], "--suite.seed with zv eval, zv eval check-data"),
        (["tokenizer", "union", "a", "b", "--pieces=c"], "--pieces with zv tokenizer extend"),
    ],
)
def test_a_flag_of_another_subcommand_is_refused(arguments, owners, capsys):
    assert cli.main(arguments) == 2
    shown = capsys.readouterr().err
    assert owners in shown and "has no flag" in shown


def test_no_flag_of_a_subcommand_speaks_of_another():
    for command in commands.every():
        values = command.flags()
        names = {c.program.split()[-1] for c in commands.members(command.group or "data")}
        for flag in values:
            first = values[flag].help.split(":")[0]
            assert first not in names, f"{command.program} --{flag}"


def test_a_subcommand_comes_first(capsys):
    assert cli.main(["data", "--out=x", "schema"]) == 2
    assert "put it first: zv data schema" in capsys.readouterr().err
    assert cli.main(["eval", "--workdir=x", "compare", "a", "b"]) == 2
    assert "'compare' is not understood" in capsys.readouterr().err


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("zv_jax ")


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["trian"], "did you mean 'train'?"),
        (["train", "--wrkdir=x"], "did you mean 'workdir'?"),
        (["train", "extra"], "'extra' is not understood"),
        (["train"], "--config=configs/quickstart.py:stage0"),
        (["train", "--config=configs/quickstart.py:stage0"], "--workdir is missing"),
        (["eval", "--workdir=x"], "configs/eval/quickstart.py"),
        (["report"], "--runs=runs/quickstart"),
        (["report", "--runs=nowhere"], "there is no folder 'nowhere'"),
        (["config"], "expected: one of show"),
        (["config", "shw"], "did you mean 'show'?"),
        (["data", "prepare", "zv_openmojo"], "did you mean 'zv_openmoji'?"),
        (["data", "peek", "--n=many"], "--n=many"),
        (["generate", "--checkpoint=x"], "--prompt is missing"),
        (["generate", "--checkpoint=x", "--prompt=y", "--image=no.png"], "no image 'no.png'"),
        (["chat"], "--checkpoint is missing"),
    ],
)
def test_wrong_command_lines_are_answered_in_one_message(arguments, expected, capsys):
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert expected in err and err.startswith("zv: ")
    assert "Traceback" not in err and not out


def test_debug_lets_the_exception_through():
    with pytest.raises(Exception, match="nowhere"):
        cli.main(["report", "--runs=nowhere", "--debug"])


def _failing(monkeypatch, error):
    def run(values, words):
        raise error

    from zv_jax.cli import report

    monkeypatch.setattr(report, "run", run)
    return cli.main(["report"])


@pytest.mark.parametrize(
    "error, code, expected",
    [
        (DataError("bad row", where="a.jsonl:3"), 2, "a.jsonl:3"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ModuleNotFoundError("no", name="PIL.Image"), 1, "pip install pillow"),
        (ModuleNotFoundError("no", name="grain"), 1, "pip install grain"),
        (ModuleNotFoundError("no", name="torch"), 1, "pip install -e '.[parity]'"),
        (OSError(28, "No space left on device", "/x/y"), 1, "/x/y"),
        (MemoryError(), 1, "not enough memory"),
        (ValueError("write failed: No space left on device"), 1, "no space left on the disk"),
    ],
)
def test_failures_become_messages_and_exit_codes(error, code, expected, monkeypatch, capsys):
    assert _failing(monkeypatch, error) == code
    err = capsys.readouterr().err
    assert expected in err and "Traceback" not in err


def test_a_full_disk_is_found_behind_another_error(monkeypatch, capsys):
    error = RuntimeError("save failed")
    error.__cause__ = OSError(28, "No space left on device")
    assert _failing(monkeypatch, error) == 1
    assert "continues" in capsys.readouterr().err


def test_faults_of_the_program_keep_their_traceback(monkeypatch):
    with pytest.raises(ZeroDivisionError):
        _failing(monkeypatch, ZeroDivisionError())
    with pytest.raises(ModuleNotFoundError):
        _failing(monkeypatch, ModuleNotFoundError("no", name="zv_jax.nothing"))


def test_module_and_broken_pipe(fresh_python):
    shown = fresh_python("-m", "zv_jax", "--help")
    assert shown.returncode == 0 and "usage: zv" in shown.stdout
    wrong = fresh_python("-m", "zv_jax", "trian")
    assert wrong.returncode == 2 and "train" in wrong.stderr
    # The reader is gone before anything is written.
    code = (
        "import os, sys; r, w = os.pipe(); os.close(r); os.dup2(w, 1)\n"
        "from zv_jax.cli.main import main\n"
        "sys.exit(main(['config', 'show', '--config=configs/quickstart.py:stage0']))"
    )
    piped = fresh_python("-c", code)
    assert (piped.returncode, piped.stderr) == (0, "")


def test_light_commands_do_not_import_jax(fresh_python):
    code = (
        "import sys; from zv_jax.cli.main import main\n"
        "main(['config', 'show', '--config=configs/quickstart.py:stage0'])\n"
        "[main([name, '--help']) for name in ('train', 'eval', 'data', 'chat', 'report')]\n"
        "heavy = {'jax', 'flax', 'tensorflow_datasets', 'orbax', 'grain'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = fresh_python("-c", code)
    assert done.returncode == 0, done.stderr


def test_interrupt_of_a_real_process(tmp_path):
    """Ctrl-C while a conversation waits for input."""
    code = (
        "import sys, zv_jax.cli.chat as chat\n"
        "from zv_jax.cli.main import main\n"
        "chat.run = lambda values, words: (print('ready', flush=True), sys.stdin.read())\n"
        "sys.exit(main(['chat']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job ignores Ctrl-C, and so would what it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.strip() == "zv: interrupted", "nothing keeps the conversation"


def test_what_is_said_of_an_interrupted_training_is_true(monkeypatch, capsys):
    from zv_jax.cli import train

    def interrupted(values, words):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "run", interrupted)
    assert cli.main(["train"]) == 130
    said = capsys.readouterr().err.strip()
    assert said == "zv: interrupted; the same command continues from the last saved step"
