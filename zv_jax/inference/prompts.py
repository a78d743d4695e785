"""Questions and pictures to the arrays of a prompt, in the layout the model was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zv_jax.config import Config
from zv_jax.data.images import decode as images
from zv_jax.data.text import dialogue
from zv_jax.data.text.dialogue import IMAGE, Exchange
from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.errors import ConfigError, DataError

Picture = Any
"""A PIL image, the path or the bytes of a file, or a uint8 array [H, W, 3]."""

Prompt = str | Sequence[Exchange]
"""A question, or a dialogue whose last exchange is to be answered."""

_SHORTEST = 16


@dataclass(frozen=True)
class Question:
    """One row before padding: ids, the pictures of its image blocks, the Q-Former's text."""

    input_ids: list[int]
    pictures: tuple[Picture, ...]
    qformer_ids: list[int]


def bucket(n: int) -> int:
    """The smallest of 1, 2, 3, 4, 6, 8, 12, 16, 24, ... that is at least `n`.

    Few shapes are compiled and less than a third of one is padding.
    """
    power = 1 << (n - 1).bit_length()
    smaller = power * 3 // 4
    return smaller if n <= smaller else power


def turns_of(
    prompt: Prompt, pictures: int, history: Sequence[Exchange] = ()
) -> tuple[Exchange, ...]:
    """The whole dialogue: `history`, then the prompt.

    A question in words introduces all pictures that no earlier exchange did; `<image>` in it is
    left out, since the layout puts pictures before the text.

    Raises:
        DataError: there is no exchange, one but the last has no answer, or one names a picture
            that is not there.
    """
    if isinstance(prompt, str):
        used = {i for turn in history for i in turn.images}
        new = tuple(i for i in range(pictures) if i not in used)
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
    wrong = [i for turn in turns for i in turn.images if not 0 <= i < pictures]
    if wrong:
        raise DataError(
            f"an exchange shows picture {wrong[0]}, and there are {pictures}",
            where="images",
            expected="all pictures of the dialogue, in the order of their numbers",
            fix="give the pictures of the history too",
        )
    return turns


def question(
    prompt: Prompt,
    pictures: Sequence[Picture],
    config: Config,
    tokenizers: tuple[Tokenizer, Tokenizer],
    *,
    max_new_tokens: int,
    history: Sequence[Exchange] = (),
    instruction: str | None = None,
) -> Question:
    """The row of one prompt; the Q-Former of Chat reads the last question, unless given another.

    Raises:
        DataError: see `turns_of`; or the pictures leave no room for text.
        ConfigError: `max_new_tokens` leaves no room for a prompt.
    """
    model = config.model
    turns = turns_of(prompt, len(pictures), history)
    row = dialogue.prompt_row(
        turns,
        tokenizers[0],
        num_queries=model.qformer.num_queries,
        image_token_id=model.image_token_id,
        max_length=longest_prompt(config, max_new_tokens),
        prompt=model.prompt,
    )
    asked = turns[-1].question if instruction is None else instruction.replace(IMAGE, "")
    ids: list[int] = []
    if model.qformer_sees_instruction:
        text = model.prompt.instruction(asked)
        ids = dialogue.qformer_ids(text, tokenizers[1], config.data.max_qformer_text)
    return Question(row.input_ids, tuple(pictures[i] for i in row.images), ids)


def questions(
    prompts: Sequence[Prompt],
    images: Sequence[Sequence[Picture]] | None,
    config: Config,
    tokenizers: tuple[Tokenizer, Tokenizer],
    *,
    max_new_tokens: int,
    history: Sequence[Sequence[Exchange]] | None = None,
    instructions: Sequence[str] | None = None,
) -> list[Question]:
    """The row of every prompt; what is None is nothing for each of them. See `question`.

    Raises:
        DataError: there are not as many pictures, histories or instructions as prompts.
    """
    images = [()] * len(prompts) if images is None else images
    history = [()] * len(prompts) if history is None else history
    given = [None] * len(prompts) if instructions is None else instructions
    if not len(prompts) == len(images) == len(history) == len(given):
        raise DataError(
            f"{len(prompts)} prompts, {len(images)} lists of images, {len(history)} histories "
            f"and {len(given)} instructions",
            where="answer",
            expected="one of each for every prompt",
            fix="give [[image]] for one prompt about one picture",
        )
    if not all(isinstance(row, list | tuple) for row in images):
        raise DataError(
            "the pictures of a prompt are no list",
            where="images",
            expected="a list of pictures for every prompt",
            fix="give [[image]] for one prompt about one picture",
        )
    return [
        question(
            prompt,
            pictures,
            config,
            tokenizers,
            max_new_tokens=max_new_tokens,
            history=past,
            instruction=instruction,
        )
        for prompt, pictures, past, instruction in zip(prompts, images, history, given, strict=True)
    ]


def longest_prompt(config: Config, max_new_tokens: int) -> int:
    """Ids of a prompt that leave room for the answer.

    Raises:
        ConfigError: there is no room, or nothing is to be generated.
    """
    positions = config.model.llm.max_positions
    if not 1 <= max_new_tokens <= positions - _SHORTEST:
        raise ConfigError(
            f"{max_new_tokens} new tokens",
            where="max_new_tokens",
            expected=f"from 1 to {positions - _SHORTEST}; the language model has {positions} "
            "positions",
            fix="ask for a number in that range",
        )
    return positions - max_new_tokens


def collate(
    questions: Sequence[Question],
    config: Config,
    tokenizers: tuple[Tokenizer, Tokenizer],
    *,
    max_new_tokens: int,
) -> dict[str, np.ndarray | None]:
    """The arrays that `Model.generate` takes, their lengths rounded up to a bucket.

    `images` is None when no row has a picture; the Q-Former's text is None then, and for Base.
    """
    model = config.model
    longest = max(_SHORTEST, *(len(q.input_ids) for q in questions))
    length = min(bucket(longest), longest_prompt(config, max_new_tokens))
    ids, mask = dialogue.pad_left([q.input_ids for q in questions], tokenizers[0].pad_id, length)
    out: dict[str, np.ndarray | None] = {
        "images": pixels(
            [q.pictures for q in questions], model.vision.image_size, config.data.transparency
        ),
        "input_ids": ids,
        "attention_mask": mask,
        "qformer_input_ids": None,
        "qformer_attention_mask": None,
    }
    if model.qformer_sees_instruction and out["images"] is not None:
        rows = [q.qformer_ids for q in questions]
        size = config.data.max_qformer_text
        out["qformer_input_ids"] = dialogue.pad_right(rows, tokenizers[1].pad_id, size)
        out["qformer_attention_mask"] = dialogue.mask_of(rows, size)
    return out


def pixels(
    rows: Sequence[Sequence[Picture]], size: int, transparency: str = images.TRANSPARENCY[0]
) -> np.ndarray | None:
    """uint8 [B, I, size, size, 3]; places without a picture are 0; None if there is no picture.

    `transparency` is that of the images the model was trained on (`data.transparency`).

    Raises:
        DataError: a picture cannot be read.
    """
    count = max(map(len, rows))
    if not count:
        return None
    out = np.zeros((len(rows), count, size, size, 3), np.uint8)
    for target, row in zip(out, rows, strict=True):
        for place, picture in enumerate(row):
            target[place] = images.preprocess(picture, size, transparency)
    return out
