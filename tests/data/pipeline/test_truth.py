"""Row-level truth: what a batch holds, decoded again, is what the records say."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from zv_jax.config import recipe, validate
from zv_jax.data.pipeline import pipeline
from zv_jax.data.text import tokenizers
from zv_jax.data.text.dialogue import IGNORE

WORDS = {
    "en": ["a red kite", "two dogs", "on the left", "It's five o'clock.", "no"],
    "zh": ["一只红色的风筝", "两只狗", "在左边", "现在五点。", "不是"],
}
QUESTIONS = {"en": ["What is this?", "Where is it?"], "zh": ["这是什么？", "它在哪里？"]}
SIDES = st.sampled_from([k / 8 for k in range(9)])
SPAN = st.lists(SIDES, min_size=2, max_size=2, unique=True).map(sorted)


@st.composite
def corpora(draw):
    """Six sources of three tasks in two languages: lists of records that differ in all texts."""
    sources = []
    for number, (task, lang) in enumerate(
        (task, lang) for task in ("caption", "vqa", "ref_ground") for lang in ("en", "zh")
    ):
        rows = []
        for k in range(draw(st.integers(1, 4))):
            row = {
                "id": f"s{number}/train/{k}",
                "source": f"s{number}",
                "split": "train",
                "task": task,
                "lang": lang,
                # The colour of the image tells which record it belongs to.
                "images": [{"path": f"{number}_{k}.png"}],
                "turns": [],
            }
            texts = st.sampled_from(WORDS[lang]).map(lambda text, k=k: f"{text} {k}")
            answers = draw(st.lists(texts, min_size=1, max_size=5))
            if task == "ref_ground":
                x, y = draw(SPAN), draw(SPAN)
                row["objects"] = [{"box": [x[0], y[0], x[1], y[1]], "label": answers[0]}]
            else:
                row["answers"] = answers
            if task == "vqa":
                row["turns"] = [{"role": "user", "text": draw(st.sampled_from(QUESTIONS[lang]))}]
                row["meta"] = {"template": "vqa"}
            rows.append(row)
        sources.append(rows)
    return sources


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    texts = [f"{w} {k}" for ws in WORDS.values() for w in ws for k in range(4)]
    texts += [q for qs in QUESTIONS.values() for q in qs]
    texts += ["<human>:\n<bot>: [0.125,0.250,0.375,0.500] 0123456789"]
    return tokenizers.train_sentencepiece(texts, 500, tmp_path_factory.mktemp("tokenizer"))


def colour(number, k):
    return 20 * number + 10, 40 * k + 10, 128


def write(folder, sources):
    paths = []
    for number, rows in enumerate(sources):
        for k in range(len(rows)):
            Image.new("RGB", (12, 9), colour(number, k)).save(folder / f"{number}_{k}.png")
        path = folder / f"{number}.jsonl"
        path.write_text("\n".join(json.dumps(r, ensure_ascii=False) for r in rows), "utf-8")
        paths.append(path)
    return paths


def config_of(paths):
    sources = tuple(
        {"name": "jsonl", "path": str(p), "weight": 1.0 + n} for n, p in enumerate(paths)
    )
    return validate(
        recipe(
            "tiny_base",
            stage={"name": "stage1", "variant": "base"},
            data={"sources": sources, "max_length": 200, "max_qformer_text": 200},
            model={
                "llm": {"vocab_size": 1024},
                "qformer": {"vocab_size": 1024, "max_positions": 200},
                "image_token_id": 1023,
            },
            train={"batch_size": 4},
        )
    )


@settings(max_examples=6, deadline=None)
@given(corpora())
def test_tokens_boxes_masks_and_images_are_those_of_the_record(tokenizer, sources):
    with tempfile.TemporaryDirectory() as folder:
        config = config_of(write(Path(folder), sources))
        stream = pipeline.make_pipeline(config, tokenizers=(tokenizer, tokenizer))
        for _ in range(8):
            batch = next(stream)
            for row in range(4):
                check(config, {k: v[row] for k, v in batch.items()}, tokenizer)
        stream.close()


def check(config, row, tokenizer):
    source, number, _ = pipeline.located(config, int(row["index"]))
    record = source.record(number)
    ids, labels = row["input_ids"][row["attention_mask"]], row["labels"][row["attention_mask"]]
    learned = labels != IGNORE
    # What carries loss is the answer and the end, and nothing else.
    assert (ids[learned] == labels[learned]).all()
    assert labels[-1] == tokenizer.eos_id and learned.sum() == np.flatnonzero(learned).size
    assert learned[np.flatnonzero(learned)[0] :].all(), "one piece, at the end"
    answer = tokenizer.decode(int(i) for i in labels[learned]).strip()
    prompt = ids[~learned]
    asked = tokenizer.decode(int(i) for i in prompt[prompt != config.model.image_token_id])
    if record.task == "ref_ground":
        box = [float(v) for v in answer.strip("[]").split(",")]
        assert box == pytest.approx(record.objects[0].box, abs=5e-4)
        # Back to pixels of the original image.
        pixels = np.array(box) * [12, 9, 12, 9]
        assert np.allclose(pixels, np.array(record.objects[0].box) * [12, 9, 12, 9], atol=0.01)
        assert record.objects[0].label in asked
    else:
        assert answer in record.answers
    if record.task == "vqa":
        assert record.turns[0].text in asked
    assert "<human>:" in asked and asked.rstrip().endswith("<bot>:")
    question = tokenizer.decode(
        int(i) for i in row["qformer_input_ids"][row["qformer_attention_mask"]]
    )
    assert question.split() == asked.split()  # one text for both
    # The image is that of the record, by its colour.
    place, k = (int(v) for v in record.images[0].path[:-4].split("_"))
    assert (row["images"][0] == colour(place, k)).all()
    assert (ids == config.model.image_token_id).sum() == config.model.qformer.num_queries
