"""A conversation about pictures: what was said and shown so far goes before the next question."""

from __future__ import annotations

from collections.abc import Sequence

from zv_jax.data.text.dialogue import IMAGE, Exchange
from zv_jax.inference.model import Model
from zv_jax.inference.prompts import Picture

_SEEDS_APART = 1009  # a turn draws by other numbers than the turn before


class Chat:
    """Asks `model` in turns, in English or Chinese, with new pictures in any turn.

        chat = Chat(load("runs/quickstart/stage2_chat"))
        chat.ask("What is in the picture?", images=["a.png"])
        chat.ask("图里还有什么？")

    When the conversation grows beyond the model's length its oldest texts are left out, and none
    of its pictures.

    Args:
        model: one that speaks (stage 1 or 2).
        max_new_tokens, temperature, top_p, seed: as in `Model.answer`.
    """

    def __init__(
        self,
        model: Model,
        max_new_tokens: int = 64,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
    ):
        self.model, self.max_new_tokens = model, max_new_tokens
        self.temperature, self.top_p, self.seed = temperature, top_p, seed
        self.reset()

    def reset(self) -> None:
        """Forgets all that was said and shown."""
        self._turns: tuple[Exchange, ...] = ()
        self._pictures: tuple[Picture, ...] = ()

    @property
    def history(self) -> tuple[Exchange, ...]:
        """The exchanges so far; their `images` number the pictures in the order shown."""
        return self._turns

    def ask(self, text: str, images: Sequence[Picture] = ()) -> str:
        """The answer to `text`, asked about `images` and all that came before.

        Raises:
            DataError: a picture cannot be read, or the pictures leave no room for text. The
                conversation is then as before.
        """
        pictures = (*self._pictures, *images)
        new = tuple(range(len(self._pictures), len(pictures)))
        turn = Exchange(text.replace(IMAGE, "").strip(), None, new)
        (answer,) = self.model.answer(
            [(turn,)],
            [pictures],
            max_new_tokens=self.max_new_tokens,
            history=[self._turns],
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed + _SEEDS_APART * len(self._turns),
        )
        self._turns += (Exchange(turn.question, answer, new),)
        self._pictures = pictures
        return answer
