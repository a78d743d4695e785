"""The question of a prompt, and what the Q-Former reads of it: no model, no engine."""

import pytest
from zv_vllm.asking import Asking, last_turn
from zv_vllm.errors import Refused

ZIYA = Asking(before="<human>:", after="\n<bot>:")
VICUNA = Asking("A chat. ", "USER: ", " ASSISTANT:")
IMAGE, BOS, EOS = 90, 1, 2


def test_a_turn_begins_behind_the_last_answer_and_marks_are_no_words():
    """Trap 2: the mark of an image is not among the ids that decoding leaves out."""
    ids = [IMAGE, IMAGE, BOS, 5, 6, EOS, IMAGE, BOS, 7, 8]
    assert last_turn(ids, EOS, {IMAGE, BOS}) == [7, 8]
    assert last_turn(ids[:5], EOS, {IMAGE, BOS}) == [5, 6]


@pytest.mark.parametrize("question", ["What?", "图里有什么？", "<human>:\n<bot>:", "a\nb"])
def test_the_q_former_reads_the_prompt_that_asks_this_question_alone(question):
    assert ZIYA.instruction(f"<human>:{question}\n<bot>:") == f"<human>:{question}\n<bot>:"
    alone = f"A chat. USER: {question} ASSISTANT:"
    assert VICUNA.instruction(alone) == alone
    assert VICUNA.instruction(f"USER: {question} ASSISTANT:") == alone  # a later turn


def test_or_the_bare_question():
    assert (
        Asking("A chat. ", "USER: ", " ASSISTANT:", turn=False).instruction(
            "USER:  two  ASSISTANT:"
        )
        == "two"
    )


def test_instructblip_of_others_has_no_words():
    assert Asking.stated(None).instruction("What is this?") == "What is this?"


def test_a_prompt_without_the_words_is_refused():
    with pytest.raises(Refused, match=r"none of this model's: 'What\?'"):
        ZIYA.instruction("What?")


def test_what_an_export_states():
    words = {"opening": "", "before": "问：", "after": "\n答：", "closing": "", "stop": ""}
    stated = {"words": words, "prompt": {"qformer_text": "question"}}
    assert Asking.stated(stated) == Asking("", "问：", "\n答：", turn=False)
    with pytest.raises(Refused, match="export the model again"):
        Asking.stated({"prompt": {"qformer_text": "turn"}})
