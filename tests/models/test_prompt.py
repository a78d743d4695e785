"""Prompts are written as each language model was trained to read them."""

import copy

import pytest

from zv_jax.checkpoints import compatibility as resume
from zv_jax.checkpoints.reader import FORMAT
from zv_jax.config.build import of_checkpoint, recipe, to_dict, validate
from zv_jax.config.fields import leaves
from zv_jax.errors import CheckpointError, ConfigError
from zv_jax.models.presets import PRESETS
from zv_jax.models.prompt import FORMATS, ZIYA, PromptConfig

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions."
)
# Two turns, the second open, as FastChat's `get_prompt`, Meta's `generation.py`, Ziya's card, LAVIS
# and the template of SmolLM2 write them; `</s>` is `<|im_end|>` there.
WHOLE = {
    "ziya": "<s><human>:q\n<bot>:a</s><human>:图？\n<bot>:",
    "vicuna": f"<s>{SYSTEM} USER: q ASSISTANT:a</s>USER: 图？ ASSISTANT:",
    "llama2": "<s>[INST] q [/INST]a </s><s>[INST] 图？ [/INST]",
    "plain": "<s>qa</s>图？",
    "chatml": "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na</s>"
    "\n<|im_start|>user\n图？<|im_end|>\n<|im_start|>assistant\n",
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_dialogue_is_written_as_its_model_was_trained(name):
    prompt = PromptConfig(name, "turn")
    begin = "<s>" if prompt.words.first_bos else ""
    again = "<s>" if prompt.words.every_bos else ""
    turns = f"{prompt.ask(' q ')}{prompt.answer(' a ')}</s>", prompt.ask("图？", first=False)
    assert begin + again.join(turns) == WHOLE[name]


def test_the_qformer_reads_the_question_or_the_prompt_that_asks_it_alone():
    assert PromptConfig("ziya", "question").instruction(" 图里有什么？ ") == "图里有什么？"
    assert ZIYA.instruction(" 图里有什么？ ") == "<human>:图里有什么？\n<bot>:"
    assert PromptConfig("plain", "turn").instruction("Question: why? Short answer:") == (
        "Question: why? Short answer:"
    )
    vicuna = PromptConfig("vicuna", "turn")
    assert vicuna.instruction("q") == vicuna.ask("q") == f"{SYSTEM} USER: q ASSISTANT:"


def test_an_answer_ends_where_the_model_would_speak_for_the_user():
    assert ZIYA.heard(" 红色 <human>:还有吗？\n<bot>:有") == "红色"
    assert PromptConfig("plain", "turn").heard(" a <human>: b ") == "a <human>: b"


def test_a_format_of_ones_own():
    own = PromptConfig("own", "turn", "问：", "\n答：", "请看图。", closing="。", stop="问：")
    assert (
        own.ask("图？") == "请看图。问：图？\n答："
        and own.ask("图？", first=False) == "问：图？\n答："
    )
    assert own.answer(" 红 ") == "红。" and own.heard("红。问：") == "红。"


def test_new_models_read_the_turn_and_older_ones_the_question():
    """A configuration without the field was written before it existed."""
    assert all(model.prompt == ZIYA for model in PRESETS.values())
    old = to_dict(validate(recipe("tiny_chat")))
    assert old["model"]["prompt"]["qformer_text"] == "turn"
    del old["model"]["prompt"]
    assert validate(of_checkpoint(old)).model.prompt == PromptConfig("ziya", "question")
    assert PromptConfig() == ZIYA, "and `zv config show` marks no default"


@pytest.mark.parametrize(
    "fields, where",
    [
        ({"format": "vicunna"}, "model.prompt.format"),
        ({"qformer_text": "turns"}, "model.prompt.qformer_text"),
        ({"before": "USER: "}, "model.prompt.before"),
        ({"format": "vicuna", "opening": "Hello."}, "model.prompt.opening"),
        ({"format": "own", "before": "Q:", "closing": "</s>"}, "model.prompt.closing"),
        ({"format": "own", "before": "<image>"}, "model.prompt.before"),
        ({"format": "own", "before": "问：", "opening": "<s>请看图。"}, "model.prompt.opening"),
        ({"format": "own", "before": "Q:", "stop": " "}, "model.prompt.stop"),
        ({"format": "own", "before": "Q:", "tokens": ("<|im_end|>",)}, "model.prompt.tokens"),
        ({"format": "own", "before": "Q:", "system": "Be brief."}, "model.prompt.system"),
        ({"system": "Be brief."}, "model.prompt.system"),
        ({"first_bos": False}, "model.prompt.first_bos"),
        ({"format": "own"}, "model.prompt"),
    ],
)
def test_what_is_no_format_or_would_be_used_for_nothing_is_refused(fields, where):
    with pytest.raises(ConfigError) as caught:
        validate(recipe("tiny_chat", model={"prompt": fields}))
    assert caught.value.where == where


def test_a_run_begun_before_the_field_does_not_change_what_its_qformer_reads():
    """The refusal names the fields that keep the run what it was before those that change it."""
    now = to_dict(validate(recipe("small_chat")))
    before = copy.deepcopy(now)
    del before["model"]["prompt"], before["data"]["transparency"]
    meta = {"format": FORMAT, "config": before, "fingerprint": {"data.version": 8}}
    with pytest.raises(CheckpointError) as caught:
        resume.check(meta, resume.fields_of(now, {"data.version": 9}), (), "runs/x")
    assert "- model.prompt.qformer_text: 'question' in the checkpoint" in caught.value.expected
    kept, others = caught.value.fix.split("; or ")
    assert others.startswith("undo the change") and kept == (
        "keep the run what it was: --config.model.prompt.qformer_text=question "
        "--config.data.transparency=black --allow_change=data.version"
    )
    now["model"]["prompt"]["qformer_text"], now["data"]["transparency"] = "question", "black"
    (left,) = resume.check(
        meta, resume.fields_of(now, {"data.version": 9}), ("data.version",), "runs/x"
    )
    assert left == ("data.version", 8, 9)


def test_what_a_checkpoint_holds_is_its_own():
    now = to_dict(validate(recipe("small_chat", data={"transparency": "black"})))
    other = to_dict(validate(recipe("small_chat")))
    with pytest.raises(CheckpointError) as caught:
        resume.check(
            {"format": FORMAT, "config": other, "fingerprint": {}}, leaves(now), (), "runs/x"
        )
    assert caught.value.fix.startswith("undo the change")
