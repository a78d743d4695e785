"""Rows in every format: what stands where, and that inference asks what training showed."""

from dataclasses import replace

import pytest

from zv_jax.data.pipeline import pipeline
from zv_jax.data.pipeline.assembler import Assembler
from zv_jax.data.text.dialogue import IGNORE, Exchange, dialogue_row, prompt_row
from zv_jax.inference import prompts
from zv_jax.models.prompt import FORMATS, PromptConfig

IMG = 9999
PLAIN = [name for name in FORMATS if name != "chatml"]  # which needs tokens: test_special_words.py
TURNS = (
    Exchange("What colour?", "red", (0,)),
    Exchange("这是什么？", "方块", (1,)),
    Exchange("Is it blue?", "no"),
)


def row(turns, tokenizer, prompt, **more):
    common = dict(num_queries=2, image_token_id=IMG, max_length=2000, where="test")
    return dialogue_row(turns, tokenizer, prompt=prompt, **common | more)


@pytest.mark.parametrize("name", PLAIN)
def test_a_prompt_is_the_start_of_the_training_row(tokenizer, name):
    prompt = PromptConfig(name, "turn")
    whole = row(TURNS, tokenizer, prompt)
    for n in range(1, 4):
        asked = prompt_row(
            TURNS[:n], tokenizer, prompt=prompt, num_queries=2, image_token_id=IMG, max_length=2000
        )
        assert whole.input_ids[: len(asked.input_ids)] == asked.input_ids
        answer = tokenizer.encode(prompt.answer(TURNS[n - 1].answer))
        rest = whole.labels[len(asked.input_ids) :]
        assert rest[: len(answer) + 1] == [*answer, tokenizer.eos_id]


def test_llama_2_begins_every_turn_and_vicuna_only_the_dialogue(tokenizer):
    enc, bos, eos = tokenizer.encode, tokenizer.bos_id, tokenizer.eos_id
    got = row(TURNS[::2], tokenizer, PromptConfig("llama2"))
    assert got.input_ids == [
        IMG, IMG, bos, *enc("[INST] What colour? [/INST]"), *enc("red "), eos,
        bos, *enc("[INST] Is it blue? [/INST]"), *enc("no "), eos,
    ]  # fmt: skip
    vicuna = PromptConfig("vicuna")
    got = row(TURNS[::2], tokenizer, vicuna)
    assert got.input_ids == [
        IMG, IMG, bos, *enc(vicuna.words.opening + "USER: What colour? ASSISTANT:"), *enc("red"),
        eos, *enc("USER: Is it blue? ASSISTANT:"), *enc("no"), eos,
    ]  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
def test_a_dialogue_whose_beginning_is_left_out_still_begins_as_one(tokenizer, name):
    prompt = PromptConfig(name, "turn")
    last = row([TURNS[2]], tokenizer, prompt, only_last=True)
    room = len(last.input_ids) + 4  # of both images
    got = row(TURNS, tokenizer, prompt, only_last=True, max_length=room)
    assert got.input_ids == [IMG] * 4 + last.input_ids and got.images == (0, 1)
    assert [i for i in got.labels if i != IGNORE] == [*tokenizer.encode(prompt.answer("no")), 2]


def test_the_qformer_reads_the_blanks_of_a_format(tokenizer, make_config):
    """As LLM, card and processors do; BLIP-2 asks "Question: {} Short answer: "."""
    prompt = PromptConfig("own", "turn", "Question: ", "\nShort answer: ", " Look. ")
    config = make_config("stage1", max_qformer_text=60)
    config = replace(config, model=replace(config.model, prompt=prompt))
    asked = " Look. Question: What colour is this?\nShort answer: "
    ids = [tokenizer.cls_id, *tokenizer.encode(asked), tokenizer.sep_id]
    assert ids[1:-1] != tokenizer.encode(asked.strip())
    both = (tokenizer, tokenizer)
    processor = prompts.Processor(config, *both)
    assert processor.question(" What colour is this? ", (), max_new_tokens=4).qformer_ids == ids
    assembler = Assembler(pipeline.drawn_from(config), *both, cache_images=False)
    records = assembler.drawn[0].source
    number = next(
        i for i in range(len(records))
        if records.record(i).turns[-2:-1] and "What colour" in records.record(i).turns[-2].text
    )  # fmt: skip
    words = assembler.words(0, number, 0, epoch=0)
    assert words.qformer == ids[1:-1] and words.llm[1:][: len(ids) - 2] == ids[1:-1]
