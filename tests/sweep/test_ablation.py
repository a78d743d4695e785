"""Arms of trainings: their order, what they share, what is skipped, the table of their scores."""

import json
import shlex

import pytest

from zv_jax.cli import main as cli
from zv_jax.errors import ConfigError
from zv_jax.sweep import ablation, files
from zv_jax.sweep.ablation import Ablation, Arm, Score, Training

FILES = ("base_against_chat", "lora", "ln_vision", "translated", "negatives")
ONE, TWO = "configs/quickstart.py:stage1_chat", "configs/quickstart.py:stage2_chat"
SHARED = Ablation(
    "Two ends of one beginning",
    (
        Arm("short", (Training(ONE), Training(TWO, {"train.steps": 5}))),
        Arm("long", (Training(ONE), Training(TWO, {"train.steps": 9}))),
        Arm("alone", (Training(TWO, {"init_from": ("a", "b")}),)),
    ),
    "configs/eval/quickstart.py:language",
    (Score("vqa", "en", "exact_match"), Score("grounding", "zh", "acc@0.5")),
    {"limit": 8},
)


@pytest.mark.parametrize("arg", ["", ":full", ":full,7b,v5e-256"])
@pytest.mark.parametrize("name", FILES)
def test_every_ablation_fits_its_recipes_at_both_sizes(name, arg):
    found = files.load(f"configs/sweeps/{name}.py{arg}")
    assert len(found.arms) >= 3 and len(found.scores) >= 4
    recipes = {t.config.partition(":")[0] for arm in found.arms for t in arm.trainings}
    assert recipes == {"configs/paper.py" if arg else "configs/quickstart.py"}


def test_a_dry_run_prints_each_training_and_evaluation_in_order(tmp_path, capsys):
    sweep = "--sweep=configs/sweeps/base_against_chat.py"
    assert cli.main(["sweep", sweep, f"--workdir={tmp_path}", "--dry_run"]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "10 steps, 0 finished before" and not list(tmp_path.iterdir())
    words = [line.partition(" zv_jax ")[2] for line in lines]
    assert [w.partition(" ")[0] for w in words] == ["train", "train", "eval", "train", "eval"] * 2
    stage1, stage2 = (dict(o.split("=", 1) for o in shlex.split(w)[1:]) for w in words[:2])
    assert stage1["--config"] == "configs/quickstart.py:stage1_base"
    assert stage1["--config.init_from"] == "runs/quickstart/language,runs/quickstart/stage0"
    assert stage2["--config.init_from"] == stage1["--workdir"]


def test_another_size_is_refused_by_name():
    with pytest.raises(ConfigError, match="unknown size 'ful'; did you mean 'full'"):
        files.load("configs/sweeps/lora.py:ful")


def test_an_override_that_does_not_fit_is_found_before_anything_runs():
    wrong = Ablation("t", (Arm("a", (Training(ONE, {"train.step": 1}),)),), "s", ())
    with pytest.raises(ConfigError, match=r"train.step[\s\S]*arm 'a'"):
        ablation.check(wrong, "file.py")
    with pytest.raises(ConfigError, match="no training, or two have one name"):
        ablation.check(Ablation("t", (Arm("a", ()),), "s", ()), "file.py")


def test_what_two_arms_begin_with_is_trained_once(tmp_path):
    steps = ablation.steps(SHARED, tmp_path)
    assert len(steps) == 1 + 3 + 3
    short, long, alone = (ablation.folders_of(arm, tmp_path) for arm in SHARED.arms)
    assert short[0] == long[0] and len({short[1], long[1], alone[0]}) == 3
    of = {step.folder: step for step in steps}
    assert f"--config.init_from={short[0]}" in of[short[1]].command
    assert of[short[1]].after == (short[0],) and of[alone[0]].after == ()
    assert "--suite.limit=8" in of[short[1] / "scores"].command


def finish(folder, **results):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps({"step": 1} | results))


@pytest.fixture
def calls(monkeypatch):
    """Steps run, which finish at once with a score."""
    ran = []

    def call(step):
        ran.append(step.folder)
        if "broken" in str(step.folder):
            return "zv: it broke"
        entry = {"task": "vqa", "lang": "en", "metric": "exact_match@8", "value": 50.0,
                 "items": 8, "items_expected": 20}  # fmt: skip
        finish(step.folder, scores=[entry])
        return ""

    monkeypatch.setattr(ablation, "_call", call)
    return ran


def test_finished_steps_are_skipped_and_the_table_has_every_arm(tmp_path, calls):
    (shared, _) = ablation.folders_of(SHARED.arms[0], tmp_path)
    finish(shared)
    said = []
    assert ablation.run(SHARED, tmp_path, say=said.append) == {}
    assert said[0] == "7 steps, 1 finished before" and shared not in calls and len(calls) == 6
    table = (tmp_path / "ablation.md").read_text("utf-8")
    assert "| | vqa en exact_match | grounding zh acc@0.5 |" in table
    assert "| short | 50.0@8 | - |" in table and "| alone | 50.0@8 | - |" in table
    assert (
        "- long: `configs/quickstart.py:stage1_chat` → `configs/quickstart.py:stage2_chat`" in table
    )
    assert (tmp_path / "ablation.csv").read_text().count("\n") == 4
    assert ablation.text(SHARED, tmp_path).splitlines()[0] == SHARED.title


def test_what_needs_a_training_that_failed_waits(tmp_path, calls, monkeypatch):
    monkeypatch.setattr(ablation, "_call", lambda step: calls.append(step.folder) or "zv: no")
    failed = ablation.run(SHARED, tmp_path, say=lambda _: None)
    shared, alone = (ablation.folders_of(SHARED.arms[n], tmp_path)[0] for n in (0, 2))
    assert calls == [shared, alone] and set(failed) == {shared.name, alone.name}


def test_a_launch_script_gets_the_trainings_and_no_evaluation(tmp_path, calls):
    steps = ablation.steps(SHARED, tmp_path, "slurm", ["--nodes=2"])
    first, score = steps[0].command, next(s for s in steps if s.folder.name == "scores").command
    assert first[:2] == ("bash", "launch/slurm.sh") and "--nodes=2" in first
    assert "eval" in score and "bash" not in score


@pytest.mark.slow
def test_an_ablation_for_real_at_two_steps(tmp_path):
    quick = {"train.steps": 2, "train.batch_size": 2, "checkpoint.every": 2}
    warm = Training("configs/quickstart.py:language", quick)
    seen = Training("configs/quickstart.py:vision", quick)
    start = Ablation("start", (Arm("l", (warm,)), Arm("v", (seen,))), "none", ())
    language, vision = (ablation.folders_of(arm, tmp_path)[0] for arm in start.arms)
    for step in ablation.steps(start, tmp_path):
        if step.folder.name != "scores":
            assert ablation._call(step) == ""
    from_both = quick | {"init_from": (str(language), str(vision))}
    arms = tuple(
        Arm(v, (Training(f"configs/quickstart.py:stage1_{v}", from_both),))
        for v in ("base", "chat")
    )
    real = Ablation(
        "Two steps", arms, "configs/eval/quickstart.py", (Score("vqa", "zh", "exact_match"),),
        {"limit": 2, "tasks": ("vqa",), "controls": ("chance",), "attention_images": 0},
    )  # fmt: skip
    assert ablation.run(real, tmp_path, say=print) == {}
    rows = ablation.scores(real, tmp_path)
    assert [name for name, _ in rows] == ["base", "chat"]
    assert all(cell.endswith("@2") for _, cells in rows for cell in cells)
