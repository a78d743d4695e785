"""What the Q-Former of Chat reads for each image: the question to be answered, or that of the turn
which brought the image. Training and inference agree."""

import json
from dataclasses import replace

import numpy as np
import pytest

from zv_jax.data.pipeline import pipeline
from zv_jax.data.pipeline.assembler import Assembler
from zv_jax.data.pipeline.mixing import SampleRef
from zv_jax.data.text.dialogue import exchanges
from zv_jax.inference import prompts
from zv_jax.inference.inputs import check_inputs
from zv_jax.stages import batch_spec, stage_of

ASKED = ("What colour is this?", "这是什么颜色？", "Where is it?")
ANSWERS = ("red", "蓝色", "grey")


@pytest.fixture
def made(make_config, tokenizer, toy):
    """`made("own")`: the configuration, the batch of one dialogue over two images, its record."""

    def make(qformer_turn):
        said = zip(("<image>" + ASKED[0], "<image>" + ASKED[1], ASKED[2]), ANSWERS, strict=True)
        turns = [
            {"role": role, "text": text}
            for pair in said
            for role, text in zip(("user", "assistant"), pair, strict=True)
        ]
        record = {
            "id": "toy/train/9#talk", "source": "toy", "split": "train", "task": "conversation",
            "lang": "en-zh", "images": [{"path": f"images/{i}.png"} for i in range(2)],
            "turns": turns,
        }  # fmt: skip
        toy.write_text(json.dumps(record) + "\n", encoding="utf-8")
        config = make_config("stage2", max_images=2, max_qformer_text=40)
        prompt = replace(config.model.prompt, qformer_turn=qformer_turn)
        config = replace(config, model=replace(config.model, prompt=prompt))
        assembler = Assembler(pipeline.drawn_from(config), tokenizer, tokenizer, cache_images=False)
        drawn = assembler.drawn[0]
        picks = [SampleRef(0, sample, 0) for sample in range(len(drawn.table))]
        return config, assembler(picks).batch, drawn.source.record(0)

    return make


def read(ids, mask, tokenizer):
    """Which of the questions `ids` ask."""
    texts = ["<human>:" + question + "\n<bot>:" for question in ASKED]
    known = [[tokenizer.cls_id, *tokenizer.encode(text), tokenizer.sep_id] for text in texts]
    return known.index(ids[mask].tolist())


def test_every_image_is_read_with_the_question_to_be_answered(made, tokenizer):
    config, batch, _ = made("last")
    assert stage_of(config).one_answer, "each answer is a row, whose images are looked at anew"
    asked = zip(batch["qformer_input_ids"], batch["qformer_attention_mask"], strict=True)
    assert [read(*row, tokenizer) for row in asked] == [0, 1, 2]


def test_every_image_keeps_the_question_that_it_came_with(made, tokenizer):
    config, batch, _ = made("own")
    (ids,), (mask,) = batch["qformer_input_ids"], batch["qformer_attention_mask"]
    assert [read(*image, tokenizer) for image in zip(ids, mask, strict=True)] == [0, 1]
    shape = batch_spec(config)["qformer_input_ids"].shape
    assert shape[1:] == ids.shape == (2, 40)


def test_all_answers_of_a_dialogue_are_learned_at_once(made, tokenizer):
    _, batch, _ = made("own")
    labels = batch["labels"][0]
    said = [i for text in ANSWERS for i in (*tokenizer.encode(text), tokenizer.eos_id)]
    assert len(batch["labels"]) == 1 and labels[labels >= 0].tolist() == said


@pytest.mark.parametrize("qformer_turn", ["last", "own"])
def test_inference_reads_what_training_showed(made, tokenizer, qformer_turn):
    config, batch, record = made(qformer_turn)
    turns = exchanges(record, box_decimals=2)
    grey = np.zeros((20, 30, 3), np.uint8)
    asked = (*turns[:2], replace(turns[2], answer=None))
    processor = prompts.Processor(config, tokenizer, tokenizer)
    inputs = processor([asked], [[grey, grey]], max_new_tokens=4)
    check_inputs(inputs, config.model)
    for name in ("qformer_input_ids", "qformer_attention_mask"):
        np.testing.assert_array_equal(getattr(inputs, name)[0], batch[name][-1])


def test_another_instruction_takes_the_place_of_the_last_question_only(made, tokenizer):
    config, _, record = made("own")
    turns = exchanges(record, box_decimals=2)
    grey = np.zeros((20, 30, 3), np.uint8)
    asked = (turns[0], replace(turns[1], answer=None))
    processor = prompts.Processor(config, tokenizer, tokenizer)
    ids = processor.question(asked, [grey] * 2, max_new_tokens=4, instruction=ASKED[2]).qformer_ids
    assert [read(np.array(row), slice(None), tokenizer) for row in ids] == [0, 2]
