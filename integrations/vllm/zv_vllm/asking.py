"""The question in a prompt, and what the Q-Former of Chat reads of it.

vLLM gives a plugin the ids of a rendered prompt, not its messages. A turn begins behind the `</s>`
of the last answer, and the words of the model's format, which the export states in `config.json`,
enclose the question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zv_vllm.errors import Refused


@dataclass(frozen=True)
class Asking:
    """How a model is asked.

    Attributes:
        opening: text before the first turn.
        before, after: text around a question.
        turn: the Q-Former reads the prompt that asks this question alone; otherwise the bare
            question.
    """

    opening: str = ""
    before: str = ""
    after: str = ""
    turn: bool = True

    @classmethod
    def stated(cls, fields: Mapping[str, Any] | None) -> Asking:
        """As the field `zv_jax` of `config.json` says; without one, as InstructBLIP is asked.

        Raises:
            Refused: the export is older than the field's words.
        """
        if fields is None:
            return cls()
        try:
            words = fields["words"]
            return cls(
                words["opening"],
                words["before"],
                words["after"],
                fields["prompt"]["qformer_text"] == "turn",
            )
        except (KeyError, TypeError) as error:
            raise Refused(
                f"the export does not say how the model is asked: {error}",
                where="config.json (zv_jax)",
                expected="prompt and words, as zv convert to-hf writes them",
                fix="export the model again",
            ) from None

    def ask(self, question: str) -> str:
        """The prompt of one turn, without `<s>`."""
        return self.opening + self.before + question + self.after

    def instruction(self, turn: str) -> str:
        """What the Q-Former reads for `turn`, the text of a prompt's last turn.

        Raises:
            Refused: the text does not have the words of the format.
        """
        text = turn.removeprefix(self.opening)
        if not (text.startswith(self.before) and text.endswith(self.after)):
            raise Refused(
                f"the prompt ends in a turn that is none of this model's: {turn[-80:]!r}",
                where="prompt",
                expected=f"{self.before!r}, a question, {self.after!r}",
                fix="send messages, which the chat template renders, or give the Q-Former's text: "
                '"mm_processor_kwargs": {"qformer_text": ...}',
            )
        question = text[len(self.before) : len(text) - len(self.after)].strip()
        return self.ask(question) if self.turn else question


def last_turn(ids: Sequence[int], end: int, left_out: set[int]) -> list[int]:
    """The ids behind the last `end`, without those `left_out`: images and `<s>`."""
    later = 1 + max((i for i, token in enumerate(ids) if token == end), default=-1)
    return [token for token in ids[later:] if token not in left_out]
