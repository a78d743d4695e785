"""What share of LLaVA's and SVIT's exchanges fits the rows of the stage-2 recipes.

The data sets are not at hand, so dialogues of their published lengths are made up:

* LLaVA's conversations: two dialogues published with its prompts have 4 turns, short answers and a
  last one of 200 to 400 words; 126 MB for 58,000 of them are about 300 words each. Its answers on
  LLaVA-Bench (COCO) have 17 words (standard deviation 8) in conversations, 79 (19) in details and
  113 (26) in reasoning; the details published with the prompts have up to 169.
* SVIT's conversations: its prompt asks for five exchanges with answers of at most 50 tokens. For
  its details, which that prompt does not limit, 360 words (100) are assumed.
* Translated ones: 1.7 Chinese characters for an English word.

Words are those of the documentation in both languages, and so is the tokenizer made from them.
"""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from zv_jax.config import validate
from zv_jax.configs import stage2
from zv_jax.data.text import tokenizers
from zv_jax.data.text.dialogue import Exchange, TooLong, dialogue_row
from zv_jax.evaluation import task as task_lib

ROOT = Path(__file__).resolve().parents[3]
PER_WORD = 1.7  # Chinese characters for an English word
DIALOGUES = 200  # of each kind and language


def _short(rng, turns, mean, spread):
    return [max(3, int(n)) for n in rng.normal(mean, spread, turns)]


def _llava_conversation(rng):
    last = int(np.clip(rng.normal(215, 90), 40, 600))
    return [*_short(rng, rng.integers(2, 5), 17, 8), last]


KINDS = {  # words of the answers of one dialogue
    "llava_conversation": _llava_conversation,
    "llava_detail": lambda rng: _short(rng, 1, 110, 35),
    "llava_reasoning": lambda rng: _short(rng, 1, 113, 26),
    "svit_conversation": lambda rng: _short(rng, 5, 28, 10),
    "svit_detail": lambda rng: _short(rng, 1, 360, 100),
}


def prose(lang):
    """The documentation's words, or Chinese characters, one after the other."""
    pages = sorted((ROOT / "docs" / ("zh" if lang == "zh" else "")).glob("*.md"))
    kind = r"[\u4e00-\u9fff，。：]" if lang == "zh" else r"[A-Za-z]+[,.:]?"
    return re.findall(kind, "\n".join(page.read_text("utf-8") for page in pages))


class Writer:
    """Makes up dialogues in one language from running prose."""

    def __init__(self, lang):
        self.words, self.rng = prose(lang), np.random.default_rng(16)
        self.rate, self.between = (PER_WORD, "") if lang == "zh" else (1, " ")

    def text(self, words):
        size = round(words * self.rate)
        start = self.rng.integers(0, len(self.words) - size)
        return self.between.join(self.words[start : start + size])

    def dialogue(self, kind):
        answers = KINDS[kind](self.rng)
        return [
            Exchange(self.text(9), self.text(words), () if k else (0,))
            for k, words in enumerate(answers)
        ]


@pytest.fixture(scope="module")
def words_tokenizer(tmp_path_factory):
    texts = [" ".join(prose("en")), "".join(prose("zh"))]
    texts = [text[at : at + 400] for text in texts for at in range(0, len(text), 400)]
    return tokenizers.train_sentencepiece(texts, 4000, tmp_path_factory.mktemp("words"))


def shares(config, tokenizer, lang):
    """The share of exchanges that is learned whole, for each kind of dialogue."""
    data, found, writer = config.data, {}, Writer(lang)
    row = dict(
        num_queries=config.model.qformer.num_queries, image_token_id=config.model.image_token_id,
        max_length=data.max_length, max_answer=data.max_answer, where="made up",
    )  # fmt: skip
    chat = config.stage.variant == "chat"
    for kind in KINDS:
        learned = total = 0
        for turns in (writer.dialogue(kind) for _ in range(DIALOGUES)):
            samples = [turns[: k + 1] for k in range(len(turns))] if chat else [turns]
            total += len(turns)
            for sample in samples:
                try:
                    got = dialogue_row(sample, tokenizer, only_last=chat, **row)
                except TooLong:
                    continue
                learned += (1 if chat else len(sample)) - got.left_out
        found[kind] = learned / total
    return found


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("variant", ["base", "chat"])
def test_stage_2_learns_the_exchanges_of_llava_and_svit(words_tokenizer, variant, lang):
    config = validate(stage2.get_config(variant))
    found = shares(config, words_tokenizer, lang)
    details = found.pop("svit_detail")
    assert min(found.values()) > 0.99, found
    assert details > (0.96 if lang == "en" else 0.92)


def test_the_budget_of_instructblip_left_much_of_them_out(words_tokenizer):
    """What the recipes had before, and why they have more now."""
    config = validate(stage2.get_config("chat"))
    config = replace(config, data=replace(config.data, max_answer=256))
    found = shares(config, words_tokenizer, "en")
    assert found["llava_conversation"] < 0.9 and found["svit_detail"] < 0.1


def test_evaluation_allows_no_longer_answers_than_stage_2_teaches():
    taught = validate(stage2.get_config("chat")).data.max_answer
    allowed = {
        name: task_lib.load(name).decoding.get("max_new_tokens", 0) for name in task_lib.names()
    }
    assert allowed["llava_bench"] == allowed["llava_bench_zh"] == taught
    assert max(allowed.values()) == taught


@pytest.mark.parametrize("variant", ["base", "chat"])
def test_a_prompt_and_the_longest_answer_fit_the_positions_of_the_model(variant):
    config = validate(stage2.get_config(variant))
    positions = config.model.llm.max_positions
    assert config.data.max_length + config.data.max_answer <= positions
