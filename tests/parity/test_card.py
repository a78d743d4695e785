"""What the model card tells people to type gives the answers of `zv generate`.

Each test runs the card's own lines. On a trained checkpoint: `card_lines.py`.
"""

import copy
import dataclasses
import functools

import card_lines
import numpy as np
import pytest
from PIL import Image
from random_runs import TEXTS, random_run

from zv_jax.convert import formats
from zv_jax.data.text import tokenizers
from zv_jax.data.text.dialogue import Exchange
from zv_jax.inference.model import from_pretrained
from zv_jax.models.prompt import FORMATS, PromptConfig
from zv_jax.models.vit import normalise

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

NEW = 8
QUESTIONS = [
    " <image>What is in the picture? ",
    "图里有什么？",
    "two",
    "Where is it? " * 5 + "是 what?",  # longer than the Q-Former reads
]
DIALOGUE = (  # two images, none, another one
    Exchange("What is in the picture?", " a red square", (0, 1)),
    Exchange("two", "三", ()),
    Exchange("图里有什么？", None, (2,)),
)
PROMPTS = {
    "old": PromptConfig("ziya", "question"),  # of checkpoints made before the field existed
    # chatml needs tokens that this tokenizer lacks: see test_chatml.py.
    **{name: PromptConfig(name, "turn") for name in FORMATS if name != "chatml"},
    "own": PromptConfig("own", "turn", "问：", "\n答：", "请看图。\n", "。", stop="问："),
    "blanks": PromptConfig("own", "turn", "Question: ", " Short answer: ", " Look. "),
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return tokenizers.train_sentencepiece(TEXTS, 400, tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(4)
    sizes = ((40, 30, 3), (28, 28, 3), (61, 90, 3), (20, 70, 3))
    return [Image.fromarray(rng.integers(0, 255, size, np.uint8)) for size in sizes]


@pytest.fixture(scope="module")
def exported(tokenizer, images, tmp_path_factory):
    """`exported(stage, variant, prompt)`: a random model here, and the folder it is exported to."""

    @functools.cache
    def model_of(stage: str, variant: str):
        folder = tmp_path_factory.mktemp("run") / "run"
        return from_pretrained(random_run(folder, tokenizer, stage, variant, 512))

    def make(stage: str, variant: str, prompt: PromptConfig = PROMPTS["ziya"]):
        torch.set_num_threads(1)
        model, out = copy.copy(model_of(stage, variant)), tmp_path_factory.mktemp("export") / "out"
        asked = dataclasses.replace(model.config.model, prompt=prompt)
        model.config = dataclasses.replace(model.config, model=asked)
        model.save_pretrained(out)
        images[0].save(out / "image.png")
        return model, out

    return make


def ours(model, questions, images, history=()):
    """The rows of `zv generate`."""
    return model.processor.questions(questions, images, history or None, max_new_tokens=NEW)


def answers(model, rows) -> list[list[int]]:
    """The ids of greedy answers: random models do not write UTF-8."""
    eos = model.tokenizer.eos_id
    given = model.processor.collate(rows, max_new_tokens=NEW)
    found = model.generate(given, max_new_tokens=NEW).tolist()
    return [ids[: ids.index(eos)] if eos in ids else ids for ids in found]


def their_answers(card, inputs, eos: int) -> list[list[int]]:
    """The same from the card's lines: what its `answers` hands to the tokenizer."""
    kept = []
    decode = card["processor"].batch_decode
    card["processor"].batch_decode = lambda ids, **kw: kept.extend(ids.tolist()) or decode(ids)
    card["answers"](inputs, NEW)
    card["processor"].batch_decode = decode
    return [ids[: ids.index(eos)] if eos in ids else ids for ids in kept]


@pytest.mark.parametrize("variant", ["base", "chat"])
def test_the_lines_of_the_card_answer_as_we_do(exported, images, variant):
    """One question, several turns and images, in both languages."""
    model, out = exported("stage2", variant)
    eos = model.tokenizer.eos_id
    expected = answers(model, ours(model, QUESTIONS, [[image] for image in images]))
    talked = answers(model, ours(model, [DIALOGUE], [images[:3]]))
    assert len(set(map(str, expected + talked))) == 5
    for lang in card_lines.TITLES:
        card, shown = card_lines.run(out, lang)
        for question, image, answer in zip(QUESTIONS, images, expected, strict=True):
            assert their_answers(card, card["ask"](question, image), eos) == [answer]
        turns = [(t.question, t.answer, [images[i] for i in t.images]) for t in DIALOGUE]
        assert their_answers(card, card["talk"](turns), eos) == talked
        assert len(shown) == 2 and len(card["turns"]) == 2


@pytest.mark.parametrize("name", PROMPTS)
def test_every_format_has_our_ids(exported, images, name):
    """Prompt, Q-Former's text and its cut, `<s>`, `</s>`, pixels."""
    model, out = exported("stage2", "chat", PROMPTS[name])
    rows = ours(model, QUESTIONS, [[image] for image in images])
    assert len(rows[3].qformer_ids) == model.config.data.max_qformer_text
    (whole,) = ours(model, [DIALOGUE], [images[:3]])
    card, _ = card_lines.run(out, "zh")
    for question, image, row in zip(QUESTIONS, images, rows, strict=True):
        made = card["ask"](question, image)
        assert made["input_ids"].tolist() == [row.input_ids]
        assert made["qformer_input_ids"].tolist() == [row.qformer_ids]
    turns = [(t.question, t.answer, [images[i] for i in t.images]) for t in DIALOGUE]
    made = card["talk"](turns)
    assert made["input_ids"].tolist() == [whole.input_ids]
    assert made["qformer_input_ids"].tolist() == [whole.qformer_ids] * 3
    pixels = np.asarray(normalise(model.processor.images(images[:3]))).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(made["pixel_values"], pixels, atol=1e-5)
    back = formats.open_any(out).config
    assert back.model.prompt == PROMPTS[name]
    assert back.data.max_qformer_text == model.config.data.max_qformer_text


def test_a_plain_processor_is_right_for_one_question(exported, images):
    """No line of ours: one text, as every user of InstructBLIP types it."""
    from transformers import InstructBlipProcessor

    model, out = exported("stage2", "chat")
    processor = InstructBlipProcessor.from_pretrained(out)
    for question in QUESTIONS[1:3]:
        made = processor(images=images[0], text=f"<human>:{question}\n<bot>:")
        (row,) = ours(model, [question], [images[:1]])
        assert made["input_ids"] == [row.input_ids]
        assert made["qformer_input_ids"] == [row.qformer_ids]


def test_the_card_of_a_language_model(exported):
    model, out = exported("language", "base")
    for lang, question in (("en", "What is in the image?"), ("zh", "图里有什么？")):
        card, _ = card_lines.run(out, lang)
        inputs = card["processor"]([card["prompt"](question)], return_tensors="pt")
        rows = ours(model, [question], [[]])
        assert their_answers(card, inputs, model.tokenizer.eos_id) == answers(model, rows)


def test_the_card_of_a_retrieval_model(exported, images):
    model, out = exported("stage0", "chat")
    for lang, text in (("en", "a red square"), ("zh", "一个红色的方块")):
        _, (shown,) = card_lines.run(out, lang)
        image, words = model.embed_images(images[:1])[0], model.embed_texts([text])[0]
        score = float(shown.split("[[")[1].split("]")[0])
        assert score == pytest.approx((image @ words).max(), abs=1e-3)
