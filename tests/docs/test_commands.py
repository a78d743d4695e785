"""Commands of the documentation run, in a folder that holds what their page speaks of."""

import io
import json
import re
from pathlib import Path

import pages
import pytest
from PIL import Image
from random_runs import TEXTS, random_run

from zv_jax.cli import main as cli
from zv_jax.data.text import tokenizers

LANGUAGES = pytest.mark.parametrize("lang", ["en", "zh"])


def page_of(name: str, lang: str) -> str:
    return name if lang == "en" else pages.chinese(name)


def run(page: str, *beginnings: str) -> int:
    """Runs what `page` gives in blocks and begins so, in order; how many there were."""
    done = 0
    for block in pages.blocks(page, "", "sh", "bash"):
        for line in pages.lines(block):
            if line.startswith(beginnings):
                assert cli.main(pages.words(line)[1:]) == 0, line
                done += 1
    return done


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def image(path: Path, red: int = 200) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (48, 40), (red, 30, 30)).save(path)


def own_rows(page: str) -> str:
    """The rows that a page shows of a file of one's own."""
    return "".join(
        line + "\n"
        for block in pages.blocks(page, "", "json")
        for line in block.splitlines()
        if line.startswith('{"')
    )


@LANGUAGES
def test_own_files_are_converted_checked_and_shown(here, lang):
    page = page_of("docs/train_on_my_data.md", lang)
    rows = own_rows(page)
    many = "".join(rows.replace("000.jpg", f"{n:03}.jpg") for n in range(10))
    (here / "mine.jsonl").write_text(many, "utf-8")
    for n in range(10):
        image(here / "photos" / f"{n:03}.jpg", 20 * n)
    own = ("zv data convert pairs_jsonl", "zv data validate", "zv data stats", "zv data split")
    assert run(page, *own) == 4
    assert run(page, "zv data peek records.jsonl --image_root=photos --out") == 1
    found = [json.loads(line) for line in (here / "records.jsonl").read_text().splitlines()]
    assert {record["lang"] for record in found} == {"en", "zh"}
    assert "<!doctype html>" in (here / "peek.html").read_text()
    assert len((here / "split/train.jsonl").read_text().splitlines()) == 16
    assert run(page, "zv data prepare split/") == 2
    assert {part.name for part in (here / "shards").iterdir()} == {"train", "val"}


@LANGUAGES
def test_answers_of_others_to_own_records_are_scored(here, lang):
    page = page_of("docs/train_on_my_data.md", lang)
    (here / "mine.yaml").write_text(*pages.blocks(page, "yaml"), "utf-8")
    (here / "split").mkdir()
    rows = [
        {"id": f"mine/test/{words}", "source": "mine", "split": "test", "task": "vqa"}
        | {"lang": words, "images": [{"path": "1.jpg"}], "answers": ["1"]}
        | {"turns": [{"role": "user", "text": "<image>?"}]}
        for words in ("en", "zh")
    ]
    said = [{"id": row["id"], "prediction": "1"} for row in rows]
    for name, lines in (("split/test.jsonl", rows), ("answers.jsonl", said)):
        (here / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run(page, "zv eval score") == 1
    assert json.loads((here / "runs/score/results.json").read_text())["scores"][0]["value"] == 100


@LANGUAGES
def test_the_record_of_the_readme_is_right(here, lang):
    page = page_of("README.md", lang)
    (here / "mine.jsonl").write_text(own_rows(page), "utf-8")
    image(here / "1.jpg")
    assert run(page, "zv data validate") == 1


@LANGUAGES
def test_looking_at_records_and_recipes(here, lang, capsys):
    (here / "mine.jsonl").write_text(own_rows(page_of("README.md", lang)), "utf-8")
    image(here / "1.jpg")
    own = ("zv data validate", "zv data stats mine", "zv data schema", "zv data peek mine")
    assert run(page_of("docs/data.md", lang), *own) == 4
    assert run(page_of("docs/configuration.md", lang), "zv config show") == 1
    assert "> optimizer.lr" in capsys.readouterr().out
    assert run(page_of("docs/evaluation.md", lang), "zv eval score --schema") == 1


@LANGUAGES
def test_a_language_model_learns_characters(here, lang):
    tokenizers.train_sentencepiece(TEXTS, 400, here / "llama")
    for model in (here / "llama").glob("*.model"):
        model.rename(here / "llama" / "tokenizer.model")
    (here / "words.txt").write_text("鑫\n鹏\n", "utf-8")
    page = page_of("docs/tokenizers.md", lang)
    typed = [line for line in pages.commands(page) if line.startswith("zv tokenizer extend")]
    for number, line in enumerate(typed):
        words = pages.words(line)[1:]
        words[3] += str(number)  # each form writes a new folder
        assert cli.main(words) == 0
    assert len(list((here / "runs").iterdir())) == len(typed) == 2


@pytest.mark.parity
@LANGUAGES
def test_a_vocabulary_of_bert_learns_characters(here, lang):
    """With the package `tokenizers`, which the default environment lacks."""
    (here / "bert-base-uncased").mkdir()
    words = ["[PAD]", *(f"[unused{i}]" for i in range(99)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (here / "bert-base-uncased/vocab.txt").write_text("\n".join([*words, "red", "##s"]) + "\n")
    page = page_of("docs/tokenizers.md", lang)
    assert run(page, "zv tokenizer union", "zv tokenizer to-hf runs/qformer") == 2
    assert (here / "exported/qformer_tokenizer/tokenizer.json").is_file()


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """Workdirs of stages 0 and 2 of random weights where the pages suppose trained ones."""
    folder = tmp_path_factory.mktemp("trained")
    tokenizer = tokenizers.train_sentencepiece(TEXTS, 399, folder / "words")
    for name, stage in (("stage2_chat", "stage2"), ("quickstart/stage2_chat", "stage2")):
        random_run(folder / "runs" / name, tokenizer, stage, "chat")
    image(folder / "sheet" / "1.png")
    image(folder / "a.png")
    question = {"id": "7", "prompt": "图里有什么？", "images": ["a.png"]}
    (folder / "questions.jsonl").write_text(json.dumps(question), "utf-8")
    return folder


@pytest.mark.slow
@LANGUAGES
def test_talking_and_exporting(trained, lang, monkeypatch, capsys):
    """The README's conversation, and a checkpoint on its way out and back."""
    monkeypatch.chdir(trained)
    monkeypatch.setattr("sys.stdin", io.StringIO("What is here?\n这里有什么？\n"))
    assert run(page_of("README.md", lang), "zv chat") == 1
    assert len(capsys.readouterr().out.splitlines()) >= 2
    for line in pages.shown_by_the_program()["zv_jax/cli/generate.py"]:
        if "runs/" in line:
            assert cli.main(pages.words(line)[1:]) == 0
    for line in pages.commands(page_of("docs/convert.md", lang)):
        if line.startswith(("zv convert to-hf runs", "zv convert verify runs")):
            words = [word for word in pages.words(line)[1:] if not word.startswith("--results")]
            words = [re.sub("^exported$", f"exported_{lang}", word) for word in words]
            words = [re.sub("bfloat16", "float32", word) for word in words]
            assert cli.main(words) == 0, capsys.readouterr().err


@pytest.mark.slow
@LANGUAGES
def test_the_embedded_data_set_is_shown_and_counted(here, lang):
    assert run(page_of("docs/data.md", lang), "zv data peek zv_openmoji", "zv data stats zv_") == 2
    assert Image.open(here / "sheet" / "1.png").size == Image.open(here / "sheet" / "12.png").size
