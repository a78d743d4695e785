"""A conversation about images: earlier texts and images precede the next question."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from zv_jax.data.text.dialogue import IMAGE, Exchange
from zv_jax.inference.answers import Growing
from zv_jax.inference.decoding import Beam, Decoding, Greedy, Sample
from zv_jax.inference.model import Model
from zv_jax.inference.prompts import Image, existing

_SEEDS_APART = 1009  # between the seeds of one turn and the next


class Chat:
    """A dialogue with `model`, in English or Chinese, with new images in any turn.

        chat = zv_jax.Chat(zv_jax.from_pretrained("runs/quickstart/stage2_chat"))
        chat.ask("What is in the image?", images=["a.png"])
        for piece in chat.stream("图里还有什么？"):
            print(piece, end="")

    When the conversation exceeds the model's length, its oldest texts are dropped, but no images.

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
        self._turns: tuple[Exchange, ...] = ()
        self._images: tuple[Image, ...] = ()

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
        turn, shown = self._next(text, images)
        (answer,) = self.model.answer(
            [(turn,)],
            [shown],
            max_new_tokens=self.max_new_tokens,
            history=[self._turns],
            decoding=self._method(),
            stop=self.stop,
        )
        self._keep(turn, answer, shown)
        return answer

    def stream(self, text: str, images: Sequence[Image] = ()) -> Iterator[str]:
        """The answer of `ask` in pieces, each as soon as it is final.

        A search has no token before its end: its answer is one piece. The turn joins the
        conversation once the last piece has been read.

        Raises:
            DataError: as in `ask`.
        """
        method = self._method()
        if isinstance(method, Beam):
            yield self.ask(text, images)
            return
        turn, shown = self._next(text, images)
        tokenizer = existing(self.model.tokenizer, "answers")
        prompt = self.model.config.model.prompt
        inputs = self.model.processor(
            [(turn,)], [shown], history=[self._turns], max_new_tokens=self.max_new_tokens
        )
        answer = Growing(tokenizer, prompt, self.stop)
        for column in self.model.stream(inputs, method, max_new_tokens=self.max_new_tokens):
            if new := answer.add(int(column[0])):
                yield new
            if answer.ended:
                break
        if rest := answer.finish():
            yield rest
        self._keep(turn, answer.text, shown)

    def _next(self, text: str, images: Sequence[Image]) -> tuple[Exchange, tuple[Image, ...]]:
        """The exchange that `text` begins, and all images so far."""
        shown = (*self._images, *images)
        new = tuple(range(len(self._images), len(shown)))
        return Exchange(text.replace(IMAGE, "").strip(), None, new), shown

    def _method(self) -> Decoding:
        if not isinstance(self.decoding, Sample):
            return self.decoding
        seeds = self.decoding.seeds(1) + _SEEDS_APART * len(self._turns)
        return dataclasses.replace(self.decoding, seed=int(seeds[0]))

    def _keep(self, turn: Exchange, answer: str, shown: tuple[Image, ...]) -> None:
        self._turns += (Exchange(turn.question, answer, turn.images),)
        self._images = shown
