"""An evaluation in the middle of a training that fails: nothing is lost, and training goes on."""

import pytest
from toy_run import events, finished_steps, toy_config, train


def test_a_failing_evaluation_is_reported_and_the_step_before_it_is_saved(
    compiled, corpus, tmp_path, capsys
):
    seen = []

    def evaluate(leaves, tokenizers, mesh):
        seen.append(finished_steps(tmp_path / "run"))
        if len(seen) == 2:
            raise RuntimeError("out of memory")
        return {"eval/vqa/en/exact_match@3": 50.0}

    config = toy_config(corpus, "stage1", train={"steps": 6}, eval={"every": 2},
                        checkpoint={"every": 2, "keep": 9})  # fmt: skip
    train(config, tmp_path / "run", evaluate=evaluate)
    assert [e["step"] for e in events(tmp_path / "run", "eval")] == [2, 6]
    (failed,) = events(tmp_path / "run", "eval_failed")
    assert failed["step"] == 4 and failed["error"] == "out of memory"
    said = capsys.readouterr().err
    assert "evaluation of step 2: vqa/en/exact_match@3 50" in said
    assert "the evaluation of step 4 failed, training goes on" in said
    assert seen[2][-1] == 6, "the last step, too, is saved before it is evaluated"


def test_a_run_that_shall_end_with_its_evaluation_keeps_the_step(compiled, corpus, tmp_path):
    def evaluate(leaves, tokenizers, mesh):
        raise RuntimeError("out of memory")

    config = toy_config(corpus, "stage1", train={"steps": 6}, checkpoint={"every": 2},
                        eval={"every": 2, "on_error": "stop"})  # fmt: skip
    with pytest.raises(RuntimeError, match="out of memory"):
        train(config, tmp_path / "run", evaluate=evaluate)
    assert finished_steps(tmp_path / "run") == [2]


def test_the_best_steps_by_a_score_are_kept_by_the_score_of_that_step(compiled, corpus, tmp_path):
    scores = iter([30.0, 90.0, 60.0])
    config = toy_config(
        corpus, "stage1", train={"steps": 6}, eval={"every": 2},
        checkpoint={"every": 2, "keep": 1, "best": 1, "metric": "eval/x", "best_is": "highest"},
    )  # fmt: skip
    train(config, tmp_path / "run", evaluate=lambda *_: {"eval/x": next(scores)})
    assert finished_steps(tmp_path / "run") == [4, 6]
