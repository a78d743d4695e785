"""What a row is made of, where the records around it could leak in."""

import json
import shutil

import pytest

from zv_jax.data.pipeline import pipeline


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
    batch = rows("stage2", max_qformer_text=32)
    read = [tokenizer.decode(ids) for ids in batch["qformer_input_ids"]]
    learned = [tokenizer.decode(ids[ids >= 0]) for ids in batch["labels"]]
    assert set(learned) == {"red", "left"}
    for text, answer in zip(read, learned, strict=True):
        assert [question in text for question in asked] == [answer == "red", answer == "left"]


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
    """And equal images are one, wherever they lie; a cache changes nothing."""
    write(toy, record("caption", "caption", [], answers=["a red square"]))
    for folder in ("copy", "other"):
        shutil.copytree(toy.parent / "images", tmp_path / folder / "images")
    shutil.copy(toy.parent / "images/7.png", tmp_path / "other/images/0.png")

    def shown(folder):
        sources = ({"image_root": str(toy.parent)}, {"image_root": str(tmp_path / folder)})
        batch = rows("stage0", sources=sources, cache_images=True)
        levels = batch["images"][:, 0, 0, 0].tolist()
        return set(zip(batch["image_ids"].tolist(), levels, strict=True))

    assert len(shown("copy")) == 1
    (one, dark), (two, light) = sorted(shown("other"), key=lambda image: image[1])
    assert one != two and (dark, light) == (0, 210)
