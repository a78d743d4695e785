"""Prompt formats: the words around a question, and which of them the Q-Former reads.

A dialogue is written turn by turn; `<s>` comes before the first text, `</s>` after every answer:

    [images] <s> [opening] BEFORE question AFTER  |  answer CLOSING </s>

Each language model was trained with its format. Sources: Ziya-LLaMA-13B's
model card (ziya); FastChat's `conversation.py`, templates vicuna_v1.1 and llama-2, the latter as
Meta's `llama/generation.py` writes it (vicuna, llama2); LAVIS, `blip2_vicuna_instruct.py`, which
gives the language model and the Q-Former the same bare prompt (plain); the chat template of
SmolLM2-Instruct, whose `</s>` is `<|im_end|>` (chatml).

Words of a format may name special tokens of the tokenizer. These are tokens there, and nowhere
else: what a user types stays plain text, whatever it spells.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Format(NamedTuple):
    """The words around questions and answers.

    Attributes:
        before, after: text around a question.
        opening: text before the first turn.
        closing: text between an answer and its `</s>`.
        every_bos: whether every turn starts with `<s>`, not only the first.
        stop: text that begins another turn and so ends an answer; empty: only `</s>` does.
        first_bos: whether the first turn starts with `<s>`.
        between: text between an answer's `</s>` and the next turn.
        system_before, system_after: text around what a system message says, before a turn. Without
            them it is a line above the question.
        tokens: special tokens, by the names that these words hold.
    """

    before: str = ""
    after: str = ""
    opening: str = ""
    closing: str = ""
    every_bos: bool = False
    stop: str = ""
    first_bos: bool = True
    between: str = ""
    system_before: str = ""
    system_after: str = ""
    tokens: tuple[str, ...] = ()


FORMATS = {
    "ziya": Format("<human>:", "\n<bot>:", stop="<human>:"),
    "vicuna": Format(
        "USER: ",
        " ASSISTANT:",
        opening="A chat between a curious user and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the user's questions. ",
    ),
    "llama2": Format("[INST] ", " [/INST]", closing=" ", every_bos=True),
    "plain": Format(),
    "chatml": Format(
        "<|im_start|>user\n",
        "<|im_end|>\n<|im_start|>assistant\n",
        first_bos=False,
        between="\n",
        system_before="<|im_start|>system\n",
        system_after="<|im_end|>\n",
        tokens=("<|im_start|>", "<|im_end|>"),
    ),
}
OWN = "own"
QFORMER_TEXTS = ("question", "turn")


@dataclass(frozen=True)
class PromptConfig:
    """The format of a model's prompts; part of the model, like its vocabulary.

    `format` is one of `FORMATS`, or "own": then the other fields, those of `Format`, define it.
    `qformer_text` is the text that the Q-Former of Chat reads: the bare "question", or the "turn",
    the prompt that asks this question alone. With "turn", the language model and the Q-Former read
    the same text of a one-turn prompt; the processors of transformers support nothing else.
    `config.BEFORE` gives the value for models older than the field. `system` is the system message
    of a dialogue that has none, in a format with words for it.
    """

    format: str = "ziya"
    qformer_text: str = "turn"
    before: str = ""
    after: str = ""
    opening: str = ""
    closing: str = ""
    every_bos: bool = False
    stop: str = ""
    first_bos: bool = True
    between: str = ""
    system_before: str = ""
    system_after: str = ""
    tokens: tuple[str, ...] = ()
    system: str = ""

    @property
    def words(self) -> Format:
        """The format as words around questions and answers."""
        if self.format != OWN:
            return FORMATS[self.format]
        return Format(
            self.before, self.after, self.opening, self.closing, self.every_bos, self.stop,
            self.first_bos, self.between, self.system_before, self.system_after, self.tokens,
        )  # fmt: skip

    def pieces(
        self, question: str, first: bool = True, system: str | None = None
    ) -> tuple[str, ...]:
        """A turn up to the model's answer: a text, the name of a special token, a text, and so on;
        texts may be empty.

        Args:
            first: in its dialogue, or a later one.
            system: what a system message says before it.
        """
        words = self.words
        asked, parts = question.strip(), [(words.opening if first else words.between, True)]
        told = self.system if system is None and first else system
        if told and words.system_before:
            parts += [(words.system_before, True), (told, False), (words.system_after, True)]
        elif told:
            asked = f"{told}\n{asked}".strip()
        parts += [(words.before, True), (asked, False), (words.after, True)]
        found = [""]
        for text, ours in parts:
            head, *rest = self._split(text) if ours else [text]
            found[-1] += head
            found += rest
        return tuple(found)

    def _split(self, words: str) -> list[str]:
        """Words of the format, as `pieces` are."""
        names = "|".join(map(re.escape, self.words.tokens))
        return re.split(f"({names})", words) if names else [words]

    def ask(self, question: str, first: bool = True) -> str:
        """A turn up to the model's answer, as text; `first` in its dialogue, or a later one."""
        return "".join(self.pieces(question, first))

    def answer(self, text: str) -> str:
        """An answer as written before its `</s>`."""
        return text.strip() + self.words.closing

    def stops(self, more: Sequence[str] = ()) -> tuple[str, ...]:
        """The words that end an answer: those that begin another turn, and `more`."""
        return tuple(word for word in (self.words.stop, *more) if word)

    def stopped(self, text: str, stop: Sequence[str] = ()) -> bool:
        """Whether a model's output has words that end it."""
        return any(word in text for word in self.stops(stop))

    def heard(self, text: str, stop: Sequence[str] = ()) -> str:
        """The answer in a model's output: up to the first words that end it."""
        places = [text.find(word) for word in self.stops(stop)]
        return text[: min((at for at in places if at >= 0), default=None)].strip()

    def instruction(self, question: str) -> str:
        """The text that the Q-Former of Chat reads for `question`, whatever came before it."""
        return self.ask(question) if self.qformer_text == "turn" else question.strip()


ZIYA = PromptConfig()
