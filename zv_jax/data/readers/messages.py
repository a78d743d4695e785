"""Conversations of own tables: turns of any usual shape, each image where it is named."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from zv_jax.data.readers import cells
from zv_jax.data.readers.cells import Entry, Place
from zv_jax.data.readers.columns import USUAL, says_something
from zv_jax.data.readers.intake import BadRow
from zv_jax.data.records.record import ImageRef
from zv_jax.data.records.rules import IMAGE
from zv_jax.errors import DataError

ROLES = {
    "human": "user",
    "user": "user",
    "用户": "user",
    "用戶": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "助手": "assistant",
}
_ROLE, _TEXT = ("from", "role"), ("value", "content", "text")
_IMAGES = (*USUAL["image"][0], "image_url", "image_file", "url")
_PART_IMAGE = ("image", "image_url", "url", "path", "source", "base64", "data", "file")
_TOOLS = ("tool_calls", "function_call", "tools", "audio", "video", "videos", "audios")
_WEIGHTS = ("weight", "loss", "loss_weight", "loss_mask", "train", "trainable", "learn")
_MASKS = ("mask", "masked", "ignore")  # of turns that are not to be learned, as `_WEIGHTS` of 0
_FACTS = ("type", "id", "name", "lang", "model", "detail", "format", "media_type", "created_at")
_FACTS += ("time", "timestamp", "date")  # texts that say nothing to learn
_SHAPES = 'a turn: {"role": "user", "content": "..."}, {"from": "human", "value": "..."}, '
_SHAPES += '{"user": "...", "assistant": "..."} or ["...", "..."]'
_NAMED = re.compile(r"<img>\s*(.*?)\s*</img>")


class Dialogue:
    """Collects the turns of a row and the images they show, in order.

    An image belongs where the text has `<image>`, or where a turn names it. Images of the row that
    no turn places belong to the first question.
    """

    def __init__(
        self, entry: Entry, images: Sequence[ImageRef], rest: Callable[[Place, Mapping], None]
    ):
        """`images`: those of the row's own column or file; `rest` takes what a turn or part of
        one has beside what was read of it."""
        self.entry = entry
        self.rest = rest
        self._turns: list[tuple[str, str]] = []
        self._row = list(images)
        self._asked: list[int] = []  # which of the row's images the texts ask for
        self._named = 0
        self._shown: list[ImageRef | None] = []

    def say(self, role: str, path: Place, content: Any, images: Sequence[ImageRef] = ()) -> None:
        """Adds a turn; `content` is a text or typed parts, `images` are named beside it."""
        before = len(self._shown)
        content = cells.listed(content, self.entry)
        if isinstance(content, Mapping):
            content = [content]
        if isinstance(content, list):
            text = self._parts(path, content)
        else:
            own = IMAGE * (len(images) - str(content or "").count(IMAGE))
            text = self._place(own + (cells.text(self.entry, path, content) or ""), path, images)
        if not text and (role == "assistant" or len(self._shown) == before and self._turns):
            raise BadRow(
                f"Column {path[0]!r}: a blank {'answer' if role == 'assistant' else 'question'} "
                f"at {cells.name(path)}",
                where=self.entry.where,
                expected="a text in every turn",
                fix="write it, or remove the row",
            )
        self._turns.append((role, text))

    def _parts(self, path: Place, parts: list[Any]) -> str:
        """The text of typed parts: OpenAI's, Anthropic's and those of Hugging Face."""
        out = ""
        for number, part in enumerate(parts):
            place = (*path, number)
            if isinstance(part, str):
                part = {"type": "text", "text": part}
            if not isinstance(part, Mapping):
                raise cells.unknown(self.entry, place, part, "a part: an object with its type")
            part = {key: v for key, v in part.items() if not cells.missing(v) or key == "text"}
            kind = str(part.pop("type", "image" if "image" in part else "text"))
            kind = kind.removeprefix("input_").removeprefix("output_")
            if kind == "text" and "text" in part:
                text = cells.text(self.entry, (*place, "text"), part.pop("text")) or ""
                text = self._place(text, (*place, "text"))
                between = "\n" if out and text and not out.endswith((IMAGE, "\n")) else ""
                out += between + text
            elif kind in ("image", "image_url"):
                out += self._image(place, part)
            else:
                raise cells.unknown(
                    self.entry, place, part, 'parts of type "text", "image" or "image_url"'
                )
            self.rest(place, part)
        return out.strip()

    def _image(self, place: Place, part: dict[str, Any]) -> str:
        """The `<image>` of a part, which names an image, or its place in the row's list."""
        key = next((k for k in _PART_IMAGE if k in part), None)
        if key is not None:
            found = cells.images(self.entry, (*place, key), part.pop(key))
            return self._place(IMAGE * len(found), place, found)
        index = part.pop("index", len(self._asked))
        if not isinstance(index, int) or isinstance(index, bool):
            raise cells.unknown(self.entry, (*place, "index"), index, "a whole number from 0")
        self._ask(index)
        return IMAGE

    def _ask(self, index: int) -> None:
        """Shows an image of the row; `end` refuses one that it does not have."""
        self._shown.append(self._row[index] if 0 <= index < len(self._row) else None)
        self._asked.append(index)

    def _place(self, text: str, path: Place, images: Sequence[ImageRef] = ()) -> str:
        """Takes an image for every `<image>`: the named ones first, then those of the row."""
        named = iter(images)
        out, end = "", 0
        for match in re.finditer(f"{IMAGE}|{_NAMED.pattern}", text):
            out += text[end : match.start()] + IMAGE
            end = match.end()
            if match[1] is not None:
                (image,) = cells.images(self.entry, path, match[1])
            else:
                image = next(named, None)
            if image is None:
                self._ask(len(self._asked))
            else:
                self._shown.append(image)
                self._named += 1
        out += text[end:]
        return out.strip()

    def end(self) -> tuple[list[tuple[str, str]], list[ImageRef]]:
        """(role, text) of the turns and their images.

        Raises:
          BadRow: there is not one image for every `<image>`.
        """
        if not self._asked and (not self._named or self._shown == self._row):
            shown = self._row
        elif sorted(self._asked) == list(range(len(self._row))):
            shown = self._shown
        else:
            mend = f"put {IMAGE} where each image belongs, or mend the list of images"
            if self._named:
                mend = "name each image once: all in the turns, or all in the column of the row"
            raise BadRow(
                f"{len(self._asked)} {IMAGE} in the texts for {len(self._row)} images of the row"
                + (f", and {self._named} named in the turns" if self._named else ""),
                where=self.entry.where,
                expected=f"one {IMAGE} for every image, or none at all",
                fix=mend,
            )
        turns = list(self._turns)
        if len(shown) == 1 and turns and turns[0][0] == "user":
            # The one image of a first question is where the template puts it.
            turns[0] = ("user", turns[0][1].replace(IMAGE, "").strip())
        return turns, shown


def read(
    dialogue: Dialogue,
    path: Place,
    value: Any,
    *,
    ignore: Collection[str] = (),
    left_out: Callable[[str], None],
) -> None:
    """Adds the turns of a conversation: objects with from/value or role/content, pairs of texts,
    or objects with user and assistant.

    Raises:
      DataError: a role or a shape is not understood. BadRow: a turn is blank.
    """
    entry = dialogue.entry
    for number, turn in enumerate(cells.objects(entry, path, value)):
        place = (*path, number)
        if isinstance(turn, list) and len(turn) == 2:
            dialogue.say("user", (*place, 0), turn[0])
            dialogue.say("assistant", (*place, 1), turn[1])
            continue
        if not isinstance(turn, Mapping):
            raise cells.unknown(entry, place, turn, _SHAPES)
        given = turn
        blank = next((key for key in _TEXT if key in turn), "content")
        turn = {name: v for name, v in turn.items() if not cells.missing(v)} or {"role": None}
        pair = next((p for p in (("user", "assistant"), ("question", "answer")) if p[0] in turn), 0)
        if pair and not any(key in turn for key in _ROLE):
            if pair[1] not in given:
                raise cells.unknown(entry, place, turn, _SHAPES)
            images = _images(entry, place, turn)
            dialogue.say("user", (*place, pair[0]), turn.pop(pair[0]), images)
            dialogue.say("assistant", (*place, pair[1]), turn.pop(pair[1], None))
            dialogue.rest(place, turn)
            continue
        key = next((key for key in _TEXT if key in turn), blank)
        said = next((turn.pop(key) for key in _ROLE if key in turn), None)
        content = turn.pop(key, None)
        if said == "system" and (content is None or "system" in ignore):
            left_out("a system turn")
            continue
        if said is None and (content is not None or turn):
            raise cells.unknown(entry, place, turn, _SHAPES)
        if not isinstance(said, str) or said not in ROLES:
            raise _role(entry, place, said)
        images = _images(entry, place, turn)
        dialogue.rest(place, turn)
        dialogue.say(ROLES[said], (*place, key), content, images)


def _images(entry: Entry, place: Place, turn: dict[str, Any]) -> list[ImageRef]:
    """The images that a turn names, taken out of it.

    Raises:
      DataError: two of its keys name some.
    """
    keys = [key for key in turn if key.lower() in _IMAGES]
    if len(keys) > 1:
        raise cells.unknown(entry, place, turn, "one list of images in a turn")
    return [ref for key in keys for ref in cells.images(entry, (*place, key), turn.pop(key))]


def are_turns(value: Any) -> bool:
    """Whether it is a list of turns with roles."""
    turns = value if isinstance(value, list) else []
    return bool(turns) and all(isinstance(t, Mapping) and set(_ROLE) & t.keys() for t in turns)


def check_rest(entry: Entry, place: Place, rest: Mapping[str, Any]) -> None:
    """Refuses what a turn or a part has beside what was read of it, if it is content.

    Raises:
      DataError: there is another text or image, a tool, or a turn that is not to be learned.
    """
    for key, value in rest.items():
        silent = key in _WEIGHTS and not value or key in _MASKS
        content = key not in _FACTS and says_something(value)
        shows = key in (*_IMAGES, *_PART_IMAGE) or cells.looks_like_image(value)
        if silent or content or shows or key in _TOOLS:
            raise DataError(
                f"Column {place[0]!r}: {key} at {cells.name((*place, key))} is used for nothing: "
                f"{cells.described(value)}",
                where=entry.where,
                expected="turns of text and images; every answer is learned",
                fix=f"write it into the text or the images, or leave it out on purpose: "
                f"--ignore={key}",
            )


def _role(entry: Entry, place: Place, said: Any) -> DataError:
    mend = "rename the role in the file"
    if said == "system":
        mend = (
            "put the text before the first question, or leave such turns out on purpose: "
            "--ignore=system"
        )
    return DataError(
        f"Column {place[0]!r}: a turn from {said!r:.80} at {cells.name(place)}",
        where=entry.where,
        expected="a turn from " + ", ".join(ROLES),
        fix=mend,
    )
