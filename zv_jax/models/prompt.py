"""How a model is asked: the words around a question, and what of them the Q-Former reads.

A dialogue is written turn by turn; `<s>` comes before the first text, `</s>` after every answer:

    [images] <s> [opening] BEFORE question AFTER  |  answer CLOSING </s>

The parts of each format are those its language model was trained with. Sources: Ziya-LLaMA-13B's
model card (ziya); FastChat's `conversation.py`, templates vicuna_v1.1 and llama-2, the latter as
Meta's `llama/generation.py` writes it (vicuna, llama2); LAVIS, `blip2_vicuna_instruct.py`, which
gives the language model and the Q-Former the same bare prompt (plain).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Format(NamedTuple):
    """The words around questions and answers.

    Attributes:
        before, after: what stands around a question.
        opening: what stands before the first turn.
        closing: what stands between an answer and its `</s>`.
        every_bos: whether each turn starts with `<s>`, not the first one only.
        stop: words that end an answer, since they begin another turn; empty: only `</s>` does.
    """

    before: str = ""
    after: str = ""
    opening: str = ""
    closing: str = ""
    every_bos: bool = False
    stop: str = ""


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
}
OWN = "own"
QFORMER_TEXTS = ("question", "turn")
QFORMER_TURNS = ("last", "own")


@dataclass(frozen=True)
class PromptConfig:
    """The format of a model's prompts; part of what the model is, like its vocabulary.

    `format` is one of `FORMATS`, or "own": then the other fields say what the format is, in the
    words of `Format`. `qformer_text` is what the Q-Former of Chat reads: the bare "question", or
    the "turn", that is the prompt that asks this question alone. With "turn" a one-turn prompt is
    one text for both, which is all that the processors of transformers can express. What models
    read before the field existed says `config.BEFORE`.

    `qformer_turn` is whose question that is: that of the "last" turn for every image, which is so
    looked at anew in each turn; or for each image that of its "own" turn, which brought it. Then
    what the language model read in earlier turns stays as it is, and all answers of a dialogue are
    learned at once. In dialogues of one turn the two are the same.
    """

    format: str = "ziya"
    qformer_text: str = "turn"
    before: str = ""
    after: str = ""
    opening: str = ""
    closing: str = ""
    every_bos: bool = False
    stop: str = ""
    qformer_turn: str = "last"

    @property
    def words(self) -> Format:
        """The words around questions and answers."""
        if self.format != OWN:
            return FORMATS[self.format]
        return Format(
            self.before, self.after, self.opening, self.closing, self.every_bos, self.stop
        )

    def ask(self, question: str, first: bool = True) -> str:
        """A turn up to where the model speaks; `first` in its dialogue, or a later one."""
        words = self.words
        return (words.opening if first else "") + words.before + question.strip() + words.after

    def answer(self, text: str) -> str:
        """An answer as it stands before its `</s>`."""
        return text.strip() + self.words.closing

    def heard(self, text: str) -> str:
        """The answer in what a model said: up to the words that would begin another turn."""
        stop = self.words.stop
        return (text.partition(stop)[0] if stop else text).strip()

    def instruction(self, question: str) -> str:
        """What the Q-Former of Chat reads for `question`, whatever was said before."""
        return self.ask(question) if self.qformer_text == "turn" else question.strip()


ZIYA = PromptConfig()
