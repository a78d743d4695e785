"""Our metrics against the programs everybody uses; the values are made by tests/reference."""

import json
from pathlib import Path

import pytest

from zv_jax.evaluation.metrics import caption_scores, ptb_tokenize, vqa_accuracy

VALUES = Path(__file__).parent.parent / "reference" / "values"
METRICS = ("cider", "bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l")


def lines(name):
    return [json.loads(line) for line in (VALUES / name).read_text("utf-8").splitlines()]


def whole(name):
    return json.loads((VALUES / name).read_text("utf-8"))


def flat(scores):
    """Corpus and image scores as one list, images in their order."""
    rows = [scores, *(scores["per_item"][i] for i in sorted(scores["per_item"]))]
    return [row[metric] for row in rows for metric in METRICS]


def test_a_thousand_captions_are_cut_as_by_the_java_tokenizer():
    rows = lines("ptb.jsonl")
    other = [row["caption"] for row in rows if ptb_tokenize(row["caption"]) != row["tokens"]]
    assert len(rows) == 1000
    assert len(other) <= 2, other


def test_english_caption_scores_are_those_of_the_coco_tools_from_raw_text():
    stored = whole("captions_en.json")
    ours = caption_scores(stored["references"], stored["predictions"])
    assert len(ours["per_item"]) == 120
    assert flat(ours) == pytest.approx(flat(stored["scores"]), abs=2e-3)


def test_english_caption_scores_on_equal_tokens():
    stored = whole("captions_en.json")
    ours = caption_scores(stored["cut_references"], stored["cut_predictions"], "none")
    assert flat(ours) == pytest.approx(flat(stored["scores"]), abs=1e-9)


@pytest.mark.parametrize("tokenizer", ["zh_char", "zh_jieba"])
def test_chinese_caption_scores_are_those_of_the_coco_tools_on_our_tokens(tokenizer):
    stored = whole("captions_zh.json")
    ours = caption_scores(stored["references"], stored["predictions"], tokenizer)
    assert flat(ours) == pytest.approx(flat(stored[tokenizer]), abs=1e-9)


def test_vqa_accuracy_is_the_official_script_exactly():
    rows = lines("vqa.jsonl")
    assert len(rows) == 200
    for row in rows:
        ours = round(100 * vqa_accuracy(row["prediction"], row["answers"]), 12)
        assert ours == row["official"], row
