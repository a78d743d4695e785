"""Messages rendered by an exported chat template have the ids that our own prompts have."""

import pytest
from random_runs import TEXTS

from zv_jax.convert import chat_template
from zv_jax.convert.tokenizer_json import hf_files
from zv_jax.data.text import dialogue, tokenizers
from zv_jax.data.text.dialogue import Exchange
from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.models.prompt import FORMATS, PromptConfig

pytestmark = pytest.mark.parity
library = pytest.importorskip("tokenizers")
transformers = pytest.importorskip("transformers")

OWN = PromptConfig("own", "turn", "问：", "\n答：", "请看图。\n", "。", stop="问：")
# Formats with special tokens need a tokenizer that has them: test_chatml.py.
FORMS = {name: PromptConfig(name) for name, words in FORMATS.items() if not words.tokens}
FORMS["own"] = OWN
TURNS = (
    Exchange("What is in the picture?", "two red squares", (0, 1)),
    Exchange("图里有什么？", "一个红色的方块和一个蓝色的圆。", ()),
    Exchange("And here?", None, (2,)),
)


def image(number: int) -> dict:
    return {"type": "image", "image": f"{number}.png"}


def messages(turns) -> list[dict]:
    """The dialogue as OpenAI's protocol has it, an image behind its text."""
    out = []
    for turn in turns:
        content = [{"type": "text", "text": f" {turn.question} "}, *map(image, turn.images)]
        out.append({"role": "user", "content": content if turn.images else turn.question})
        if turn.answer is not None:
            out.append({"role": "assistant", "content": f" {turn.answer}\n"})
    return out


def byte_level(folder) -> Tokenizer:
    """A byte-level BPE in the manner of GPT-2, without a blank before a text."""
    made = library.Tokenizer(library.models.BPE())
    made.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = library.decoders.ByteLevel()
    special = ["<unk>", "<s>", "</s>"]
    alphabet = library.pre_tokenizers.ByteLevel.alphabet()
    trainer = library.trainers.BpeTrainer(
        vocab_size=450, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(TEXTS * 4, trainer)
    names = dict(zip(("unk", "bos", "eos"), special, strict=True))
    return Tokenizer("hf", made.to_str().encode(), special={**names, "pad": "</s>"})


@pytest.fixture(scope="module", params=["SentencePiece", "byte level"])
def tokenizer(request, tmp_path_factory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    if request.param == "byte level":
        return byte_level(folder)
    return tokenizers.train_sentencepiece(TEXTS, 400, folder)


@pytest.fixture
def served(tokenizer, tmp_path):
    """`served(prompt, with_images)`: the tokenizer of an export, in transformers."""

    def make(prompt: PromptConfig, images: bool = True):
        added = {"<image>": tokenizer.vocab_size}
        for name, text in hf_files(tokenizer, added).items():
            (tmp_path / name).write_text(text, "utf-8")
        text = chat_template.chat_template(prompt, tokenizer, "<image>" if images else "")
        (tmp_path / chat_template.FILE).write_text(text, "utf-8")
        return transformers.AutoTokenizer.from_pretrained(tmp_path)

    return make


@pytest.mark.parametrize("name", FORMS)
def test_a_dialogue_has_our_ids(tokenizer, served, name):
    """Images before their text, `<s>` before the first text, an answer as it was learned."""
    for count in (1, 2, 3):
        turns = (*TURNS[: count - 1], Exchange("图里有什么？", None, (count,)))
        ours = dialogue.prompt_row(
            turns,
            tokenizer,
            num_queries=1,
            image_token_id=tokenizer.vocab_size,
            max_length=1000,
            prompt=FORMS[name],
        )
        made = served(FORMS[name]).apply_chat_template(messages(turns), return_dict=True)
        assert made["input_ids"] == ours.input_ids


def test_a_text_of_the_system_stands_above_the_next_question(served):
    """And messages of the user in a row are one question, as `zv serve` reads them."""
    say = lambda role, text: {"role": role, "content": text}
    text = served(PromptConfig("ziya")).apply_chat_template(
        [say("system", "Be brief."), say("user", "<image>Look."), say("user", "What is it?")],
        tokenize=False,
    )
    assert text == "<s><human>:Be brief.\nLook.\nWhat is it?\n<bot>:"


@pytest.mark.parametrize(
    "wrong, match",
    [
        ([{"role": "assistant", "content": "two"}], "answer without a question"),
        ([{"role": "user", "content": " "}], "message of the user is empty"),
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "no question"),
        ([{"role": "system", "content": [{"type": "image"}]}], "an image in a message of the sys"),
        ([{"role": "user", "content": [{"type": "audio"}]}], "cannot read a part of type audio"),
    ],
)
def test_what_no_dialogue_is_made_of_is_refused(served, wrong, match):
    with pytest.raises(Exception, match=match):
        served(PromptConfig("ziya")).apply_chat_template(wrong)


def test_a_language_model_refuses_images(served):
    asked = [{"role": "user", "content": [image(0), {"type": "text", "text": "What?"}]}]
    with pytest.raises(Exception, match="cannot read a part of type image"):
        served(PromptConfig("ziya"), images=False).apply_chat_template(asked)
