"""Answers, runs and predictions that are hostile or odd: read in time, shown whole, or refused."""

import json
import math
import time

import pytest
from PIL import Image

from zv_jax.data.records import record as records_lib
from zv_jax.data.records.record import ImageRef
from zv_jax.errors import DataError
from zv_jax.evaluation import browser, predictions, results
from zv_jax.evaluation.metrics import (
    choices,
    exact_match,
    gqa,
    grounding,
    judged,
    ptb,
    reply,
    tokens,
    vqa,
    yes_no,
)
from zv_jax.evaluation.report import inputs, page
from zv_jax.llm import batch_files
from zv_jax.llm.ledger import Ledger

PARSERS = {
    "ptb": ptb.ptb_tokenize,
    "zh_char": tokens.zh_char,
    "spaced": tokens.spaced,
    "yes or no": lambda text: yes_no.parse_yes_no(text, lang="en"),
    "是或否": lambda text: yes_no.parse_yes_no(text, lang="zh"),
    "choice": lambda text: choices.parse_choice(text, ["a dog", "一只猫"], lang="en"),
    "exact match": lambda text: exact_match.matches(text, ["a dog"], "en", lenient=True),
    "box": lambda text: grounding.parse_box(text, repair=True),
    "gqa": lambda text: gqa.gqa_match(text, "dog"),
    "vqa": lambda text: vqa.vqa_accuracy(text, ["dog"] * 10),
    "judge": judged.parse_judge_scores,
    "reply": lambda text: reply.without_questions(reply.plain(text)),
}
UNITS = [
    "%", "—", "😀", " ", "\n", "0-", "-1", "a-1-", "12-12-", "(", "[0.1,", "1,", ".", "a.", "'",
    "n't ", "<a ", "http://a.", "A", "是", "不", "，", "8 ", "yes ", "?", "*", "{", '"', "\u3000",
    "😀.", "www.", "%.", "+@", "a,", "是,",
]  # fmt: skip


def seconds(parse, text):
    start = time.process_time()
    parse(text)
    return time.process_time() - start


@pytest.mark.parametrize("name", PARSERS)
def test_parsers_take_time_in_proportion_to_the_text(name):
    """Twice the text may take up to three times as long: twice is linear, four times quadratic.

    The shortest of up to six tries count: other work on the machine makes single ones longer.
    """
    parse = PARSERS[name]
    for unit in UNITS:
        short, first, second = (unit * 4000)[:4000], math.inf, math.inf
        for _ in range(6):
            first, second = (
                min(first, seconds(parse, short)),
                min(second, seconds(parse, short * 2)),
            )
            if second < max(3 * first, 0.05):
                break
        else:
            raise AssertionError(f"{unit!r}: {first:.3f} s, {second:.3f} s")


def test_an_image_is_kept_under_a_name_that_a_file_can_have(tmp_path):
    writer = results.Writer(tmp_path)
    writer.show(lambda ref: Image.new("RGB", (4, 4)), "")
    places = ["图/一.png", "图/二.png", "a" * 300 + ".png", "b/" * 200 + "1.png", "..", ".png"]
    names = [writer.image(ImageRef(path=place)) for place in places]
    assert len(set(names)) == len(places)
    assert all((tmp_path / name).is_file() for name in names)
    assert writer.image(ImageRef(path="val/1.jpg")) == "images/val-1.png"


def test_the_page_of_samples_is_strict_json():
    row = {"id": "1", "score": float("nan"), "boxes": [[float("inf")]]}
    text = browser.page([row], [{"task": "a", "value": 1.0, "interval": [float("nan"), 1]}])
    assert "NaN" not in text and "Infinity" not in text and '"score": null' in text


def test_half_a_character_in_predictions_and_replies_is_refused_before_it_is_written(tmp_path):
    record = records_lib.from_json({
        "id": "a/b/1", "source": "a", "split": "b", "task": "caption", "lang": "en", "images": [],
        "turns": [], "answers": ["a"],
    })  # fmt: skip
    file = tmp_path / "predictions.jsonl"
    file.write_text(json.dumps({"id": "1", "prediction": "\ud800"}) + "\n")
    with pytest.raises(DataError, match="surrogate"):
        predictions.read(file, [record])
    body = {"choices": [{"message": {"content": "8 \ud800"}}]}
    file.write_text(json.dumps({"custom_id": "ab" * 32, "response": {"body": body}}) + "\n")
    kept = Ledger(tmp_path / "replies.jsonl", "judge")
    taken = batch_files.read(file, kept)
    assert taken.number == 0 and len(taken.failures) == 1
    file.write_text("[" * 100_000 + "\n")
    with pytest.raises(DataError, match="line 1"):
        batch_files.read(file, kept)


def test_a_report_is_made_of_whatever_a_run_left(tmp_path):
    folder = tmp_path / "eval_stage1_base"
    folder.mkdir()
    odd = {"task": ["a"], "lang": {"b": 1}, "metric": [], "value": 10**400, "n": 1}
    (folder / "results.json").write_text(json.dumps({"stage": [], "scores": [odd, 5]}))
    rows = [{"task": "caption", "lang": ["zh"], "id": {}, "image": "a\0.png"}, {"lang": "\ud800"}]
    rows.append({"task": "grounding", "box_true": [0, 0, 1, 1], "box_pred": [10**400, 0, 1, 1]})
    lines = [*map(json.dumps, rows), "[" * 100_000, '{"task": "caption", "prediction": "\u2028"}']
    (folder / "samples.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "stage0").mkdir()
    (tmp_path / "stage0" / "metrics.jsonl").write_text("[" * 100_000 + '\n{"step": 1, "lm": 2}\n')
    run = inputs.read(tmp_path)
    assert [row.get("prediction") for row in run.evaluations[0].samples] == [None, None, "\u2028"]
    assert len(run.broken) == 2 and page.render(run).encode()
