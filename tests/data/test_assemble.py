"""What a row is made of, where the records around it could leak in."""

import json
import shutil

import pytest

from zv_jax.data import pipeline


@pytest.fixture
def rows(make_config, tokenizer):
    """`rows("stage2")`: the first batch of four rows, in which records may come repeatedly."""

    def take(stage, **data):
        stream = pipeline.make_pipeline(
            make_config(stage, **data), tokenizers=(tokenizer, tokenizer)
        )
        batch = next(stream)
        stream.close()
        return batch

    return take


def write(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def record(name, task, turns, lang="en", **more):
    roles = ("user", "assistant") * len(turns)
    return {
        "id": f"toy/train/{name}", "source": "toy", "split": "train", "task": task, "lang": lang,
        "images": [{"path": "images/0.png"}],
        "turns": [{"role": r, "text": t} for r, t in zip(roles, turns, strict=False)], **more,
    }  # fmt: skip


def test_the_qformer_reads_the_question_that_is_answered(rows, toy, tokenizer):
    asked = ["What colour is this?", "Where is it?"]
    write(toy, record("talk", "conversation", [asked[0], "red", asked[1], "left"]))
    batch = rows("stage2")
    read = [tokenizer.decode(ids) for ids in batch["qformer_input_ids"]]
    learned = [tokenizer.decode(ids[ids >= 0]) for ids in batch["labels"]]
    assert set(learned) == {"red", "left"}
    assert read == [asked[answer == "left"] for answer in learned]


def test_companions_of_a_record_speak_its_language(rows, toy, tokenizer):
    """A row of the language stage is filled with other questions about what it shows."""
    view = {"background": "blue", "objects": [["red", [0.1, 0.2, 0.5, 0.6]]]}
    asked = {"en": ["Where is it?", "What colour is this?"], "zh": ["这是什么颜色？", "一个"]}
    records = [
        record(f"{lang}{i}", "vqa", ["<image>" + text, "red"], lang, meta={"views": [view]})
        for lang, texts in asked.items()
        for i, text in enumerate(texts)
    ]
    write(toy, *records)
    batch = rows("language", max_length=96)
    for ids in batch["input_ids"]:
        text = tokenizer.decode(ids)
        told = {lang: sum(question in text for question in asked[lang]) for lang in asked}
        assert sorted(told.values()) == [0, 2], text


def test_images_of_equal_names_in_two_folders_are_two(rows, toy, tmp_path):
    write(toy, record("caption", "caption", [], answers=["a red square"]))
    shutil.copytree(toy.parent / "images", tmp_path / "other/images")

    def numbers(*roots):
        sources = tuple({"image_root": str(root)} for root in roots)
        return set(rows("stage0", sources=sources)["image_ids"].tolist())

    assert len(numbers(toy.parent, toy.parent)) == 1
    assert len(numbers(toy.parent, tmp_path / "other")) == 2
