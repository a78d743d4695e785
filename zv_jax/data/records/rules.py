"""What makes a record right: the one judge of `zv data validate`, `prepare`, training, evaluation.

`records.from_json` reads the fields and checks each by itself; here they are checked together. A
record without a complaint can be drawn: in every epoch, with every template and every answer. What
depends on the recipe (lengths, `max_images`, tasks, languages) is no fault of a record.
"""

from __future__ import annotations

import math
import re
import string
import unicodedata
from collections.abc import Iterator
from typing import Any

from zv_jax.data.records.record import Record, mentioned
from zv_jax.data.text import options
from zv_jax.data.text.templates import fields, templates
from zv_jax.errors import DataError

IMAGE = "<image>"
_AFTER = r"(?:[ _-]?(?:s|here|start|end|pad|patch|placeholder|context|soft|token|newline|\d+))"
_MARK = re.compile(
    rf"""[<＜‹〈]\s*[/|]?\s*(?:(?:start|end|begin)_of_)?
     (?:(?:image|img|picture|photo|video|audio|vision|bbox|图片|图像|圖片|圖像|影像|视频|視頻){_AFTER}*
     |im{_AFTER}+)\s*[/|]?\s*[>＞›〉]
    |[\[{{【［｛]\s*[/|]?\s*(?:image|img|图片|图像|圖片|圖像){_AFTER}*\s*[/|]?\s*[\]}}】］｝](?!\()
    |<img\s[^<>]*>|!\[[^\[\]]*\]\([^()]*\)""",
    re.IGNORECASE | re.VERBOSE,
)
"""How other programs mark the place of an image, a video or a box, in brackets of any kind."""


def check(record: Record, where: str = "", answered: bool = True) -> Iterator[DataError]:
    """All that is wrong with a record, each with its field.

    Args:
      where: the file and line, for errors; the record's id by default.
      answered: whether there must be an answer to learn; a question alone will do for evaluation.
    """
    for name, what, expected, fix in _complaints(record, answered):
        yield DataError(f"Field {name!r}: {what}", where or record.id, expected, fix)


def require(record: Record) -> None:
    """Raises the first complaint of `check`."""
    for error in check(record):
        raise error


def answers(record: Record) -> tuple[str, ...]:
    """What may answer a question that no assistant turn answers: one of these is drawn."""
    if record.answers:
        return record.answers
    if record.choices and record.answer_index is not None:
        return (record.choices[record.answer_index],)
    if record.objects and record.task == "ref_ground":
        return ("<obj_0>",)
    if record.objects and record.task == "ref_caption":
        return (label(record),)
    return ()


def label(record: Record) -> str:
    """What the first object is called in the record's language."""
    thing = record.objects[0]
    return thing.tag_zh if record.lang != "en" and thing.tag_zh else thing.label


def hint(record: Record) -> str:
    """What `meta` says before the first question; empty where it says nothing."""
    said = record.meta.get("hint")
    return said if isinstance(said, str) else ""


def blank(text: str) -> bool:
    """Whether there is nothing to see: white space, marks of width zero, control characters."""
    return all(c.isspace() or unicodedata.category(c) in ("Cc", "Cf") for c in text)


def foreign(text: str) -> str | None:
    """The first mark of another program for an image, as `<|image_pad|>`; None where there is
    none. A text with one would teach to read or write the mark."""
    if "&lt;" in text and (escaped := _ESCAPED.search(text)):
        return escaped[0]
    return next((m[0] for m in _MARK.finditer(text) if m[0] != IMAGE), None)


_ESCAPED = re.compile(r"&lt;\s*/?(?:image|img)\b[^&]*&gt;", re.IGNORECASE)
"""`<image>` as HTML writes it."""


_TURN = re.compile(r"<\|[A-Za-z_]+\|>")
_ASKED = re.compile(
    r"\A\s*(?:<human>\s*[:：]|\[INST\])|(?:<bot>\s*[:：]|\bASSISTANT:|\[/INST\]|### Response:)\s*\Z"
)
"""How prompts of this and other programs begin turns. Prompts add their own."""


def prompted(text: str, role: str) -> str | None:
    """The first mark of a prompt in a turn's text, as `<|im_end|>`; None where there is none. It
    would be learned, and read, as words. Names of special tokens, as `</s>`, are words as well."""
    found = _TURN.search(text) or (_ASKED.search(text) if role == "user" else None)
    return found[0].strip() if found else None


def needs_template(record: Record, question: str) -> bool:
    """Whether the first question, in words, is put into a template, or is one."""
    if not question or "template" in record.meta:
        return True
    return bool(record.choices) and not options.listed(question, record.choices)


def template(record: Record) -> str:
    """The name of its templates: that in `meta`, or its task; a gallery image is captioned."""
    return record.meta.get("template") or ("caption" if record.task == "retrieval" else record.task)


def words_of(record: Record, question: str) -> dict[str, str]:
    """What there is to fill the fields of a template with."""
    words = {"q": question, "text": question} if question else {}
    if record.objects:
        words |= {"expr": label(record), "box": "<obj_0>"}
    if record.choices:
        lettered = zip(string.ascii_lowercase, record.choices, strict=False)
        words["choices"] = " ".join(f"({letter}) {choice}" for letter, choice in lettered)
    return words


_Complaint = tuple[str, str, str, str]
"""Field, what is wrong with it, what was expected, how to mend it."""


def _complaints(record: Record, answered: bool) -> Iterator[_Complaint]:
    yield from _order(record)
    yield from _blanks(record)
    if answered and not answers(record) and (not record.turns or record.turns[-1].role == "user"):
        yield (
            "turns",
            "a question without an answer",
            "an assistant turn, answers, or choices with answer_index",
            "give the answer, or remove the record",
        )
    if len(record.choices or ()) > len(string.ascii_lowercase):
        yield (
            "choices",
            f"{len(record.choices)} options",
            f"at most {len(string.ascii_lowercase)}: each has a letter",
            "leave some out, or ask an open question",
        )
    if not isinstance(record.meta.get("hint") or "", str):
        yield "meta.hint", "a hint is words", "a string", "correct or remove it"
    if _has_sign(record):
        yield from _marks(record)
        yield from _images(record)
        yield from _objects(record)
    yield from _questions(record)
    yield from _choices(record)
    yield from _weights(record)
    yield from _views(record)


def _order(record: Record) -> Iterator[_Complaint]:
    """One answer to each question; the first may be without one, since a template asks it then."""
    if not record.turns:
        return
    roles = ["user", *(turn.role for turn in record.turns)]
    for number, (before, role) in enumerate(zip(roles, roles[1:], strict=False)):
        if before == role == "assistant":
            yield (
                f"turns[{number}]",
                "two answers in a row",
                "a user turn before every assistant turn",
                "join the two, or give the question between them",
            )


def _blanks(record: Record) -> Iterator[_Complaint]:
    """What is learned says something."""
    texts = [
        (f"turns[{i}].text", turn.text) for i, turn in enumerate(record.turns)
        if turn.role == "assistant"
    ]  # fmt: skip
    texts += [("answers" if record.answers else "objects[0]", text) for text in answers(record)]
    for name, text in texts:
        if blank(text.replace(IMAGE, "")):
            yield (
                name,
                "the text to learn is empty",
                "at least one character",
                "complete the record or remove it",
            )


def _marks(record: Record) -> Iterator[_Complaint]:
    """No mark of another program; beside no image, HTML and Markdown are texts like others."""
    said = {f"turns[{i}].text" for i, turn in enumerate(record.turns) if turn.role == "assistant"}
    said |= {f"answers[{i}]" for i in range(len(record.answers or ()))}
    for name, text in _texts(record):
        mark = foreign(text)
        if mark and (record.images or (mark[0] in "<＜‹〈" and "=" not in mark)):
            yield (
                name,
                f"{mark} is not understood",
                f"{IMAGE} where an image belongs, once for each, and no mark for other media",
                f"write {IMAGE} in its place, one for what marks one image, or remove it",
            )
        marked = prompted(text, "assistant" if name in said else "user")
        if marked and not mark:
            yield (
                name,
                f"{marked} belongs to a prompt",
                "what is asked and answered, without roles and ends: prompts add their own",
                "remove it",
            )
        if "\0" in text:
            yield name, "it holds the character U+0000", "a text", "remove it"


def _texts(record: Record) -> Iterator[tuple[str, str]]:
    """(field, text) of all that is read or learned but the objects."""
    yield from ((f"turns[{i}].text", turn.text) for i, turn in enumerate(record.turns))
    yield from ((f"answers[{i}]", text) for i, text in enumerate(record.answers or ()))
    yield from ((f"choices[{i}]", text) for i, text in enumerate(record.choices or ()))
    yield "meta.hint", hint(record)


def _labels(record: Record) -> Iterator[tuple[str, str]]:
    """(field, text) of what the objects are called."""
    for number, thing in enumerate(record.objects):
        yield f"objects[{number}].label", thing.label
        yield f"objects[{number}].tag_zh", thing.tag_zh or ""


_SIGN = re.compile(r"[<＜‹〈\[{【［｛!&:：\0]")


def _has_sign(record: Record) -> bool:
    """Whether a text holds a character that every mark, role and `<obj_k>` has: a fast look before
    careful ones, for training reads each record anew."""
    return any(_SIGN.search(text) for _, text in (*_texts(record), *_labels(record)))


def _images(record: Record) -> Iterator[_Complaint]:
    """`<image>` stands in questions only, nowhere or once for each image."""
    said = [
        (f"turns[{i}]", turn.text) for i, turn in enumerate(record.turns) if turn.role != "user"
    ]
    said += [(f"answers[{i}]", text) for i, text in enumerate(record.answers or ())]
    said += [(f"choices[{i}]", text) for i, text in enumerate(record.choices or ())]
    for name, text in said:
        if IMAGE in text:
            yield (
                name,
                f"{IMAGE} in an answer",
                f"{IMAGE} in user turns only: the model reads images and writes text",
                "move it into the question, or remove it",
            )
    if IMAGE in hint(record):
        yield "meta.hint", "a hint is words", f"a string without {IMAGE}", "correct or remove it"
    count = sum(turn.text.count(IMAGE) for turn in record.turns if turn.role == "user")
    if count not in (0, len(record.images)):
        yield (
            "turns",
            f"{count} {IMAGE} placeholders for {len(record.images)} images",
            "none at all, or one per image",
            "write one for each image where it belongs, or remove all of them",
        )


def _objects(record: Record) -> Iterator[_Complaint]:
    """Every `<obj_k>` is one of the objects."""
    for name, text in (*_texts(record), *_labels(record)):
        for number in mentioned(text):
            if number >= len(record.objects):
                yield (
                    name,
                    f"<obj_{number}> is none of the objects",
                    f"an index into the record's {len(record.objects)} objects, from 0",
                    "correct the number, or add the object",
                )


def _questions(record: Record) -> Iterator[_Complaint]:
    """There is something to answer: words, a template that asks, or at least an image."""
    first, words = True, [hint(record)] if hint(record) else []
    for number, turn in enumerate(record.turns):
        if turn.role == "user":
            words.append(turn.text)
        elif words or first:
            yield from _question(record, number, "\n".join(words), first)
            words, first = [], False
    if words or first:
        yield from _question(record, max(0, len(record.turns) - 1), "\n".join(words), first)


def _question(record: Record, number: int, text: str, first: bool) -> Iterator[_Complaint]:
    bare = text.replace(IMAGE, "").strip()
    name = f"turns[{number}]" if record.turns else "turns"
    if not first:
        if not text.strip():
            yield name, "a blank question", "words, or an image", "give the question"
        return
    if not needs_template(record, bare):
        return
    kind = template(record)
    named = isinstance(kind, str) and templates(kind, "en" if record.lang == "en" else "zh")
    if not named:
        wanted = "meta.template" if "template" in record.meta else name
        yield (
            wanted,
            f"a {kind} record without an instruction",
            "a user turn before the assistant's",
            "give the record a user turn; this task has no templates",
        )
        return
    missing = fields(kind, record.lang) - set(words_of(record, bare))
    if missing:
        yield (
            name,
            f"a {kind} record lacks what its instruction needs: {', '.join(sorted(missing))}",
            "a user turn, or an object the text speaks of",
            "give the record a user turn",
        )


def _choices(record: Record) -> Iterator[_Complaint]:
    """A choice has options, and the answer that is learned is not another than the one scored."""
    if record.task == "mc_vqa" and not record.choices:
        yield "choices", "a choice without options", "the texts to choose from", "name them"
    if not record.choices or record.answer_index is None or not record.turns:
        return
    said = record.turns[-1].text.strip().casefold()
    if record.turns[-1].role == "assistant":
        names = [{choice.casefold(), chr(97 + i)} for i, choice in enumerate(record.choices)]
        if said not in names[record.answer_index] and any(said in others for others in names):
            yield (
                "answer_index",
                f"it is {record.answer_index}, and the last turn answers another option",
                "one answer",
                "correct one of the two, or leave the turn out",
            )


def _weights(record: Record) -> Iterator[_Complaint]:
    for number, weight in enumerate(record.weights or ()):
        if not (math.isfinite(weight) and weight >= 0):
            yield f"weights[{number}]", f"it is {weight}", "a number from 0 on", "correct it"
            return
    if not math.isfinite(sum(record.weights or ())):
        yield (
            "weights",
            "together they are beyond all numbers",
            "shares of one whole",
            "divide them",
        )


def _views(record: Record) -> Iterator[_Complaint]:
    """Where `meta` says what the images show, it says so of each (see `symbols`)."""
    views = record.meta.get("views", ())
    if not isinstance(views, list | tuple) or len(views) not in (0, len(record.images)):
        yield (
            "meta.views",
            "it is not one view for each image",
            f"a list of {len(record.images)}",
            "correct or remove it",
        )
        return
    for number, view in enumerate(views):
        if not _is_view(view):
            yield (
                f"meta.views[{number}]",
                "it does not say what an image shows",
                '{"background": "blue", "objects": [["dog", [x1, y1, x2, y2]]], "asked": [0]}',
                "correct or remove it",
            )


def _is_view(view: Any) -> bool:
    try:
        things = [(str(name), [float(side) for side in box]) for name, box in view["objects"]]
        asked = [things[i] for i in view.get("asked") or ()]
    except (TypeError, KeyError, ValueError, IndexError, AttributeError, OverflowError):
        return False
    whole = all(len(box) == 4 for _, box in things)
    return whole and len(asked) <= len(things) and isinstance(view.get("background"), str)
