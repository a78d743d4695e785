"""Batches from records of which something is too long: nothing false is learned from them."""

import json

import numpy as np
import pytest
from PIL import Image

from zv_jax.config import recipe, validate
from zv_jax.data.pipeline import pipeline
from zv_jax.data.text.dialogue import IGNORE, Exchange, dialogue_row
from zv_jax.errors import ConfigError

LONG = {
    "en": "It is red, blue, green, " * 12 + "THE END.",
    "zh": "红色、蓝色、绿色，" * 12 + "完。",
}
ASK = {"en": "What is it?", "zh": "这是什么？"}
SHORT = {"en": "red", "zh": "红色"}


def dialogue(*texts):
    """Questions and answers in turn."""
    roles = ("user", "assistant") * len(texts)
    return [{"role": role, "text": text} for role, text in zip(roles, texts, strict=False)]


@pytest.fixture
def batch_of(tmp_path, tokenizer):
    """`batch_of(stage, variant, record, ...)`: a batch of that record and, in its place where it
    cannot be used, of a short one; and the ids of the records in it."""
    Image.new("RGB", (28, 28), "red").save(tmp_path / "red.png")
    about = {"source": "s", "split": "train", "lang": "en", "task": "vqa"}
    about["images"] = [{"path": "red.png"}]

    def make(stage, variant, record, **data):
        texts = dialogue(ASK["en"], SHORT["en"])
        if stage == "stage0":
            other = {"task": "caption", "turns": [], "answers": ["red"]}
        else:
            other = {"turns": texts}
        rows = [{**about, "id": "long", **record}, {**about, "id": "short", **other}]
        path = tmp_path / "train.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
        model = {"llm": {"vocab_size": 1024}, "qformer": {"vocab_size": 1024}}
        given = {
            "max_length": 96,
            "max_answer": 24,
            "max_text": 16,
            "max_qformer_text": 32,
            "max_images": 3,
            "max_bad": 1.0,
        }
        config = validate(
            recipe(
                f"tiny_{variant}",
                model={**model, "image_token_id": 1023},
                stage={"name": stage, "variant": variant},
                data={"sources": ({"name": "jsonl", "path": str(path)},), **given, **data},
                train={"batch_size": 8},
            )
        )
        stream = pipeline.make_pipeline(config, tokenizers=(tokenizer, tokenizer))
        batch = next(stream)
        names = stream.names(batch["index"])
        stream.close()
        return batch, names

    return make


def learned(batch):
    """The learned ids of each row."""
    return [row[row != IGNORE].tolist() for row in batch["labels"]]


def ended(text, tokenizer):
    return [*tokenizer.encode(text.strip()), tokenizer.eos_id]


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("stage", ["stage1", "stage2"])
@pytest.mark.parametrize("variant", ["base", "chat"])
@pytest.mark.parametrize("kind", ["dialogue", "caption"])
def test_a_record_whose_only_answer_is_too_long(batch_of, tokenizer, kind, variant, stage, lang):
    record = {"turns": dialogue(ASK[lang], LONG[lang]), "lang": lang}
    if kind == "caption":
        record = {"task": "caption", "turns": [], "answers": [LONG[lang]], "lang": lang}
    batch, names = batch_of(stage, variant, record)
    assert set(names) == {"short"}
    assert all(ids == ended(SHORT["en"], tokenizer) for ids in learned(batch))
    batch, names = batch_of(stage, variant, record, long_answers="cut")
    assert set(names) == {"long", "short"}
    begun = tokenizer.encode(LONG[lang])[:24]
    for ids, name in zip(learned(batch), names, strict=True):
        assert ids == (begun if name == "long" else ended(SHORT["en"], tokenizer))


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_long_answer_within_a_dialogue(batch_of, tokenizer, lang):
    record = {"turns": dialogue(ASK[lang], SHORT[lang], ASK[lang], LONG[lang], "?", "AT LAST")}
    room = {"max_length": 400}
    base, names = batch_of("stage2", "base", record, **room)
    whole = ended(SHORT[lang], tokenizer) + ended("AT LAST", tokenizer)
    assert set(names) == {"long", "short"}
    for ids, name in zip(learned(base), names, strict=True):
        assert ids == (whole if name == "long" else ended(SHORT["en"], tokenizer))
    chat, names = batch_of("stage2", "chat", record, **room)
    found = {tuple(ids) for ids, name in zip(learned(chat), names, strict=True) if name == "long"}
    assert found <= {tuple(ended(text, tokenizer)) for text in (SHORT[lang], "AT LAST")}
    # What was said stands whole in the history, unlearned.
    said = " ".join(map(str, ended(LONG[lang], tokenizer)))
    last = tuple(ended("AT LAST", tokenizer))
    for row, ids in zip(chat["input_ids"], learned(chat), strict=True):
        assert tuple(ids) != last or said in " ".join(map(str, row.tolist()))


@pytest.mark.parametrize("variant", ["base", "chat"])
@pytest.mark.parametrize("long_answers", ["drop", "cut"])
@pytest.mark.parametrize("what", ["question", "images"])
def test_a_question_or_images_without_room(batch_of, tokenizer, variant, long_answers, what):
    record = {"turns": dialogue(LONG["en"] + ASK["en"], SHORT["en"])}
    if what == "images":
        turns = dialogue("<image>" * 3 + ASK["en"], SHORT["en"])
        record = {"images": [{"path": "red.png"}] * 3, "turns": turns}
    short = dialogue_row(
        [Exchange(ASK["en"], SHORT["en"], (0,))], tokenizer,
        num_queries=4, image_token_id=1023, max_length=96, where="short",
    )  # fmt: skip
    room = len(short.input_ids)
    _, names = batch_of("stage2", variant, record, long_answers=long_answers, max_length=room)
    assert set(names) == {"short"}


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_caption_of_stage_0_is_not_taught_to_end_at_a_cut(batch_of, tokenizer, lang):
    record = {"task": "caption", "turns": [], "answers": [LONG[lang]], "lang": lang}
    _, names = batch_of("stage0", "chat", record)
    assert set(names) == {"short"}
    batch, names = batch_of("stage0", "chat", record, long_answers="cut")
    assert set(names) == {"long", "short"}
    for name, ids, mask, taught in zip(
        names, batch["text_ids"], batch["text_mask"], batch["text_learned"], strict=True
    ):
        last = mask.sum() - 1
        assert ids[last] == tokenizer.sep_id  # seen, as LAVIS and transformers give it
        expected = mask & (np.arange(len(mask)) > 0)
        expected[last] = name == "short"
        np.testing.assert_array_equal(taught, expected)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_text_of_the_warm_up_is_not_taught_to_end_at_a_cut(batch_of, tokenizer, lang):
    record = {"task": "caption", "turns": [], "answers": [LONG[lang]], "lang": lang}
    _, names = batch_of("language", "base", record, max_length=40)
    assert set(names) == {"short"}
    batch, names = batch_of("language", "base", record, max_length=40, long_answers="cut")
    cut = [ids for ids, name in zip(learned(batch), names, strict=True) if name == "long"]
    assert cut and all(len(ids) == 39 and tokenizer.eos_id not in ids for ids in cut)


def test_there_are_two_ways_with_long_answers(batch_of):
    with pytest.raises(ConfigError, match="(?s)data.long_answers.*drop, cut"):
        batch_of("stage2", "chat", {"turns": dialogue("q", "a")}, long_answers="halve")
