"""One image, two questions, all caches on (trap 1), and what is not computed twice."""

import conftest
import pytest
from vllm.multimodal.processing.inputs import ProcessorInputs
from zv_vllm.processing import TEXT

QUESTIONS = ("What is in the picture?", "Where is it?")
SHOWN = [0, 1, 2, 0, 1, 2, 0, 1]  # 32 visual tokens: a block of the prefix cache


@pytest.fixture
def ask(chat, images):
    """`ask("What?")`: the output about eight images."""
    chat.forget()
    yield lambda question: chat.chat([conftest.messages([(question, None, SHOWN)], images)])[0]
    chat.forget()


@pytest.fixture
def expected(chat, reference, images):
    """`expected(output)`: the ids of transformers for the same prompt."""

    def answer(output, question):
        processor = conftest.processor(chat)
        qformer = processor.info.qformer_ids(processor.info.asking.ask(question))
        shown = [images[i] for i in SHOWN]
        return reference.answer(output.prompt_token_ids, qformer, shown)[0]

    return answer


def ids(chat, output):
    return chat.cut(output.outputs[0].token_ids)


def test_a_second_question_gets_its_own_answer(chat, ask, expected):
    first, second = map(ask, QUESTIONS)
    assert second.num_cached_tokens == 0
    assert ids(chat, first) == expected(first, QUESTIONS[0])
    assert ids(chat, second) == expected(second, QUESTIONS[1])
    assert ids(chat, first) != ids(chat, second)


def test_without_the_question_in_the_hash_it_would_get_another(chat, ask, expected, monkeypatch):
    """The check above finds the mistake that it is for."""
    whole = ProcessorInputs.get_mm_hashes

    def without_question(inputs, *arguments, **options):
        kept = inputs.hf_processor_mm_kwargs
        inputs.hf_processor_mm_kwargs = {k: v for k, v in kept.items() if k != TEXT}
        try:
            return whole(inputs, *arguments, **options)
        finally:
            inputs.hf_processor_mm_kwargs = kept

    monkeypatch.setattr(ProcessorInputs, "get_mm_hashes", without_question)
    ask(QUESTIONS[0])
    second = ask(QUESTIONS[1])
    assert second.num_cached_tokens >= 32
    assert ids(chat, second) != expected(second, QUESTIONS[1])


def test_the_same_request_computes_neither_vit_nor_q_former(chat, ask):
    first = ask(QUESTIONS[0])
    before = dict(chat.calls)
    again = ask(QUESTIONS[0])
    assert chat.calls == before and again.num_cached_tokens >= 32
    assert ids(chat, again) == ids(chat, first)


def test_a_new_question_about_old_images_computes_the_q_former_alone(chat, ask):
    ask(QUESTIONS[0])
    before = dict(chat.calls)
    ask(QUESTIONS[1])
    assert chat.calls["vit"] == before["vit"]
    assert chat.calls["qformer"] == before["qformer"] + 3  # the others are these again
