"""Records to rows of ids, in the one layout that training and inference share.

    turn k:  [image x num_queries, per image the turn brings] [<s> before the first text only]
             "<human>:" question "\\n<bot>:"  |  answer </s>

Prompt and answer are tokenised apart, as they are at inference; only `answer </s>` carries labels.
The words around a question are those of the model's format (`models/prompt.py`), here Ziya-LLaMA's;
the order of image block and `<s>` is that of BLIP-2 and InstructBLIP in Hugging Face transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from zv_jax.data.records import rules
from zv_jax.data.records.record import OBJECT, Object, Record
from zv_jax.data.text.templates import instruction, seeded, template_id
from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.errors import DataError
from zv_jax.models.prompt import ZIYA, PromptConfig

IGNORE = -100
IMAGE = rules.IMAGE


@dataclass(frozen=True)
class Exchange:
    """A question, its answer (None: still to be given), the record's images it introduces, the id
    of the template put in or around it, if one was, and what a system message said before it."""

    question: str
    answer: str | None = None
    images: tuple[int, ...] = ()
    template: str | None = field(default=None, compare=False)
    system: str | None = None


@dataclass(frozen=True)
class Row:
    """One row of the LLM's input, without padding.

    Attributes:
      input_ids: image blocks and text.
      labels: of the same length, not shifted; `IGNORE` where there is no loss.
      images: which of the record's images the blocks stand for, in order.
      left_out: exchanges that are not learned because they are too long.
      cut: learned texts of which only the beginning is here (no end is learned behind it).
    """

    input_ids: list[int]
    labels: list[int]
    images: tuple[int, ...]
    left_out: int = 0
    cut: int = 0


class TooLong(DataError):
    """Nothing of what is to be learned fits the lengths of the configuration, which are at fault
    and not the record."""


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
    if rules.hint(record):
        pairs[0] = f"{rules.hint(record)}\n{pairs[0][0]}", pairs[0][1]
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
    long_answers: str = "drop",
) -> Row:
    """A training row of at most `max_length` ids: the dialogue as it was said, and its answers to
    learn: all of them (Base), or the last (`only_last`, Chat).

    No question is cut, nor an answer in the history. What is too long gives way in this order:

    1. For the last answer the oldest texts go, as at inference; their images stay. Where all
       answers are learned the row ends before the first exchange that does not fit; what follows
       is left out with it, since it would be asked without its history.
    2. An answer of more than `max_answer` ids, `</s>` counted, or more than the row has room for
       is not learned (`long_answers="drop"`), or its beginning is, without `</s>` ("cut"). While
       the row has room for all of it, it stays whole before later exchanges.

    Raises:
      TooLong: then nothing is left to learn; it names `where`.
    """
    parts = _parts(turns, tokenizer, prompt, only_last, max_answer, long_answers)
    wanted = 1 if only_last else len(parts)
    room = max_length - prompt.words.first_bos
    if only_last:
        parts = _drop_history(parts, room, num_queries)
    kept: list[_Part] = []
    for part in parts:
        left = room - len(part.images) * num_queries - len(part.prompt)
        if len(part.answer) > left:
            if long_answers == "cut" and left > 0:
                kept.append(part.upto(left))
            break
        kept.append(part)
        room = left - len(part.answer)
    while kept and not kept[-1].learned:  # nothing asks for it
        kept.pop()
    if not kept:
        raise _too_long(parts[-1 if only_last else 0], where, num_queries, max_length, max_answer)
    kept[-1] = kept[-1].upto(kept[-1].learned)
    learned = [part for part in kept if part.learned]
    return replace(
        _laid_out(kept, tokenizer, prompt, num_queries, image_token_id),
        left_out=wanted - len(learned),
        cut=sum(part.learned < part.said for part in learned),
    )


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
    tokens to generate. Too long a row loses its oldest texts, but no image. Labels are all
    `IGNORE`.

    Raises:
      TooLong: the images and the last question alone have more ids.
    """
    asked = [*turns[:-1], replace(turns[-1], answer=None)]
    parts = _parts(asked, tokenizer, prompt, True, None, "drop")
    room = max_length + 1 - prompt.words.first_bos  # `</s>` is not asked for
    parts = _drop_history(parts, room, num_queries)
    if sum(part.length(num_queries) for part in parts) > room:
        (part,) = parts
        raise TooLong(
            f"a question of {len(part.prompt)} tokens and {len(part.images)} images",
            where=where,
            expected=f"at most {max_length} tokens, {num_queries} for each image",
            fix="ask in fewer words, show fewer images or lower max_new_tokens",
        )
    row = _laid_out(parts, tokenizer, prompt, num_queries, image_token_id)
    ids = row.input_ids[:-1]
    return Row(ids, [IGNORE] * len(ids), row.images)


@dataclass(frozen=True)
class _Part:
    """One exchange as ids.

    Attributes:
      images, prompt, answer: `answer` with its `</s>`.
      learned: how many ids of the answer, from its beginning, carry labels.
      said: ids of the whole answer, however much of it is still here.
      opening: its prompt where it is the first of the dialogue.
    """

    images: tuple[int, ...]
    prompt: list[int]
    answer: list[int]
    learned: int
    said: int
    opening: list[int]

    def length(self, num_queries: int) -> int:
        return len(self.images) * num_queries + len(self.prompt) + len(self.answer)

    def upto(self, size: int) -> _Part:
        """The part with no more than `size` ids of the answer."""
        return replace(self, answer=self.answer[:size], learned=min(self.learned, size))


def _parts(
    turns: Sequence[Exchange],
    tokenizer: Tokenizer,
    prompt: PromptConfig,
    only_last: bool,
    max_answer: int | None,
    long_answers: str,
) -> list[_Part]:
    parts = []
    for number, turn in enumerate(turns):
        # Where the first turn is left out, what the system said before it is not.
        opening = asked_ids(replace(turn, system=turn.system or turns[0].system), tokenizer, prompt)
        later = asked_ids(turn, tokenizer, prompt, first=False) if number else opening
        said = "" if turn.answer is None else prompt.answer(turn.answer)
        answer = [*tokenizer.encode(said), tokenizer.eos_id]
        learned = len(answer)
        if max_answer is not None and learned > max_answer:
            learned = max_answer if long_answers == "cut" else 0
        last = number == len(turns) - 1
        part = _Part(
            turn.images,
            later,
            answer,
            learned if last or not only_last else 0,
            len(answer),
            opening,
        )
        # Nothing follows the last answer, so that history need not make room for its end.
        parts.append(part.upto(learned) if last and learned else part)
    return parts


def asked_ids(
    turn: Exchange, tokenizer: Tokenizer, prompt: PromptConfig, first: bool = True
) -> list[int]:
    """The ids of a question in the words of its format.

    Args:
        first: where it opens a dialogue, whose own `<s>` is left out; else where it goes on.

    Raises:
      ConfigError: the tokenizer lacks a special token of the format.
    """
    ids = [] if first or not prompt.words.every_bos else [tokenizer.bos_id]
    for number, piece in enumerate(prompt.pieces(turn.question, first, turn.system)):
        ids += [tokenizer.special_id(piece)] if number % 2 else tokenizer.encode(piece)
    return ids


def _laid_out(
    parts: Sequence[_Part],
    tokenizer: Tokenizer,
    prompt: PromptConfig,
    num_queries: int,
    image_token_id: int,
) -> Row:
    ids: list[int] = []
    labels: list[int] = []
    for number, part in enumerate(parts):
        head = [image_token_id] * (len(part.images) * num_queries)
        begins = number == 0 and prompt.words.first_bos
        head += ([tokenizer.bos_id] if begins else []) + part.prompt
        ids += head + part.answer
        rest = len(part.answer) - part.learned
        labels += [IGNORE] * len(head) + part.answer[: part.learned] + [IGNORE] * rest
    return Row(ids, labels, tuple(i for part in parts for i in part.images))


def _too_long(
    part: _Part, where: str, num_queries: int, max_length: int, max_answer: int | None
) -> TooLong:
    images = len(part.images) * num_queries
    budget = "" if max_answer is None else f", {max_answer} of them for the answer"
    return TooLong(
        f"an answer of {part.said} tokens, after {len(part.prompt)} of the question and "
        f"{images} of images",
        where=where,
        expected=f"at most {max_length}{budget}",
        fix="raise data.max_length or data.max_answer, lower data.max_images, or set "
        "data.long_answers=cut to learn the beginnings of long answers",
    )


def _drop_history(parts: list[_Part], room: int, num_queries: int) -> list[_Part]:
    """Drops the oldest texts until the rest fits; their images go before the oldest text kept."""
    while len(parts) > 1 and sum(p.length(num_queries) for p in parts) > room:
        first, second, *rest = parts
        images = first.images + second.images
        parts = [replace(second, images=images, prompt=second.opening), *rest]
    return parts


def text_row(text: str, tokenizer: Tokenizer, max_length: int, long_answers: str = "drop") -> Row:
    """`<s> text </s>`; every id after `<s>` is learned.

    Raises:
      TooLong: the text does not fit, unless `long_answers` is "cut": then the row holds its
        beginning, without `</s>`.
    """
    ids = [tokenizer.bos_id, *tokenizer.encode(text.strip()), tokenizer.eos_id]
    cut = len(ids) > max_length
    if cut and long_answers == "drop":
        raise TooLong(
            f"a text of {len(ids)} tokens, <s> and </s> counted",
            expected=f"at most {max_length}",
            fix="raise data.max_length, or set data.long_answers=cut to learn its beginning",
        )
    ids = ids[:max_length]
    return Row(ids, [IGNORE, *ids[1:]], (), cut=int(cut))


def qformer_ids(text: str, tokenizer: Tokenizer, max_length: int, keep: str = "end") -> list[int]:
    """`[CLS] text [SEP]`; too long a text keeps its `end` (instructions) or `start` (captions).

    `[SEP]` stays either way, as in LAVIS and transformers: nothing here is learned. Blanks at the
    ends stay too, for they may be those of the prompt's format.
    """
    ids = tokenizer.encode(text)
    room = max_length - 2
    if len(ids) > room:
        ids = ids[:room] if keep == "start" else ids[len(ids) - room :]
    return [tokenizer.cls_id, *ids, tokenizer.sep_id]


def caption_row(text: str, tokenizer: Tokenizer, max_length: int, long_answers: str) -> Row:
    """`[CLS] text [SEP]` for the Q-Former to match with an image and to learn as its caption.

    Raises:
      TooLong: the text does not fit, unless `long_answers` is "cut": then its beginning is matched
        and learned, and `[SEP]` behind it is not (LAVIS learns it).
    """
    text = text.strip()
    length = len(tokenizer.encode(text)) + 2
    cut = length > max_length
    if cut and long_answers == "drop":
        raise TooLong(
            f"a caption of {length} tokens, [CLS] and [SEP] counted",
            expected=f"at most {max_length}",
            fix="raise data.max_text, or set data.long_answers=cut to learn its beginning",
        )
    ids = qformer_ids(text, tokenizer, max_length, "start")
    labels = [IGNORE, *ids[1:-1], IGNORE if cut else ids[-1]]
    return Row(ids, labels, (), cut=int(cut))


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
