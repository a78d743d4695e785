"""OpenAI's messages as the exchanges of a dialogue, and the images they show.

- Images of a message come before its text, as in training; where they are among its parts does not
  matter. Its texts are lines of one question.
- A system message belongs to the next question; the model's prompt format says how it is written.
  The Q-Former of Chat reads the question alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zv_jax.data.text.dialogue import IMAGE, Exchange
from zv_jax.errors import DataError
from zv_jax.serving.requests import Message, TextPart

_FIX = "send user, assistant, ..., user; the last message asks"


@dataclass(frozen=True)
class Shown:
    """An image of a request: its address, and the field that holds it."""

    url: str
    where: str


@dataclass(frozen=True)
class Dialogue:
    """What was said and shown.

    Attributes:
        turns: the last one has no answer.
        images: of all turns, in order; the turns number them.
    """

    turns: tuple[Exchange, ...]
    images: tuple[Shown, ...]


def dialogue_of(messages: Sequence[Message]) -> Dialogue:
    """The dialogue in a request.

    Raises:
        DataError: roles are out of order, a message is empty, or one shows images that only a
            user's may.
    """
    turns: list[Exchange] = []
    images: list[Shown] = []
    system: list[str] = []
    asked: list[str] = []
    first = 0  # image of the turn
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        text, shown = _parts(message, where)
        if message.role == "user":
            asked.append(text)
            images += shown
        elif shown:
            raise DataError(
                f"a message of the {message.role} shows an image",
                where=where,
                expected="images in messages of the user",
                fix="move it there",
            )
        elif message.role == "assistant":
            if not asked:
                raise DataError("an answer without a question", where, "a question first", _FIX)
            turns.append(_exchange(system, asked, text, range(first, len(images))))
            system, asked, first = [], [], len(images)
        else:
            system.append(text)
    if not asked or messages[-1].role != "user":
        where = f"messages[{len(messages) - 1}]"
        raise DataError("there is no question to answer", where, "a user's message last", _FIX)
    turns.append(_exchange(system, asked, None, range(first, len(images))))
    return Dialogue(tuple(turns), tuple(images))


def _exchange(
    system: Sequence[str], asked: Sequence[str], answer: str | None, images: range
) -> Exchange:
    told, question = ("\n".join(filter(None, texts)) for texts in (system, asked))
    return Exchange(question, answer, tuple(images), system=told or None)


def _parts(message: Message, where: str) -> tuple[str, list[Shown]]:
    """The text of a message, and its images."""
    if isinstance(message.content, str):
        texts, shown = [message.content], []
    else:
        texts = [part.text for part in message.content if isinstance(part, TextPart)]
        shown = [
            Shown(part.image_url.url, f"{where}.content[{i}].image_url")
            for i, part in enumerate(message.content)
            if not isinstance(part, TextPart)
        ]
    text = "\n".join(texts).replace(IMAGE, "").strip()
    if message.role == "user" and not text and not shown:
        raise DataError("an empty message", where, "text or an image", "leave it out")
    return text, shown
