"""Records to rows of ids, in the one layout that training and inference share.

    turn k:  [image x num_queries, per picture the turn brings] [<s> before the first text only]
             "<human>:" question "\\n<bot>:"  |  answer </s>

Prompt and answer are tokenised apart, as they are at inference; only `answer </s>` carries labels.
The words around a question are those of the model's format (`models/prompt.py`), here Ziya-LLaMA's;
the order of image block and `<s>` is that of BLIP-2 and InstructBLIP in Hugging Face transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from zv_jax.data import rules
from zv_jax.data.records import OBJECT, Object, Record
from zv_jax.data.templates import instruction, seeded, template_id
from zv_jax.data.tokenizers import Tokenizer
from zv_jax.errors import DataError
from zv_jax.models.prompt import ZIYA, PromptConfig

IGNORE = -100
IMAGE = rules.IMAGE


@dataclass(frozen=True)
class Exchange:
    """A question, its answer (None: still to be given), the record's images it introduces, and the
    id of the template put in or around it, if one was."""

    question: str
    answer: str | None = None
    images: tuple[int, ...] = ()
    template: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Row:
    """One row of the LLM's input, without padding.

    Attributes:
      input_ids: image blocks and text.
      labels: of the same length, not shifted; `IGNORE` where there is no loss.
      images: which of the record's images the blocks stand for, in order.
    """

    input_ids: list[int]
    labels: list[int]
    images: tuple[int, ...]


def render_boxes(text: str, objects: Sequence[Object], decimals: int) -> str:
    """Replaces every `<obj_k>` by `[x1,y1,x2,y2]` of object k."""
    return OBJECT.sub(lambda match: box_text(objects[int(match[1])].box, decimals), text)


def box_text(box: Sequence[float], decimals: int) -> str:
    """`[0.12,0.25,0.50,0.62]`."""
    return "[" + ",".join(f"{value:.{decimals}f}" for value in box) + "]"


def pick_answer(record: Record, seed: int, epoch: int | None) -> str | None:
    """One of the answers, by weight; the first where `epoch` is None; None if there is none."""
    answers = rules.answers(record)
    if epoch is None or len(answers) < 2:
        return answers[0] if answers else None
    weights = np.asarray(record.weights or [1.0] * len(answers), float)
    if not weights.any():
        weights[:] = 1.0
    point = seeded(seed, record.id, epoch, "answer") / 2**32 * weights.sum()
    at = int(np.searchsorted(np.cumsum(weights), point, side="right"))
    return answers[min(at, len(answers) - 1)]


def caption(record: Record, seed: int = 0, epoch: int | None = None) -> str:
    """The text paired with the record's image: one of its answers, else its last assistant turn.

    Raises:
      DataError: see `rules.check`.
    """
    rules.require(record)
    said = [turn.text for turn in record.turns if turn.role == "assistant"]
    return said[-1] if said and not record.answers else pick_answer(record, seed, epoch) or ""


def _ask(record: Record, text: str, seed: int, epoch: int | None) -> tuple[str, str]:
    """The instruction put in a record's turns or around its question, and its template's id."""
    task = rules.template(record)
    choice = None if epoch is None else seeded(seed, record.id, epoch, "template")
    words = rules.words_of(record, text)
    text = instruction(task, record.lang, record.id, choice, **words)
    return text, template_id(task, record.lang, choice)


def exchanges(
    record: Record, *, box_decimals: int, seed: int = 0, epoch: int | None = None
) -> tuple[Exchange, ...]:
    """The dialogue of a record: boxes as text, instructions and missing answers filled in.

    A first assistant turn without a question gets an instruction of its task and language; a
    record whose `meta` names a `template` has its first question wrapped in one, and a `hint` in
    `meta` goes in a line before the question. The choice is seeded by id and epoch; `epoch=None`
    takes the evaluation prompt and the first answer.

    Raises:
      DataError: see `rules.check`.
    """
    rules.require(record)
    pairs: list[tuple[str, str]] = []
    pending: list[str] = []
    for turn in record.turns:
        if turn.role == "user":
            pending.append(turn.text)
        else:
            pairs.append(("\n".join(pending), turn.text))
            pending = []
    if pending or not pairs:
        pairs.append(("\n".join(pending), pick_answer(record, seed, epoch) or ""))
    if record.meta.get("hint"):
        pairs[0] = f"{record.meta['hint']}\n{pairs[0][0]}", pairs[0][1]
    bare = pairs[0][0].replace(IMAGE, "").strip()
    template = None
    if rules.needs_template(record, bare):
        blocks = IMAGE * pairs[0][0].count(IMAGE)
        question, template = _ask(record, bare, seed, epoch)
        pairs[0] = (blocks + question, pairs[0][1])
    first, *others = _place_images(record, pairs, box_decimals)
    return replace(first, template=template), *others


def _place_images(
    record: Record, pairs: list[tuple[str, str]], decimals: int
) -> tuple[Exchange, ...]:
    counts = [question.count(IMAGE) for question, _ in pairs]
    if not sum(counts):
        counts[0] = len(record.images)
    out, start = [], 0
    for (question, answer), count in zip(pairs, counts, strict=True):
        texts = (
            render_boxes(t.replace(IMAGE, ""), record.objects, decimals).strip()
            for t in (question, answer)
        )
        out.append(Exchange(*texts, images=tuple(range(start, start + count))))
        start += count
    return tuple(out)


def expand_turns(turns: Sequence[Exchange]) -> list[tuple[Exchange, ...]]:
    """One sample per assistant turn: that exchange last, all earlier ones as its history."""
    return [tuple(turns[: k + 1]) for k in range(len(turns))]


def dialogue_row(
    turns: Sequence[Exchange],
    tokenizer: Tokenizer,
    *,
    num_queries: int,
    image_token_id: int,
    max_length: int,
    where: str,
    prompt: PromptConfig = ZIYA,
    only_last: bool = False,
    max_answer: int | None = None,
) -> Row:
    """A training row of at most `max_length` ids, at most `max_answer` of them with labels.

    Too long a row loses whole exchanges: the latest ones where all answers are learned (Base), the
    oldest texts, but no image, where only the last is (`only_last`, Chat). What then is still too
    long is cut at the right of its answer, `</s>` kept, and at the left of its prompt if that
    would take more than half the room.

    Raises:
      DataError: the image blocks leave no room for text; it names `where`.
    """
    parts = [_part(turn, number == 0, prompt, tokenizer) for number, turn in enumerate(turns)]
    room = max_length - 1  # <s>
    if only_last:
        parts = _drop_history(parts, room, num_queries)
    kept: list[_Part] = []
    unlearned = max_length if max_answer is None else max_answer
    for number, part in enumerate(parts):
        learn = not only_last or number == len(parts) - 1
        left = room - len(part.images) * num_queries
        later = parts[number + 1 :] if only_last else []
        left -= sum(p.length(num_queries) for p in later)
        must = number == 0 or only_last
        if not must and (left < len(part.prompt) + 2 or unlearned < 2):
            break
        if learn:
            part = part.shorten(unlearned, tokenizer.eos_id)
        kept.append(part.cut(left, where, max_length, tokenizer.eos_id))
        room -= kept[-1].length(num_queries)
        unlearned -= len(kept[-1].answer) if learn else 0
    ids: list[int] = []
    labels: list[int] = []
    for number, part in enumerate(kept):
        head = [image_token_id] * (len(part.images) * num_queries)
        head += ([tokenizer.bos_id] if number == 0 else []) + part.prompt
        learn = not only_last or number == len(kept) - 1
        ids += head + part.answer
        labels += [IGNORE] * len(head)
        labels += part.answer if learn else [IGNORE] * len(part.answer)
    return Row(ids, labels, tuple(i for part in kept for i in part.images))


def prompt_row(
    turns: Sequence[Exchange],
    tokenizer: Tokenizer,
    *,
    num_queries: int,
    image_token_id: int,
    max_length: int,
    where: str = "prompt",
    prompt: PromptConfig = ZIYA,
) -> Row:
    """The row that asks for the last exchange's answer: what precedes the labels in `dialogue_row`.

    The last answer, if any, is ignored; leave `max_length` short of the model's positions by the
    tokens to generate. Labels are all `IGNORE`.

    Raises:
      DataError: the image blocks leave no room for text.
    """
    asked = replace(turns[-1], answer=None)
    row = dialogue_row(
        [*turns[:-1], asked],
        tokenizer,
        num_queries=num_queries,
        image_token_id=image_token_id,
        max_length=max_length + 1,
        where=where,
        prompt=prompt,
        only_last=True,
    )
    return Row(row.input_ids[:-1], [IGNORE] * (len(row.input_ids) - 1), row.images)


@dataclass(frozen=True)
class _Part:
    """One exchange as ids: its images, its prompt and its answer with `</s>`.

    `opening` is its prompt where it is the first of the dialogue.
    """

    images: tuple[int, ...]
    prompt: list[int]
    answer: list[int]
    opening: list[int]

    def length(self, num_queries: int) -> int:
        return len(self.images) * num_queries + len(self.prompt) + len(self.answer)

    def shorten(self, size: int, eos: int) -> _Part:
        """The part with at most `size` ids of answer, `</s>` among them."""
        if size >= len(self.answer):
            return self
        return replace(self, answer=[*self.answer[: size - 1], eos])

    def cut(self, room: int, where: str, max_length: int, eos: int) -> _Part:
        """The part with at most `room` ids of text."""
        if len(self.prompt) + len(self.answer) <= room:
            return self
        if room < 2:
            raise DataError(
                f"the images leave no room for text in {max_length} ids",
                where=where,
                expected="max_length above images x queries",
                fix="raise data.max_length or lower data.max_images",
            )
        size = max(room - len(self.prompt), min(len(self.answer), room // 2))
        part = self.shorten(size, eos)
        drop = max(0, len(self.prompt) - (room - len(part.answer)))
        return replace(part, prompt=self.prompt[drop:])


def _part(turn: Exchange, first: bool, prompt: PromptConfig, tokenizer: Tokenizer) -> _Part:
    opening = tokenizer.encode(prompt.ask(turn.question))
    later = [tokenizer.bos_id] if prompt.words.every_bos else []
    later += tokenizer.encode(prompt.ask(turn.question, first=False))
    answer = [] if turn.answer is None else tokenizer.encode(prompt.answer(turn.answer))
    return _Part(turn.images, opening if first else later, [*answer, tokenizer.eos_id], opening)


def _drop_history(parts: list[_Part], room: int, num_queries: int) -> list[_Part]:
    """Drops the oldest texts until the rest fits; their images go before the oldest text kept."""
    while len(parts) > 1 and sum(p.length(num_queries) for p in parts) > room:
        first, second, *rest = parts
        images = first.images + second.images
        parts = [replace(second, images=images, prompt=second.opening), *rest]
    return parts


def text_row(text: str, tokenizer: Tokenizer, max_length: int) -> Row:
    """`<s> text </s>`, cut at the right with `</s>` kept; every id after `<s>` is learned."""
    ids = [*tokenizer.encode(text.strip())[: max_length - 2], tokenizer.eos_id]
    return Row([tokenizer.bos_id, *ids], [IGNORE, *ids], ())


def qformer_ids(text: str, tokenizer: Tokenizer, max_length: int, keep: str = "end") -> list[int]:
    """`[CLS] text [SEP]`; too long a text keeps its `end` (instructions) or `start` (captions)."""
    ids = tokenizer.encode(text.strip())
    room = max_length - 2
    if len(ids) > room:
        ids = ids[:room] if keep == "start" else ids[len(ids) - room :]
    return [tokenizer.cls_id, *ids, tokenizer.sep_id]


def pad_right(rows: Sequence[Sequence[int]], value: int, length: int) -> np.ndarray:
    """int32 [B, length]: the rows, then `value`."""
    out = np.full((len(rows), length), value, np.int32)
    for target, row in zip(out, rows, strict=True):
        target[: len(row)] = row
    return out


def mask_of(rows: Sequence[Sequence[int]], length: int) -> np.ndarray:
    """bool [B, length]: true where `pad_right` put a row."""
    return np.arange(length)[None, :] < np.array([len(row) for row in rows])[:, None]


def pad_left(
    rows: Sequence[Sequence[int]], value: int, length: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """int32 [B, length]: `value`, then the rows, as generation wants them; and its bool mask."""
    length = max(map(len, rows)) if length is None else length
    ids = np.full((len(rows), length), value, np.int32)
    mask = np.zeros((len(rows), length), bool)
    for i, row in enumerate(rows):
        if row:
            ids[i, -len(row) :], mask[i, -len(row) :] = row, True
    return ids, mask
