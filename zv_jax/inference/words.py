"""What a model with a language tower does with prompts: answer, rank given answers, generate."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from zv_jax.config import Config
from zv_jax.data.text.dialogue import Exchange
from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.errors import ConfigError, DataError
from zv_jax.inference import beam
from zv_jax.inference import prompts as prompts_lib
from zv_jax.inference import ranking as ranking_lib
from zv_jax.inference import sample as decode
from zv_jax.inference import trie as trie_lib
from zv_jax.inference.arrays import check_arrays
from zv_jax.inference.prompts import Picture, Prompt, Question
from zv_jax.inference.ranking import Ranking
from zv_jax.inference.trie import Trie

BATCH = 64  # most rows computed at once
WORDS = ("llm",)
SEES = ("vision", "qformer", "projector")


class Words:
    """The part of `api.Model` that speaks."""

    config: Config
    tokenizer: Tokenizer | None
    _both: tuple[Tokenizer | None, Tokenizer | None]
    _need: Callable[..., None]
    _batched: Callable[..., np.ndarray]

    def answer(
        self,
        prompts: Sequence[Prompt],
        images: Sequence[Sequence[Picture]] | None = None,
        max_new_tokens: int = 32,
        history: Sequence[Sequence[Exchange]] | None = None,
        instructions: Sequence[str] | None = None,
        *,
        choices: Sequence[str] | None = None,
        seed: int = 0,
        **decoding: Any,
    ) -> list[str]:
        """The answers to questions, in their order.

        Args:
            prompts: questions, or dialogues whose last exchange is to be answered.
            images: for each prompt a list of all its pictures, those of its history first.
            max_new_tokens: the longest answer.
            history: for each prompt the exchanges before it.
            instructions: for each prompt what the Q-Former of Chat reads, in place of the last
                question.
            choices: the only answers allowed, for all prompts.
            seed: of drawing; prompt i draws by seed + i, whatever the other prompts are.
            decoding: `temperature`, `top_p`, `num_beams`, `length_penalty` and `min_new_tokens`,
                as in `generate`.

        Raises:
            ConfigError: the checkpoint cannot speak (stage 0) or see, or a number is out of range.
            DataError: a picture, a dialogue or a choice is wrong.
        """
        self._need(WORDS, "answers", self.tokenizer)
        trie = None
        if choices is not None:
            eos, prompt = self.tokenizer.eos_id, self.config.model.prompt
            trie = trie_lib.build([self.tokenizer.encode(prompt.answer(c)) for c in choices], eos)
            max_new_tokens = trie.depth
        questions = self._questions(prompts, images, max_new_tokens, history, instructions)
        answers = [""] * len(questions)
        for part, arrays in self._parts(questions, max_new_tokens):
            ids = self.generate(
                **arrays,
                max_new_tokens=max_new_tokens,
                seed=[seed + i for i in part],
                trie=trie,
                **decoding,
            )
            for i, row in zip(part, ids, strict=True):
                answers[i] = self.config.model.prompt.heard(self.tokenizer.decode(row))
        return answers

    def rank(
        self,
        prompts: Sequence[Prompt],
        choices: Sequence[Sequence[str]],
        images: Sequence[Sequence[Picture]] | None = None,
        history: Sequence[Sequence[Exchange]] | None = None,
        instructions: Sequence[str] | None = None,
        *,
        norm: str = "sum",
    ) -> list[Ranking]:
        """How probable each of the given answers is: no answer is made up, none has to be read.

        Args:
            prompts, images, history, instructions: as in `answer`.
            choices: for each prompt its candidates.
            norm: ``sum`` of the log-probabilities of the tokens and of `</s>`; ``token_mean`` or
                ``char``, that sum per token or per character; ``pmi``, the sum less what the same
                words get without the picture.

        Raises:
            ConfigError, DataError: as in `answer`; or a prompt has no candidate.
        """
        self._need(WORDS, "answers", self.tokenizer)
        ranking_lib.check(choices, norm)
        tokens, prompt = self.tokenizer, self.config.model.prompt
        rows = [
            [[*tokens.encode(prompt.answer(c)), tokens.eos_id] for c in texts] for texts in choices
        ]
        longest = max((len(ids) for row in rows for ids in row), default=1)
        questions = self._questions(prompts, images, longest, history, instructions)
        if len(rows) != len(questions):
            raise DataError(
                f"{len(questions)} prompts and {len(rows)} lists of choices",
                where="rank",
                expected="a list of candidates for every prompt",
            )
        sums = self._scores(questions, rows, longest)
        blind: list[np.ndarray | None] = [None] * len(rows)
        if norm == "pmi":
            size = self.config.model.vision.image_size
            blind = list(self._scores(ranking_lib.blinded(questions, size), rows, longest))
        lengths = [np.array([len(ids) for ids in row], np.float32) for row in rows]
        return [
            ranking_lib.ranking(ranking_lib.normalise(*row, norm, without))
            for *row, without in zip(sums, lengths, choices, blind, strict=True)
        ]

    def _scores(
        self, questions: Sequence[Question], rows: Sequence[list[list[int]]], longest: int
    ) -> list[np.ndarray]:
        """Sums of log-probabilities of the candidates of every row."""
        self._need(WORDS + SEES * any(q.pictures for q in questions), "answers")
        found: list[np.ndarray] = [np.zeros(0)] * len(rows)
        for part, arrays in self._parts(questions, longest):
            ids, mask = ranking_lib.candidate_arrays([rows[i] for i in part], self.tokenizer.pad_id)
            check_arrays(*arrays.values(), self.config.model)
            chunk = ranking_lib.chunk_of(ids.shape[1])
            run = functools.partial(ranking_lib.score, cfg=self.config.model, chunk=chunk)
            for i, row in zip(part, self._batched(run, *arrays.values(), ids, mask), strict=True):
                found[i] = row[: len(rows[i])]
        return found

    def _questions(
        self,
        prompts: Sequence[Prompt],
        images: Sequence[Sequence[Picture]] | None,
        max_new_tokens: int,
        history: Sequence[Sequence[Exchange]] | None,
        instructions: Sequence[str] | None,
    ) -> list[Question]:
        return prompts_lib.questions(
            prompts,
            images,
            self.config,
            self._both,
            max_new_tokens=max_new_tokens,
            history=history,
            instructions=instructions,
        )

    def _parts(
        self, questions: Sequence[Question], max_new_tokens: int
    ) -> Iterator[tuple[list[int], dict[str, np.ndarray | None]]]:
        """Numbers of rows that are alike, at most `BATCH` of them, and their arrays."""
        order = sorted(
            range(len(questions)),
            key=lambda i: (len(questions[i].pictures), len(questions[i].input_ids)),
        )
        for start in range(0, len(order), BATCH):
            part = order[start : start + BATCH]
            rows = [questions[i] for i in part]
            yield (
                part,
                prompts_lib.collate(rows, self.config, self._both, max_new_tokens=max_new_tokens),
            )

    def generate(
        self,
        images: np.ndarray | None,
        input_ids: np.ndarray,
        attention_mask: np.ndarray,
        qformer_input_ids: np.ndarray | None = None,
        qformer_attention_mask: np.ndarray | None = None,
        max_new_tokens: int = 32,
        *,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | Sequence[int] = 0,
        num_beams: int = 1,
        length_penalty: float = 1.0,
        min_new_tokens: int = 0,
        trie: Trie | None = None,
    ) -> np.ndarray:
        """Ids that follow rows of ids; `answer` is this with texts.

        Args:
            images: uint8 [B, I, H, W, 3], resized; None without pictures.
            input_ids: int [B, T], padded on the left, each image as `num_queries` placeholders.
            attention_mask: bool [B, T].
            qformer_input_ids: int [B, S], `[CLS] instruction [SEP]`; Chat needs it with images.
            qformer_attention_mask: bool [B, S].
            max_new_tokens: the most that follow.
            temperature: 0 takes the most probable token each time; above, tokens are drawn.
            top_p: draw from the most probable tokens that hold this share of the probability.
            seed: one for each row, or the first row's, from which the others count on.
            num_beams: above 1, beam search; then nothing is drawn.
            length_penalty, min_new_tokens: of beam search, see `beam.beam_search`.
            trie: the only answers allowed.

        Returns:
            int32 [B, max_new_tokens]: `</s>` is followed by padding.

        Raises:
            ConfigError: see `answer`; or the row is too long for the language model.
            DataError: the arrays do not fit each other, as when a row has other placeholders than
                its images need.
        """
        self._need(WORDS if images is None else WORDS + SEES, "answers", self.tokenizer)
        text = qformer_input_ids, qformer_attention_mask
        rows = images, input_ids, attention_mask, *text
        check_arrays(*rows, self.config.model)
        searches = num_beams > 1 or trie is not None or min_new_tokens > 0
        _check_decoding(temperature, top_p, num_beams, searches)
        room = prompts_lib.longest_prompt(self.config, max_new_tokens)
        if input_ids.shape[1] > room:
            raise ConfigError(
                f"a prompt of {input_ids.shape[1]} ids and {max_new_tokens} new tokens",
                where="input_ids",
                expected=f"at most {room} ids",
                fix="shorten the prompt, or lower max_new_tokens",
            )
        common = dict(
            cfg=self.config.model,
            max_new_tokens=max_new_tokens,
            eos_id=self.tokenizer.eos_id,
            pad_id=self.tokenizer.pad_id,
        )
        if searches:
            edges = None if trie is None else (trie.parent, trie.token, trie.child)
            return self._batched(
                lambda variables, *arrays: beam.beam_search(
                    variables,
                    *arrays,
                    edges,
                    num_beams=num_beams,
                    length_penalty=length_penalty,
                    min_new_tokens=min_new_tokens,
                    **common,
                )[0],
                *rows,
            )
        seeds = np.asarray(seed + np.arange(len(input_ids)) if np.ndim(seed) == 0 else seed)
        return self._batched(
            lambda variables, *arrays: decode.generate(
                variables,
                *arrays,
                sample=temperature > 0,
                temperature=temperature or 1.0,
                top_p=top_p,
                **common,
            ),
            *rows,
            seeds.astype(np.uint32),
        )


def _check_decoding(temperature: float, top_p: float, num_beams: int, searches: bool) -> None:
    if temperature < 0 or not 0 < top_p <= 1:
        raise ConfigError(
            f"temperature {temperature} with top_p {top_p}",
            where="temperature, top_p",
            expected="a temperature of 0 or more, top_p above 0 and at most 1",
            fix="leave them out for the most probable answer",
        )
    if num_beams < 1 or (searches and temperature > 0):
        raise ConfigError(
            f"{num_beams} beams with temperature {temperature}",
            where="num_beams",
            expected="at least 1, and no temperature with a search or with choices",
            fix="leave one of them out",
        )
