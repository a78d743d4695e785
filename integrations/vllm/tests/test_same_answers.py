"""vLLM answers as transformers and zv_jax do: Chat and Base, 0 to 3 images, two languages."""

import gc

import conftest
import pytest
from conftest import Engine, Reference


def compare(engine, reference, cases, images):
    """Prompts, greedy ids and log-probabilities, one by one and all at once."""
    dialogues = [conftest.messages(case["turns"], images) for case in cases]
    outputs = [engine.chat([dialogue])[0] for dialogue in dialogues]
    for case, output in zip(cases, outputs, strict=True):
        assert output.prompt_token_ids == case["prompt"], case["name"]
        shown = [images[i] for _, _, numbers in case["turns"] for i in numbers]
        ids, scores = reference.answer(case["prompt"], case["qformer"], shown)
        found = engine.cut(output.outputs[0].token_ids)
        assert found == ids == case["answer"], case["name"]
        given = [next(iter(one.values())).logprob for one in output.outputs[0].logprobs]
        assert given[: len(scores)] == pytest.approx(scores, abs=1e-4), case["name"]
    engine.forget()
    assert engine.answers(dialogues) == [case["answer"] for case in cases]
    assert len({tuple(case["answer"]) for case in cases}) > len(cases) // 2


def test_chat(chat, reference, cases, images):
    compare(chat, reference, cases["chat"], images)


def test_base(exports, cases, images):
    """Many images, where vLLM's own BLIP-2 takes one."""
    reference = Reference(exports / "base", "Blip2ForConditionalGeneration")
    engine = Engine(exports / "base")
    compare(engine, reference, cases["base"], images)
    del engine
    gc.collect()
