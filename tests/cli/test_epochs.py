"""`zv train --epochs`: passes over the samples instead of steps."""

import json

import pytest

import zv_jax
from zv_jax.cli import main as cli
from zv_jax.parallel import runtime


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Runs the command on ten records up to the training itself; the steps it would take."""
    rows = [
        {
            "id": f"mine/train/{n}",
            "source": "mine",
            "split": "train",
            "task": "caption",
            "lang": "en",
            "images": [{"path": f"{n}.png"}],
            "turns": [],
            "answers": ["a hat"],
        }
        for n in range(10)
    ]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    seen = []
    monkeypatch.setattr(runtime, "prepare", lambda: None)
    monkeypatch.setattr(
        zv_jax, "train", lambda config, *_, **__: seen.append(config.train.steps) or seen[-1]
    )
    sources = f"({{'name': 'jsonl', 'path': '{tmp_path}/mine.jsonl'}},)"

    def run(*flags):
        words = ["--config=configs/quickstart.py:stage1_chat", f"--workdir={tmp_path}/run"]
        words += [f"--config.data.sources={sources}", "--config.train.batch_size=4"]
        words += ["--config.optimizer.warmup_steps=0"]
        return cli.main(["train", *words, *flags]), seen

    return run


@pytest.mark.parametrize(("epochs", "steps"), [("1", 3), ("2", 5), ("0.1", 1), ("40", 100)])
def test_epochs_become_steps_rounded_up_and_the_command_says_how_many(train, capsys, epochs, steps):
    assert train(f"--epochs={epochs}") == (0, [steps])
    told = capsys.readouterr().err
    assert f"{epochs} epochs of 10 samples in batches of 4 are {steps} steps" in told


@pytest.mark.parametrize("flags", [["--epochs=1", "--config.train.steps=9"], ["--epochs=0"]])
def test_epochs_beside_steps_and_none_at_all_are_refused(train, capsys, flags):
    assert train(*flags) == (2, [])
    assert "--epochs" in capsys.readouterr().err


def test_without_epochs_the_recipe_decides(train):
    assert train("--config.train.steps=7") == (0, [7])
