"""What a conversation keeps between turns changes no answer, and saves reading."""

import pytest

from zv_jax.data.text.dialogue import Exchange
from zv_jax.inference import answers
from zv_jax.inference.chat import Chat
from zv_jax.inference.decoding import Beam, Sample
from zv_jax.inference.reading import Reading
from zv_jax.inference.seen import Kept

ASK = ["What is in the picture?", "图里有什么？", "Where is it?"]


@pytest.fixture(params=["chat", "base"])
def talker(model, request):
    return model("stage2" if request.param == "chat" else "stage1", request.param)


def forget(chat):
    """Makes a chat compute everything anew, with the programs that it has."""
    reading = chat._reading
    reading._held = [], ()
    reading.looks.features, reading.looks.tokens = Kept(9), Kept(9)


@pytest.mark.parametrize(
    "decoding",
    [None, Beam(3), pytest.param(Sample(1.3, top_p=0.9, seed=5), marks=pytest.mark.slow)],
)
def test_three_turns_and_images_are_answered_as_if_read_anew(talker, shown, decoding):
    """Each turn by a Chat that has kept the turns before it, and by one that has kept nothing."""
    kept, anew = (Chat(talker, decoding, max_new_tokens=6) for _ in range(2))
    for text, image in zip(ASK, shown, strict=True):
        forget(anew)
        assert kept.ask(text, [image]) == anew.ask(text, [image])
    looks = kept._reading.looks
    assert (looks.features.misses, anew._reading.looks.features.misses) == (3, 3)
    assert anew._reading.kept == 0
    sees_question = talker.config.model.qformer_sees_instruction
    assert looks.tokens.misses == (1 + 2 + 3 if sees_question else 3)


@pytest.mark.parametrize("decoding", [None, Beam(2)])
def test_base_reads_only_what_is_new_and_chat_what_its_images_became(talker, shown, decoding):
    """Also where the answer is searched for."""
    chat = Chat(talker, decoding, max_new_tokens=4)
    queries = talker.config.model.qformer.num_queries
    chat.ask(ASK[0], shown[:1])
    assert chat._reading.kept == 0
    chat.ask(ASK[2])
    if talker.config.model.qformer_sees_instruction:
        assert chat._reading.kept == 0  # the image comes first, and is another to this question
    else:
        assert chat._reading.kept > queries
    list(chat.retry())
    prompt = chat._reading.kept + 1  # its last token is read for the first of the answer
    list(chat.retry())
    assert chat._reading.kept + 1 == prompt > queries


def test_one_image_with_two_questions_and_two_images_with_one(talker, shown):
    chat = Chat(talker, max_new_tokens=6)
    fresh = Chat(talker, max_new_tokens=6)
    for text, image in ((ASK[0], 0), (ASK[1], 0), (ASK[1], 1), (ASK[0], 0)):
        chat.reset()
        fresh.reset()
        forget(fresh)
        assert chat.ask(text, [shown[image]]) == fresh.ask(text, [shown[image]])
    assert chat._reading.looks.features.misses == 2


def test_answers_are_those_of_the_model(talker, shown):
    """Another arithmetic of the same sums: the ids are equal, step by step."""
    questions = talker.processor.questions(ASK[:2], [shown[:1], shown[1:]], max_new_tokens=8)
    reading = Reading(talker, Sample(1.0, seed=3), 8)
    for seed, question in enumerate(questions, 3):
        inputs = talker.processor.collate([question], max_new_tokens=8)
        expected = talker.generate(inputs, Sample(1.0, seed=seed), max_new_tokens=8)[0].tolist()
        found = list(reading.answer(question, seed))
        assert found == expected[: len(found)]
        assert len(found) == 8 or found[-1] == talker.tokenizer.eos_id


def test_a_search_finds_the_answers_of_the_model(talker, shown):
    """Behind a prefix that was read before, too."""
    how = Beam(3, n=2, length_penalty=0.5, repetition_penalty=1.5, min_new_tokens=2)
    chat = Chat(talker, how, max_new_tokens=6)
    for text, images in ((ASK[0], shown[:1]), (ASK[1], ()), (ASK[2], ())):
        turns, before = Exchange(text, images=(0,) if images else ()), chat.history
        (expected,) = talker.candidates([(turns,)], [shown[:1]], 6, history=[before], decoding=how)
        question = talker.processor.question((turns,), shown[:1], history=before, max_new_tokens=6)
        found = answers.of(
            chat._reading.search(question), talker.tokenizer, talker.config.model.prompt, ()
        )
        for one, other in zip(found, expected, strict=True):
            assert one.text == other.text and one.score == pytest.approx(other.score, abs=1e-4)
        assert chat.ask(text, images) == expected[0].text


def test_few_programs_are_compiled_and_a_longer_talk_needs_larger_ones(talker):
    chat = Chat(talker, max_new_tokens=4)
    chat.prepare()
    before = set(chat._reading._programs)
    for text in ASK:
        chat.ask(text)
    assert set(chat._reading._programs) == before
    chat.close()
