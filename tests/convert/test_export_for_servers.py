"""An export tells a server how training asked: the chat template, the words, the Q-Former's limit.

`tests/parity/test_chat_template.py` renders the template and compares ids.
"""

import json

import pytest

from zv_jax.convert import export, own_checkpoint
from zv_jax.convert.chat_template import begins_with_blank, chat_template
from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.models.prompt import FORMATS, PromptConfig


@pytest.fixture
def exported(workdir, tmp_path):
    """`exported("stage1", "chat")`: a random model as a directory of transformers."""

    def make(stage, variant="chat"):
        export.to_hf(own_checkpoint.open_checkpoint(workdir(stage, variant)), tmp_path / "out")
        return tmp_path / "out"

    return make


def test_chat_has_all_that_a_server_needs_to_ask_as_training_did(exported, tokenizer):
    out = exported("stage1")
    template = (out / "chat_template.jinja").read_text("utf-8")
    assert template == chat_template(PromptConfig("ziya"), tokenizer, "<image>")
    assert json.loads((out / "processor_config.json").read_text())["max_qformer_text"] == 32
    stated = json.loads((out / "config.json").read_text())["zv_jax"]
    assert stated["words"] == FORMATS["ziya"]._asdict() | {"tokens": []}
    assert stated["prompt"]["qformer_text"] == "turn"


def test_the_q_former_of_base_reads_no_text(exported):
    out = exported("stage1", "base")
    assert (out / "chat_template.jinja").is_file()
    assert "max_qformer_text" not in json.loads((out / "processor_config.json").read_text())


def test_a_language_model_has_a_template_without_images(exported, tokenizer):
    template = (exported("language", "base") / "chat_template.jinja").read_text("utf-8")
    assert template == chat_template(PromptConfig("ziya"), tokenizer)
    assert "image_url" not in template


def test_stage_0_answers_nothing_and_has_no_template(exported):
    assert not (exported("stage0") / "chat_template.jinja").exists()


def test_an_answer_follows_a_blank_where_the_tokenizer_begins_texts_with_one(tokenizer):
    assert begins_with_blank(tokenizer)
    assert '" " + text' in chat_template(PromptConfig("ziya"), tokenizer)


def test_and_none_where_a_blank_belongs_to_the_next_word(monkeypatch, tokenizer):
    monkeypatch.setattr(Tokenizer, "encode", lambda self, text: list(text.encode()))
    assert not begins_with_blank(tokenizer)
    assert '"" + text' in chat_template(PromptConfig("ziya"), tokenizer)
