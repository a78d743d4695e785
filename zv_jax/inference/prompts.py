"""`Processor`: questions and images to `Inputs`, in the layout the model was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
from jaxtyping import Bool, Int32, UInt8

from zv_jax.config import Config
from zv_jax.data.images import decode
from zv_jax.data.text import dialogue
from zv_jax.data.text.dialogue import IMAGE, Exchange
from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.errors import ConfigError, DataError
from zv_jax.inference.inputs import Inputs

Image = Any
"""A PIL image, the path or the bytes of a file, or a uint8 array [H, W, 3]."""

Prompt = str | Sequence[Exchange]
"""A question, or a dialogue whose last exchange is to be answered."""

_SHORTEST = 16


@dataclass(frozen=True)
class Question:
    """One row before padding: ids, the images of its image blocks, the Q-Former's ids."""

    input_ids: list[int]
    images: tuple[Image, ...]
    qformer_ids: list[int]


def bucket(n: int) -> int:
    """The smallest of 1, 2, 3, 4, 6, 8, 12, 16, 24, ... that is at least `n`.

    Rounding up to it compiles few shapes and adds less than a third of padding.
    """
    power = 1 << (n - 1).bit_length()
    smaller = power * 3 // 4
    return smaller if n <= smaller else power


def turns_of(prompt: Prompt, images: int, history: Sequence[Exchange] = ()) -> tuple[Exchange, ...]:
    """The dialogue: `history`, then the prompt.

    A question given as text introduces all images that no earlier exchange did; `<image>` in it is
    dropped, since the layout puts images before the text.

    Args:
        images: how many there are.

    Raises:
        DataError: there is no exchange, an earlier one has no answer, or one names a missing
            image.
    """
    if isinstance(prompt, str):
        used = {i for turn in history for i in turn.images}
        new = tuple(i for i in range(images) if i not in used)
        turns = (*history, Exchange(prompt.replace(IMAGE, "").strip(), None, new))
    else:
        turns = (*history, *prompt)
    if not turns or any(turn.answer is None for turn in turns[:-1]):
        raise DataError(
            "the dialogue cannot be continued",
            where="prompts",
            expected="an answer in every exchange but the last",
            fix="give the earlier answers, or only the last question",
        )
    wrong = [i for turn in turns for i in turn.images if not 0 <= i < images]
    if wrong:
        raise DataError(
            f"an exchange shows image {wrong[0]}, and there are {images}",
            where="images",
            expected="all images of the dialogue, in the order of their numbers",
            fix="give the images of the history too",
        )
    return turns


class Processor:
    """Makes the inputs of one model: `processor(texts=["What is here?"], images=[["a.png"]])`.

    Attributes:
        config: of the run that trained the model.
        tokenizer, qformer_tokenizer: of the language model and the Q-Former; None if not there.
    """

    def __init__(
        self, config: Config, tokenizer: Tokenizer | None, qformer_tokenizer: Tokenizer | None
    ):
        self.config = config
        self.tokenizer, self.qformer_tokenizer = tokenizer, qformer_tokenizer

    def __call__(
        self,
        texts: Sequence[Prompt],
        images: Sequence[Sequence[Image]] | None = None,
        *,
        history: Sequence[Sequence[Exchange]] | None = None,
        instructions: Sequence[str] | None = None,
        max_new_tokens: int = 32,
    ) -> Inputs:
        """One row for each text, padded on the left to a common length.

        Args:
            texts: questions, or dialogues whose last exchange is to be answered.
            images: for each text a list of all its images, those of its history first.
            history: for each text the exchanges before it.
            instructions: for each text what the Q-Former of Chat reads, in place of the last
                question.
            max_new_tokens: room to leave for the answer; a dialogue that is too long loses its
                oldest texts.

        Raises:
            DataError: an image cannot be read, a dialogue cannot be continued, the images leave no
                room for text, or the number of lists is not the number of texts.
            ConfigError: `max_new_tokens` leaves no room for a prompt, or a tokenizer is missing.
        """
        rows = self.questions(texts, images, history, instructions, max_new_tokens=max_new_tokens)
        return self.collate(rows, max_new_tokens=max_new_tokens)

    def question(
        self,
        prompt: Prompt,
        images: Sequence[Image],
        *,
        max_new_tokens: int,
        history: Sequence[Exchange] = (),
        instruction: str | None = None,
    ) -> Question:
        """The row of one prompt; the Q-Former of Chat reads the last question, or `instruction`.

        Raises:
            DataError, ConfigError: as in `__call__`.
        """
        model = self.config.model
        turns = turns_of(prompt, len(images), history)
        row = dialogue.prompt_row(
            turns,
            existing(self.tokenizer, "prompts"),
            num_queries=model.qformer.num_queries,
            image_token_id=model.image_token_id,
            max_length=self.longest_prompt(max_new_tokens),
            prompt=model.prompt,
        )
        asked = turns[-1].question if instruction is None else instruction.replace(IMAGE, "")
        ids: list[int] = []
        if model.qformer_sees_instruction:
            tokenizer = existing(self.qformer_tokenizer, "prompts")
            text = model.prompt.instruction(asked)
            ids = dialogue.qformer_ids(text, tokenizer, self.config.data.max_qformer_text)
        return Question(row.input_ids, tuple(images[i] for i in row.images), ids)

    def questions(
        self,
        prompts: Sequence[Prompt],
        images: Sequence[Sequence[Image]] | None = None,
        history: Sequence[Sequence[Exchange]] | None = None,
        instructions: Sequence[str] | None = None,
        *,
        max_new_tokens: int,
    ) -> list[Question]:
        """The row of every prompt; None is short for empty lists.

        Raises:
            DataError, ConfigError: as in `__call__`.
        """
        no_text(prompts, "prompts", '["What is in the picture?"]')
        no_text(images, "images", '[["a.png"]], a list of images for every prompt')
        images = [()] * len(prompts) if images is None else images
        history = [()] * len(prompts) if history is None else history
        asked = [None] * len(prompts) if instructions is None else instructions
        if not len(prompts) == len(images) == len(history) == len(asked):
            raise DataError(
                f"{len(prompts)} prompts, {len(images)} lists of images, {len(history)} histories "
                f"and {len(asked)} instructions",
                where="answer",
                expected="one of each for every prompt",
                fix="give [[image]] for one prompt about one image",
            )
        if not all(isinstance(row, list | tuple) for row in images):
            raise DataError(
                "the images of a prompt are no list",
                where="images",
                expected="a list of images for every prompt",
                fix="give [[image]] for one prompt about one image",
            )
        return [
            self.question(
                prompt, shown, max_new_tokens=max_new_tokens, history=past, instruction=instruction
            )
            for prompt, shown, past, instruction in zip(
                prompts, images, history, asked, strict=True
            )
        ]

    def collate(self, questions: Sequence[Question], *, max_new_tokens: int) -> Inputs:
        """The rows as arrays, their lengths rounded up to a bucket.

        `images` is None when no row has an image; the Q-Former's ids are None then, and for Base.
        """
        model, data = self.config.model, self.config.data
        longest = max(_SHORTEST, *(len(q.input_ids) for q in questions))
        length = min(bucket(longest), self.longest_prompt(max_new_tokens))
        pad_id = existing(self.tokenizer, "prompts").pad_id
        ids, mask = dialogue.pad_left([q.input_ids for q in questions], pad_id, length)
        size = model.vision.image_size
        images = pixels([q.images for q in questions], size, data.transparency)
        if images is None or not model.qformer_sees_instruction:
            return Inputs(images, ids, mask)
        rows = [q.qformer_ids for q in questions]
        pad_id = existing(self.qformer_tokenizer, "prompts").pad_id
        text = dialogue.pad_right(rows, pad_id, data.max_qformer_text)
        return Inputs(images, ids, mask, text, dialogue.mask_of(rows, data.max_qformer_text))

    def longest_prompt(self, max_new_tokens: int) -> int:
        """Most ids of a prompt that leave room for the answer.

        Raises:
            ConfigError: there is no room, or nothing is to be generated.
        """
        positions = self.config.model.llm.max_positions
        if not 1 <= max_new_tokens <= positions - _SHORTEST:
            raise ConfigError(
                f"{max_new_tokens} new tokens",
                where="max_new_tokens",
                expected=f"from 1 to {positions - _SHORTEST}; the language model has {positions} "
                "positions",
                fix="ask for a number in that range",
            )
        return positions - max_new_tokens

    def images(self, images: Sequence[Image]) -> UInt8[np.ndarray, "N height width 3"]:
        """Resized images.

        Raises:
            DataError: an image cannot be read.
        """
        no_text(images, "images", '["a.png"]')
        size = self.config.model.vision.image_size
        if not len(images):
            return np.zeros((0, size, size, 3), np.uint8)
        rows = pixels([[image] for image in images], size, self.config.data.transparency)
        assert rows is not None  # each row has an image
        return rows[:, 0]

    def qformer_texts(
        self, texts: Sequence[str], length: int | None = None, keep: str = "start"
    ) -> tuple[Int32[np.ndarray, "N S"], Bool[np.ndarray, "N S"]]:
        """Ids and mask that the Q-Former reads.

        Args:
            length: S; None takes that of the captions of stage 0.
            keep: the part of a longer text that is kept, "start" or "end".
        """
        no_text(texts, "texts", '["a red apple"]')
        length = length or self.config.data.max_text
        tokenizer = existing(self.qformer_tokenizer, "embeddings")
        rows = [dialogue.qformer_ids(t, tokenizer, length, keep) for t in texts]
        return dialogue.pad_right(rows, tokenizer.pad_id, length), dialogue.mask_of(rows, length)


def no_text(given: object, name: str, example: str) -> None:
    """Refuses one text, path or file where a list belongs: its characters would be the items.

    Raises:
        DataError: it is one.
    """
    if isinstance(given, str | bytes | PurePath):
        raise DataError(
            f"{name} is one {type(given).__name__}, {str(given)[:40]!r}, and no list",
            where=name,
            expected=f"a list such as {example}",
            fix="put it into brackets",
        )


def existing(tokenizer: Tokenizer | None, purpose: str) -> Tokenizer:
    """The tokenizer.

    Raises:
        ConfigError: there is none.
    """
    if tokenizer is None:
        raise ConfigError(
            f"without its tokenizer this checkpoint gives no {purpose}",
            where="the directory it came from had none",
            expected="a checkpoint with its tokenizer",
            fix="zv convert from-hf ... --tokenizer=FILE (or --qformer-tokenizer=FILE)",
        )
    return tokenizer


def pixels(
    rows: Sequence[Sequence[Image]], size: int, transparency: str = decode.TRANSPARENCY[0]
) -> UInt8[np.ndarray, "B I {size} {size} 3"] | None:
    """Resized images of each row; zeros fill rows with fewer; None if there is no image.

    `transparency` is that of the model's training images (`data.transparency`).

    Raises:
        DataError: an image cannot be read.
    """
    count = max(map(len, rows))
    if not count:
        return None
    out = np.zeros((len(rows), count, size, size, 3), np.uint8)
    for target, row in zip(out, rows, strict=True):
        for place, image in enumerate(row):
            target[place] = decode.preprocess(image, size, transparency)
    return out
