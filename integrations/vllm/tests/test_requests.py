"""What a request may ask, and what is refused: the traps that concern prompts."""

import conftest
import pytest
from PIL import Image
from vllm import SamplingParams
from zv_vllm.errors import Refused
from zv_vllm.processing import TEXT

GREEDY = SamplingParams(temperature=0, max_tokens=4)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "I;16", "P", "F"])
def test_an_image_that_would_look_otherwise_in_training_is_refused(chat, images, mode):
    image = Image.new(mode, images[0].size)
    with pytest.raises(Refused, match=f"an image of mode {mode}"):
        conftest.processor(chat)._call_hf_processor({"images": [image]}, {TEXT: "two"})


@pytest.fixture
def info(chat):
    return conftest.processor(chat).info


def test_the_mark_of_an_image_is_left_out_when_the_question_is_read(chat, cases):
    """Trap 2."""
    processor = conftest.processor(chat)
    for case in cases["chat"]:
        text = processor._instruction(case["prompt"])
        assert processor.info.qformer_ids(text) == case["qformer"], case["name"]


def test_an_answer_follows_its_question_as_it_was_learned(chat, cases, images):
    """Trap 3: without the blank of the template, "two" would be three letters."""
    (case,) = [case for case in cases["chat"] if case["name"] == "two turns"]
    template = chat.llm.get_tokenizer().chat_template
    assert '" " + text' in template
    dialogue = conftest.messages(case["turns"], images)
    wrong = chat.chat([dialogue], chat_template=template.replace('" " + text', "text"))[0]
    assert wrong.prompt_token_ids != case["prompt"]
    assert chat.chat([dialogue])[0].prompt_token_ids == case["prompt"]


def test_nothing_is_put_before_a_prompt(chat, images):
    """Trap 4: `<s>` is where the prompt has it, behind the images."""
    prompt = "<image><s><human>:two\n<bot>:"
    (output,) = chat.llm.generate(
        {"prompt": prompt, "multi_modal_data": {"image": images[:1]}}, GREEDY, use_tqdm=False
    )
    tokenizer = chat.llm.get_tokenizer()
    assert output.prompt_token_ids.count(tokenizer.bos_token_id) == 1
    assert output.prompt_token_ids[0] != tokenizer.bos_token_id


def test_the_q_former_reads_as_much_as_in_training_and_the_end_of_it(chat, cases, info):
    """Trap 7."""
    long = max(cases["chat"], key=lambda case: len(case["qformer"]))["qformer"]
    text = info.asking.ask("Where is it? " * 40 + "是 what?")
    ids = info.qformer_ids(text)
    assert len(ids) == info.longest_text and ids[-5:] == long[-5:] and ids[0] == long[0]


def test_pillow_resizes(info):
    """Trap 8: whatever else is installed."""
    assert type(info.image_processor).__name__ == "BlipImageProcessorPil"


def test_a_text_of_ones_own_for_the_q_former(chat, reference, images, info):
    turns = [("What is in the picture?", None, [0])]
    options = {"mm_processor_kwargs": {"qformer_text": "two"}}
    (output,) = chat.chat([conftest.messages(turns, images)], **options)
    expected, _ = reference.answer(output.prompt_token_ids, info.qformer_ids("two"), images[:1])
    assert chat.cut(output.outputs[0].token_ids) == expected


@pytest.mark.parametrize(
    "options, match",
    [
        ({"qformer_text": 7}, "qformer_text is 7"),
        ({"do_resize": False}, "do_resize is False"),
    ],
)
def test_other_options_are_refused(chat, images, options, match):
    """Trap 9: also a text that is none."""
    turns = [("What?", None, [0])]
    with pytest.raises(Refused, match=match):
        chat.chat([conftest.messages(turns, images)], mm_processor_kwargs=options)


@pytest.mark.parametrize("marks, shown", [(0, 1), (2, 1)])
def test_marks_and_images_are_as_many(chat, images, marks, shown):
    """Trap 9: vLLM's own check is an assertion, or an error that names its classes."""
    prompt = "<image>" * marks + "<s><human>:two\n<bot>:"
    request = {"prompt": prompt, "multi_modal_data": {"image": images[:shown]}}
    with pytest.raises(Refused, match=f"{marks} marks <image> and {shown} images"):
        chat.llm.generate(request, GREEDY, use_tqdm=False)


def test_a_mark_that_a_user_types_is_left_out(chat, cases, images):
    """Trap 9: with an image beside it, and without."""
    for name in ("no image", "one image"):
        (case,) = [case for case in cases["chat"] if case["name"] == name]
        ((question, _, shown),) = case["turns"]
        dialogue = conftest.messages([(f"<image>{question}", None, shown)], images)
        assert chat.chat([dialogue])[0].prompt_token_ids == case["prompt"]


def test_a_prompt_that_is_not_asked_as_the_model_is(chat, images):
    request = {"prompt": "<image>What?", "multi_modal_data": {"image": images[:1]}}
    with pytest.raises(Refused, match="none of this model's"):
        chat.llm.generate(request, GREEDY, use_tqdm=False)


def test_a_question_takes_room_in_the_cache_of_pixels(chat, images):
    """Trap 10: pixels are held once for each question, within the bound of
    `--mm-processor-cache-gb`; the features of an image are held once."""
    chat.forget()
    for question in ("one", "two", "three"):
        chat.answers([conftest.messages([(question, None, [0])], images)])
    held = chat.llm.apply_model(lambda model: len(model.features._held))
    assert held == [1]
