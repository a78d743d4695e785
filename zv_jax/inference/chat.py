"""A conversation about images: earlier texts and images precede the next question."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from zv_jax.data.text.dialogue import IMAGE, Exchange
from zv_jax.errors import DataError
from zv_jax.inference import answers
from zv_jax.inference.decoding import Beam, Decoding, Greedy, Sample
from zv_jax.inference.model import Model
from zv_jax.inference.prompts import Image, existing, no_text
from zv_jax.inference.reading import Reading

_SEEDS_APART = 1009  # between the seeds of one turn and the next
_RETRIES_APART = 7_368_787  # and of one answer to a question and another


class _Asked(NamedTuple):
    """A question in its conversation.

    Attributes:
        before: the exchanges before it.
        shown: the images of these.
        text: the question itself.
        images: that come with it.
        retries: how often it was asked before.
    """

    before: tuple[Exchange, ...]
    shown: tuple[Image, ...]
    text: str
    images: tuple[Image, ...]
    retries: int


class Chat:
    """A dialogue with `model`, in English or Chinese, with new images in any turn.

        chat = zv_jax.Chat(zv_jax.from_pretrained("runs/quickstart/stage2_chat"))
        chat.ask("What is in the image?", images=["a.png"])
        for piece in chat.stream("图里还有什么？"):
            print(piece, end="")

    When the conversation exceeds the model's length, its oldest texts are dropped, but no images.
    What a turn computed is kept for the next one (`inference/reading.py`).

    Args:
        model: of stage 1 or 2.
        decoding: as in `Model.generate`; with `Sample` each turn has its own seed.
        max_new_tokens: the maximum length of an answer.
        stop: words that end an answer and are not part of it.
    """

    def __init__(
        self,
        model: Model,
        decoding: Decoding | None = None,
        *,
        max_new_tokens: int = 64,
        stop: Sequence[str] = (),
    ):
        self.model, self.max_new_tokens, self.stop = model, max_new_tokens, tuple(stop)
        self.decoding = decoding or Greedy()
        self.reset()

    def reset(self) -> None:
        """Forgets the conversation."""
        self.resume((), ())

    def resume(self, history: Sequence[Exchange], images: Sequence[Image]) -> None:
        """Goes on from another conversation.

        Args:
            history: its exchanges, with answers; their `images` number those of the next argument.
            images: all of it, in the order shown.
        """
        self._turns, self._images = tuple(history), tuple(images)
        self._retries = 0

    @property
    def history(self) -> tuple[Exchange, ...]:
        """The exchanges so far; their `images` number the images in the order shown."""
        return self._turns

    def ask(self, text: str, images: Sequence[Image] = ()) -> str:
        """The answer to `text`, given `images` and the conversation so far.

        Raises:
            DataError: an image cannot be read, or the images leave no room for text. The
                conversation is then unchanged.
        """
        return "".join(self.stream(text, images))

    def stream(self, text: str, images: Sequence[Image] = ()) -> Iterator[str]:
        """The answer of `ask` in pieces, each as soon as it is final.

        A search has no token before its end: its answer is one piece. The turn joins the
        conversation once the last piece has been read.

        Raises:
            DataError: as in `ask`.
        """
        no_text(images, "images", '["a.png"]')
        yield from self._answered(_Asked(self._turns, self._images, text, tuple(images), 0))

    def retry(self, text: str | None = None) -> Iterator[str]:
        """Another answer to the last question, or to `text` in its place, about the same images.

        In pieces, as `stream`; with `Sample` it is drawn anew. It takes the place of the last
        exchange once its last piece has been read.

        Raises:
            DataError: as in `ask`, or nothing was asked yet.
        """
        if not self._turns:
            raise DataError(
                "there is no question to ask again",
                where="retry",
                expected="a conversation with an exchange",
                fix="ask a question first",
            )
        *before, last = self._turns
        known = len(self._images) - len(last.images)
        question = last.question if text is None else text
        asked = _Asked(
            tuple(before), self._images[:known], question, self._images[known:], self._retries + 1
        )
        yield from self._answered(asked)

    def _answered(self, asked: _Asked) -> Iterator[str]:
        """The answer in pieces; then the exchange joins the conversation."""
        shown = (*asked.shown, *asked.images)
        new = tuple(range(len(asked.shown), len(shown)))
        turn = Exchange(asked.text.replace(IMAGE, "").strip(), None, new)
        pieces: list[str] = []
        for piece in self._pieces(asked, turn, shown):
            pieces.append(piece)
            yield piece
        self._turns = (*asked.before, Exchange(turn.question, "".join(pieces), new))
        self._images, self._retries = shown, asked.retries

    def _pieces(self, asked: _Asked, turn: Exchange, shown: tuple[Image, ...]) -> Iterator[str]:
        method = self._method(asked)
        processor, prompt = self.model.processor, self.model.config.model.prompt
        row = processor.question(
            (turn,), shown, history=asked.before, max_new_tokens=self.max_new_tokens
        )
        self.model.check_answers(bool(row.images))
        tokenizer = existing(self.model.tokenizer, "answers")
        if isinstance(method, Beam):
            best = next(answers.of(self._reading.search(row), tokenizer, prompt, self.stop))
            yield from [best.text] if best.text else []
            return
        answer = answers.Growing(tokenizer, prompt, self.stop)
        (seed,) = method.seeds(1) if isinstance(method, Sample) else (0,)
        for token in self._reading.answer(row, int(seed)):
            if new := answer.add(token):
                yield new
            if answer.ended:
                break
        if rest := answer.finish():
            yield rest

    @functools.cached_property
    def _reading(self) -> Reading:
        return Reading(self.model, self.decoding, self.max_new_tokens)

    def prepare(self) -> None:
        """Compiles in the background what a short question needs, before it is asked."""
        self._reading.prepare()

    def close(self) -> None:
        """Gives up what `prepare` has not done yet; the conversation can go on."""
        if "_reading" in self.__dict__:
            self._reading.close()

    def _method(self, asked: _Asked) -> Decoding:
        if not isinstance(self.decoding, Sample):
            return self.decoding
        apart = _SEEDS_APART * len(asked.before) + _RETRIES_APART * asked.retries
        (seed,) = (self.decoding.seeds(1) + apart).astype(np.uint32)
        return dataclasses.replace(self.decoding, seed=int(seed))
