"""`zv generate --prompts`: a file of questions to a tiny real model, stopped and gone on with."""

import io
import json

import pytest
from PIL import Image
from random_runs import TEXTS, random_run

from zv_jax.cli import generate
from zv_jax.cli import main as cli
from zv_jax.data.text import tokenizers
from zv_jax.inference.model import from_pretrained


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    tokenizer = tokenizers.train_sentencepiece(TEXTS, 400, tmp_path_factory.mktemp("words"))
    return random_run(tmp_path_factory.mktemp("run"), tokenizer, "stage2", "chat")


@pytest.fixture(scope="module")
def model(run):
    return from_pretrained(run)


@pytest.fixture
def folder(tmp_path, monkeypatch, model):
    """A folder with two images, and the model, which is loaded once for all tests."""
    for name, colour in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (28, 28), colour).save(tmp_path / f"{name}.png")
    monkeypatch.setattr(generate, "_loaded", lambda path: model)
    return tmp_path


def rows(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def write(folder, *questions):
    file = folder / "questions.jsonl"
    lines = [q if isinstance(q, str) else json.dumps(q, ensure_ascii=False) for q in questions]
    file.write_text("\n".join(lines) + "\n", "utf-8")
    return str(file)


ASK = [
    {"id": "x", "prompt": "What is in the picture?", "image": "a.png"},
    {"prompt": "图里有什么？", "images": ["a.png", "b.png"]},
    {"id": 9, "prompt": "two"},
]


def ask(run, questions, *flags):
    words = ["generate", f"--checkpoint={run}", f"--prompts={questions}", "--max_new_tokens=5"]
    return cli.main([*words, *flags])


def test_answers_are_those_of_the_model_and_readable_as_predictions(run, folder, model, capsys):
    output = folder / "out" / "answers.jsonl"
    assert ask(run, write(folder, *ASK), f"--output={output}") == 0
    a, b = folder / "a.png", folder / "b.png"
    expected = model.answer([q["prompt"] for q in ASK], [[a], [a, b], []], 5)
    ids = ["x", "2", "9"]
    assert rows(output) == [
        {"id": name, "prediction": text} for name, text in zip(ids, expected, strict=True)
    ]
    listed = folder / "questions.json"
    listed.write_text(json.dumps(ASK))
    capsys.readouterr()
    assert ask(run, listed) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert printed == rows(output)


def test_a_stopped_run_goes_on_with_what_is_missing_and_draws_the_same(run, folder):
    questions, output = write(folder, *ASK), folder / "answers.jsonl"
    drawing = ("--temperature=1.5", "--seed=3", f"--output={output}")
    assert ask(run, questions, *drawing) == 0
    whole = rows(output)
    lines = output.read_bytes().splitlines(keepends=True)
    output.write_bytes(lines[1] + lines[2][:9])  # killed in the middle of a row
    assert ask(run, questions, *drawing) == 0
    assert sorted(rows(output), key=str) == sorted(whole, key=str)
    before = output.read_bytes()
    assert ask(run, questions, *drawing) == 0 and output.read_bytes() == before


@pytest.mark.parametrize(
    ("flag", "named"), [("--temperature=1", "decoding was"), ("--stop=x", "stop was")]
)
def test_other_settings_are_refused(run, folder, capsys, flag, named):
    questions, output = write(folder, *ASK), f"--output={folder / 'answers.jsonl'}"
    assert ask(run, questions, output) == 0
    assert ask(run, questions, output, flag) == 2
    assert named in capsys.readouterr().err


def test_another_model_is_refused_and_so_are_answers_of_unknown_origin(
    run, folder, capsys, monkeypatch
):
    questions, output = write(folder, *ASK), folder / "answers.jsonl"
    assert ask(run, questions, f"--output={output}") == 0
    monkeypatch.setattr("zv_jax.checkpoints.identity.identity", lambda path: "another")
    assert ask(run, questions, f"--output={output}") == 2
    assert "checkpoint was" in capsys.readouterr().err
    (folder / "answers.jsonl.settings.json").unlink()
    assert ask(run, questions, f"--output={output}") == 2
    assert "without their settings" in capsys.readouterr().err


def test_new_questions_may_join_those_that_were_answered(run, folder):
    output = folder / "answers.jsonl"
    assert ask(run, write(folder, *ASK[:2]), f"--output={output}") == 0
    before = output.read_bytes()
    assert ask(run, write(folder, *ASK), f"--output={output}") == 0
    assert output.read_bytes().startswith(before) and len(rows(output)) == 3


@pytest.mark.parametrize(
    "others",
    [
        [ASK[0] | {"prompt": "What else is there?"}, ASK[1]],
        [ASK[0] | {"image": "b.png"}, ASK[1]],
        [ASK[0], {"prompt": "in between"}, ASK[1]],  # which moves the numbers that are ids
    ],
)
def test_an_answer_never_stands_under_another_question(run, folder, capsys, others):
    output = folder / "answers.jsonl"
    assert ask(run, write(folder, *ASK[:2]), f"--output={output}") == 0
    before = output.read_bytes()
    assert ask(run, write(folder, *others), f"--output={output}") == 2
    assert "is another one than that which was answered" in capsys.readouterr().err
    assert output.read_bytes() == before


def test_bad_rows_are_listed_and_the_rest_goes_on(run, folder, capsys):
    (folder / "c.png").write_text("no image")
    bad = [
        "{",
        {"prompt": ""},
        {"prompt": "two", "pictures": []},
        {"prompt": "two", "image": "no.png"},
        {"prompt": "two", "image": "c.png"},
        {"id": "x", "prompt": "again"},
        {"prompt": "two " * 200},
    ]
    output = folder / "answers.jsonl"
    assert ask(run, write(folder, *ASK, *bad), f"--output={output}") == 2
    assert [row["id"] for row in rows(output)] == ["x", "2", "9"]
    error = capsys.readouterr().err
    assert "7 rows were left out" in error
    for words in ("questions.jsonl:4", "'pictures' is unknown", "no.png", "id 8", "twice", "id 10"):
        assert words in error, words


def test_several_answers_and_log_probabilities_of_each_row(run, folder):
    output = folder / "answers.jsonl"
    flags = ("--num_beams=3", "--n=2", "--logprobs", f"--output={output}")
    assert ask(run, write(folder, *ASK), *flags) == 0
    for row in rows(output):
        assert len(row["candidates"]) == 2
        assert row["candidates"][0]["text"] == row["prediction"]
        assert row["candidates"][0]["logprob"] < 0


def test_questions_come_through_a_pipe(run, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    data = "".join(json.dumps(q) + "\n" for q in ASK).encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert ask(run, "-") == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_a_folder_and_the_home_directory_stand_for_images(run, folder, monkeypatch, model, capsys):
    monkeypatch.setenv("HOME", str(folder))
    (folder / "notes.txt").write_text("no image")
    expected = model.answer(["two"], [[folder / "a.png", folder / "b.png"]], 5)
    words = ["generate", f"--checkpoint={run}", "--prompt=two", "--max_new_tokens=5"]
    assert cli.main([*words, "--image=~"]) == 0
    assert capsys.readouterr().out.splitlines() == expected
    (folder / "empty").mkdir()
    assert cli.main([*words, "--image=~/empty"]) == 2
    assert cli.main([*words, "--prompts=q.jsonl"]) == 2
    assert "--prompt beside --prompts" in capsys.readouterr().err
