"""A row of any own table to a record: a conversation, a question with its answer, or a caption."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from zv_jax import json_input
from zv_jax.data.readers import cells, columns, messages
from zv_jax.data.readers.base import Request
from zv_jax.data.readers.cells import Entry, Said
from zv_jax.data.readers.intake import BadRow
from zv_jax.data.readers.messages import Dialogue
from zv_jax.data.records import record as records_lib
from zv_jax.data.records import rules
from zv_jax.data.records.record import ImageRef, Object, Record
from zv_jax.data.text import language
from zv_jax.errors import DataError

_LANGS = {
    **dict.fromkeys(("zh", "zh-cn", "zh_cn", "zh-tw", "zh-hans", "zh-hant", "cn"), "zh"),
    **dict.fromkeys(("chinese", "中文", "汉语", "漢語"), "zh"),
    **dict.fromkeys(("en", "en-us", "en_us", "en-gb", "english", "英文", "英语", "英語"), "en"),
    "en-zh": "en-zh",
}
_LETTERS = string.ascii_uppercase
_LABELS = ("label", "key", "letter", "id", "option")  # what an object calls its option
_LETTER = re.compile(r"[(（\[]?([A-Za-z])[)）\]]?[.。．:：、]?")
_WIDE = re.compile(r"[(（\[［]?[Ａ-Ｚａ-ｚ](?![Ａ-Ｚａ-ｚ])")
_MARK = re.compile(r"[(（\[]?([A-Za-z])(?:[)）\]]|[.．:：、](?=\D))[.．:：、]?\s*(?=\S)")

_LARGEST = 1e100  # of the weights of answers; beyond it sums are infinite


def records(request: Request, entries: Iterable[Entry]) -> Iterator[Record]:
    """The records of a table; bad rows go to the request's intake.

    Raises:
      DataError: a column is not understood, an id repeats, `--columns` names what there is not, or
        too many rows are bad.
    """
    intake = request.intake
    found = columns.Columns(request.columns, request.ignore, str(request.root))
    ids: dict[str, str] = {}
    for entry in entries:
        intake.rows[entry.file] += 1
        row = Row(request, found, entry)
        try:
            record = row.record()
        except BadRow as error:
            if intake.max_bad is None:
                found.check()
            intake.reject(error)
            continue
        except DataError:
            found.check()  # the likelier reason
            raise
        if record is None:
            continue
        _unique(ids, record, entry)
        row.count(record)
        yield record
    found.check()
    intake.finish(str(request.root))


def _unique(ids: dict[str, str], record: Record, entry: Entry) -> None:
    first = ids.pop(record.id, None)
    ids[record.id] = entry.where
    if first is not None:
        raise DataError(
            f"Id {record.id.rpartition('/')[2]!r} is there twice",
            where=f"{first} and {entry.where}",
            expected="an id of its own for every row",
            fix="correct the ids, or leave the column out (--ignore=id): rows are then "
            "numbered; two images of one name cannot share a text",
        )


class Row:
    """One row: its values by role, and which of its columns were used."""

    def __init__(self, request: Request, found: columns.Columns, entry: Entry):
        self.request, self.entry = request, entry
        self.found, self.names = found, found.of(entry.fields)
        self.used = set(request.ignore)
        self.shown: list[str] = []  # columns with images
        self._marks: list[tuple[str, str]] = []

    def record(self) -> Record | None:
        """The checked record; None for a row of another split.

        Raises:
          BadRow: there is nothing to learn, or the parts contradict each other. DataError: a
            column is not understood.
        """
        if self._other_split():
            return None
        system = self.column("system")
        if system:
            raise DataError(
                f"Column {system!r} holds a system prompt, for which there is no place",
                where=self.entry.where,
                expected="questions and answers; what should be learned belongs in the question",
                fix="put it before the question, or leave it out on purpose: "
                + cells.flag(f"--ignore={system}"),
            )
        images = self._images()
        if not images:
            self._no_names_of_images()
        if self.column("conversations") or self._asks_in_turns():
            record = self._conversation(images)
        else:
            record = self._question(images) or self._caption(images)
        for column in self._rest():
            columns.unread(self.entry, column, self._role(column), self.shown, record)
            self._mark("unused", column)
        try:
            record = records_lib.from_json(records_lib.to_json(record), self.entry.where)
            for error in rules.check(record, self.entry.where):
                raise error
        except DataError as error:
            raise BadRow(error.what, error.where, error.expected, error.fix) from None
        return record

    def count(self, record: Record) -> None:
        """Counts the record and what its row had beside it."""
        intake = self.request.intake
        intake.records += 1
        for ref in record.images:
            kind = "path" if ref.path else "url" if ref.url else "inside"
            intake.images[kind] += 1
        if not record.images:
            intake.left_out["no image: rows that are text only"] += 1
        for kind, what in self._marks:
            getattr(intake, kind)[what] += 1

    def _rest(self) -> list[str]:
        """The columns that hold something and were not used."""
        return [
            column
            for column, value in self.entry.fields.items()
            if column not in self.used and not cells.missing(value, self.entry.typed)
        ]

    def _role(self, column: str) -> str | None:
        """What the name of a column stands for."""
        roles = (r for r, groups in self.names.items() if any(column in g for g in groups))
        return next(roles, None)

    def _mark(self, kind: str, what: str) -> None:
        if (kind, what) not in self._marks or kind == "left_out":
            self._marks.append((kind, what))

    def _left_out(self, what: str) -> None:
        self._mark("left_out", what)

    def _unused(self, column: str) -> None:
        self._mark("unused", column)

    # Values by role.

    def column(self, role: str) -> str | None:
        """The column that holds the role's value in this row, the first of several named ones.

        Raises:
          DataError: two columns do, and say different things.
        """
        found = None
        for group in self.names[role]:
            full = [c for c in group if not cells.missing(self.entry.fields[c], self.entry.typed)]
            if full and self._several(role):
                return full[0]
            for column in full:
                if found is None:
                    found = column
                elif not self._within(self.entry.fields[column], self.entry.fields[found]):
                    if not self._within(self.entry.fields[found], self.entry.fields[column]):
                        raise self._two(role, found, column)
                    found = column
            if found is not None:
                self.used.update(full)
                break
        return found

    @staticmethod
    def _within(part: Any, whole: Any) -> bool:
        if not isinstance(whole, list):
            return part == whole
        items = [v for item in whole for v in (item.values() if isinstance(item, dict) else [item])]
        return part == whole or part in items

    def _two(self, role: str, one: str, other: str) -> DataError:
        return DataError(
            f"Columns {one!r} and {other!r} could both hold the {role}",
            where=self.entry.where,
            expected=f"one column with the {role}",
            fix="say which: {} or {}".format(
                cells.flag(f"--columns={role}={one}"), cells.flag(f"--columns={role}={other}")
            ),
        )

    def text(self, role: str) -> str | None:
        """The role's value as one text, lines of it from several columns; None for none."""
        chosen = self._several(role) or [c for c in (self.column(role),) if c]
        found = (cells.text(self.entry, (c,), self.entry.fields[c]) for c in chosen)
        return "\n".join(text for text in found if text) or None

    def texts(self, role: str) -> list[Said]:
        """All texts of the role's value."""
        found: list[Said] = []
        chosen = self._several(role) or [c for c in (self.column(role),) if c]
        for column in chosen:
            value = self.entry.fields[column]
            value = cells.listed(value, self.entry, always=column.lower().endswith("s"))
            found += cells.texts(self.entry, (column,), value, self._left_out, self._unused)
        if chosen and not found:
            raise self.bad(role)
        return found

    def _several(self, role: str) -> list[str]:
        """The columns of a role that `--columns` gives more than one."""
        columns = self.names[role][0]
        if role not in self.request.columns or len(columns) < 2:
            return []
        self.used.update(columns)
        return columns

    def bad(self, role: str) -> BadRow:
        """The error for a row whose columns of the role hold nothing, or that has none."""
        if not self.has(role):
            return BadRow(
                f"No {role}: no column is called so",
                where=self.entry.where,
                expected=f"a column for the {role} among " + ", ".join(map(str, self.entry.fields)),
                fix=f"say which: --columns={role}=COLUMN",
            )
        there = ", ".join(repr(c) for group in self.names[role] for c in group)
        return BadRow(
            f"No {role}: {there or 'its column'} has nothing in it",
            where=self.entry.where,
            expected=f"a text under {there or role}",
            fix="fill the cell in, or remove the row",
        )

    def has(self, role: str) -> bool:
        """Whether the row has a column for the role, be it empty."""
        return any(self.names[role])

    # Parts of the record.

    def _other_split(self) -> bool:
        own = self.text("split")
        if own is None or columns.usual_split(own) == columns.usual_split(self.request.split):
            return False
        self.request.intake.other_splits[own] += 1
        return True

    def _images(self) -> list[ImageRef]:
        if self.entry.images is not None:
            return list(self.entry.images)
        if "image" in self.request.columns or self._numbered():
            found = self.names["image"][0]
        else:
            column = self.column("image") or self.column("url")
            found = [column] if column else []
        self.used.update(found)
        self.shown = found
        return [
            ref
            for column in found
            for ref in cells.images(self.entry, (column,), self.entry.fields[column])
        ]

    def _no_names_of_images(self) -> None:
        """Refuses an image's name where a text belongs: `input: a.png`, `output: a dog`."""
        for role in ("question", "input", "caption"):
            for column in (c for group in self.names[role] for c in group):
                value = self.entry.fields[column]
                if isinstance(value, str) and " " not in value and cells.looks_like_image(value):
                    raise columns.not_an_image(self.entry, column, f"would be the {role}")

    def _numbered(self) -> bool:
        return any(column.lower() not in _IMAGE_NAMES for column in self.names["image"][0])

    def _new(self, task: str, said: Iterable[str], images: Any, turns: Any, **other: Any) -> Record:
        native = self._native()
        lang = _LANGS.get((self.text("lang") or "").lower())
        if lang is None:
            self.used.difference_update(*self.names["lang"])
        given = (self.text("task") or "").lower()
        if given not in records_lib.TASKS:
            self.used.difference_update(*self.names["task"])
            given = task
        lang = lang or language.of(" ".join(said))
        return self.request.record(
            native, given, lang, images, turns, objects=self._objects(), **other
        )

    def _native(self) -> object:
        if self.entry.identity == "place":
            return self.entry.native
        given = self.text("id")
        if given is None or self.entry.identity == "both":
            return self.entry.native if given is None else f"{self.entry.native}#{given}"
        return given

    def _objects(self) -> tuple[Object, ...]:
        column = self.column("objects")
        if column is None:
            return ()
        things = cells.objects(self.entry, (column,), self.entry.fields[column])
        known = {"box", "label", "score", "tag_zh", "image"}
        for number, thing in enumerate(things):
            if not isinstance(thing, dict) or not {"box", "label"} <= set(thing) <= known:
                expected = '{"box": [x1, y1, x2, y2], "label": "dog"}, boxes in 0..1'
                raise cells.unknown(self.entry, (column, number), thing, expected)
        return tuple(Object(**thing) for thing in things)

    def _talk(self, images: list[ImageRef]) -> Dialogue:
        """A dialogue that begins with the row's history, if it has one."""
        talk = Dialogue(self.entry, images, self._within_turns)
        column = self.column("history")
        if column is not None:
            self._read(talk, column)
        return talk

    def _read(self, talk: Dialogue, column: str) -> None:
        messages.read(
            talk,
            (column,),
            self.entry.fields[column],
            ignore=self.request.ignore,
            left_out=self._left_out,
        )

    def _within_turns(self, place: cells.Place, rest: Mapping[str, Any]) -> None:
        """Takes what a turn, or a part of one, has beside its text and images."""
        rest = {
            key: value
            for key, value in rest.items()
            if not (self.found.leaves_out(key) or cells.missing(value))
        }
        messages.check_rest(self.entry, place, rest)
        for key in rest:
            self._unused(f"{place[0]}[].{key}")

    def _asks_in_turns(self) -> bool:
        """Whether question and answer are lists of turns, as TRL's `prompt` and `completion`."""
        return all(
            any(
                messages.are_turns(self.entry.fields[c])
                for group in self.names[role]
                for c in group
            )
            for role in ("question", "answer")
        )

    def _conversation(self, images: list[ImageRef]) -> Record:
        talk = self._talk(images)
        if self.column("conversations"):
            self._read(talk, self.column("conversations"))
        else:
            self._read(talk, self.column("question"))
            self._read(talk, self.column("answer"))
        turns, images = talk.end()
        answers = None
        if turns and turns[-1][0] == "user":
            answers = [said.text for said in self.texts("answer")] or None
        while turns and turns[-1][0] == "user" and answers is None:
            if rules.IMAGE in turns[-1][1]:
                raise self.bad("answer")
            turns.pop()
            self._left_out("a last question without an answer")
        said = [text for role, text in turns if role == "assistant"] + (answers or [])
        if not said:
            raise BadRow(
                f"Column {self.column('conversations') or self.column('answer')!r}: no turn of "
                "the assistant",
                where=self.entry.where,
                expected="at least one question with its answer",
                fix="give the answer, or remove the row",
            )
        return self._new("conversation", said, images, turns, answers=answers)

    def _question(self, images: list[ImageRef]) -> Record | None:
        parts = [self.text(role) for role in ("instruction", "question", "input")]
        question = "\n".join(part for part in parts if part)
        asks = any(self.has(role) for role in ("instruction", "question", "input"))
        if not question:
            if asks and self.column("answer") and not self.column("caption"):
                raise self.bad("question")
            return None
        options = self._options()
        if options is not None:
            return self._choice(question, options, images)
        answers = self.texts("answer")
        if not answers and not self.has("answer"):
            answers = self.texts("caption")
        if not answers:
            raise self.bad("answer")
        said = [answer.text for answer in answers]
        talk = self._talk(images)
        talk.say("user", ("question",), question)
        if len(said) == 1:
            talk.say("assistant", ("answer",), said[0])
        turns, images = talk.end()
        extra = {} if len(said) == 1 else {"answers": said, **self._weights(answers)}
        confidences = [answer.confidence for answer in answers]
        if any(isinstance(c, str) for c in confidences):
            extra["meta"] = {"confidences": confidences}
        return self._new("vqa", [question, *said], images, turns, **extra)

    def _weights(self, answers: list[Said]) -> dict[str, Any]:
        column = self.column("weights")
        given = self.entry.fields[column] if column else [answer.confidence for answer in answers]
        if isinstance(given, str):  # a cell of a CSV
            try:
                given = json_input.parse(given, self.entry.where)
            except DataError:
                pass
        numbers = isinstance(given, list) and all(
            isinstance(w, int | float) and not isinstance(w, bool) and abs(w) <= _LARGEST
            for w in given
        )
        if column and not (numbers and len(given) == len(answers)):
            raise BadRow(
                f"Column {column!r} is {cells.described(given)} for {len(answers)} answers",
                where=self.entry.where,
                expected="one number for every answer, as [3, 1]",
                fix="give each answer its number, or leave the column out on purpose: "
                f"--ignore={column}",
            )
        return {"weights": tuple(float(w) for w in given)} if numbers else {}

    def _options(self) -> list[Option] | None:
        column = self.column("options")
        if column is None:
            letters = [c for c in _LETTERS if c in self.entry.fields]
            if len(letters) < 2:
                return None
            self.used.update(letters)
            found = [Option(c, self._option(c, self.entry.fields[c])) for c in letters]
        else:
            value = cells.listed(self.entry.fields[column], self.entry, always=True)
            if isinstance(value, dict) and not any(isinstance(v, list) for v in value.values()):
                labels = sorted(value, key=lambda label: columns.natural(label.lower()))
                found = [Option(k, self._option(column, value[k])) for k in labels]
            elif isinstance(value, list | dict):
                found = self._listed_options(column, value)
            else:
                raise cells.unknown(self.entry, (column,), value, "a list of options")
        while found and found[-1].text is None:
            found.pop()  # tables have as many columns as the question with the most options
        blank = [number for number, option in enumerate(found) if option.text is None]
        if len(found) < 2 or blank:
            what = f"option {blank[0]}, from 0, has no text" if blank else "fewer than two options"
            raise BadRow(
                f"Column {column or letters[0]!r}: {what}",
                where=self.entry.where,
                expected="a text for every option: letters and numbers of answers count them all",
                fix="write the missing ones, or remove the row",
            )
        return _without_marks(found)

    def _option(self, column: str, value: Any) -> str | None:
        return cells.text(self.entry, (column,), value)

    def _listed_options(self, column: str, value: Any) -> list[Option]:
        """Options in a list: texts, or objects with a text and maybe a label."""
        found = []
        for number, item in enumerate(cells.objects(self.entry, (column,), value)):
            label = _letter(number)
            if isinstance(item, dict):
                key = next((k for k in _LABELS if not cells.missing(item.get(k))), None)
                if key is not None:
                    item = dict(item)
                    label = cells.text(self.entry, (column, number, key), item.pop(key))
            said = cells.texts(self.entry, (column,), [item], lambda reason: None, self._unused)
            found.append(Option(label, said[0].text if said else None))
        return found

    def _choice(self, question: str, options: list[Option], images: list[ImageRef]) -> Record:
        talk = self._talk(images)
        talk.say("user", ("question",), question)
        turns, images = talk.end()
        texts = [option.text for option in options]
        return self._new(
            "mc_vqa",
            [question, *texts],
            images,
            turns,
            choices=tuple(texts),
            answer_index=self._index(options),
        )

    def _index(self, options: list[Option]) -> int:
        """Which option the answer names: by its number in `answer_index`, its text or label."""
        answers = [answer.text for answer in self.texts("answer")]
        column = self.column("answer_index")
        if column:
            index = self._number(column, options)
            if answers and not any(index in options_named(options, said) for said in answers):
                raise BadRow(
                    f"Column {column!r} names option {index}, {options[index].text!r}, and column "
                    f"{self.column('answer')!r} says {answers[0]!r}",
                    where=self.entry.where,
                    expected="the same option; the first is 0",
                    fix="correct one of the two, or leave one out with --ignore",
                )
            return index
        if not answers:
            raise self.bad("answer")
        said, column = answers[0], self.column("answer")
        named = options_named(options, said)
        counts = _is_index(said) and all(option.label != said for option in options)
        if counts and self._may_be_a_place(int(said), len(options), named):
            raise DataError(
                f"Column {column!r}: is {said} an option itself, its number from 0, or from 1?",
                where=self.entry.where,
                expected="the text of an option, its letter, or its number from 0",
                fix=f"--columns=answer_index={column} if the first option is 0; else write letters",
            )
        if len(answers) == 1 and len(named) == 1:
            return named.pop()
        raise BadRow(
            f"Column {column!r}: {said!r} "
            f"{'could mean more than one' if named else 'is not one'} of the options",
            where=self.entry.where,
            expected="one of " + ", ".join(o.text for o in options) + ", or its letter",
            fix="correct the answer, or remove the row",
        )

    def _number(self, column: str, options: list[Option]) -> int:
        """The option that `answer_index` counts to from 0."""
        value = self.entry.fields[column]
        number = (cells.text(self.entry, (column,), value) or "").removesuffix(".0")
        labels = [option.label for option in options]
        if labels[0].isdecimal() and labels != [str(i) for i in range(len(labels))]:
            labels = "numbers of their own, from " + labels[0]
        elif _is_index(number) and int(number) < len(options):
            return int(number)
        else:
            labels = ""
        raise BadRow(
            f"Column {column!r} is {cells.described(value)}"
            + (f", and the options have {labels}" if labels else ""),
            where=self.entry.where,
            expected=f"0 to {len(options) - 1}: the first option is 0",
            fix="count the options from 0",
        )

    def _may_be_a_place(self, number: int, options: int, named: set[int]) -> bool:
        """Whether a number among the answers may count the options rather than name one."""
        value = self.entry.fields[self.column("answer")]
        return number <= options and not (named and isinstance(value, str))

    def _caption(self, images: list[ImageRef]) -> Record:
        role = "caption" if self.column("caption") or not self.column("answer") else "answer"
        captions = [said.text for said in self.texts(role)]
        if not captions and (self.has("caption") or self.has("answer")):
            raise self.bad("caption" if self.has("caption") else "answer")
        if not captions:
            raise BadRow(
                "A row without a text to learn",
                where=self.entry.where,
                expected="a caption, a question with an answer, or conversations; it has the "
                "columns " + ", ".join(map(str, self.entry.fields)),
                fix="fill it in, or say which column is which: "
                "--columns=image=...,question=...,answer=...",
            )
        column = self.column(role)
        value = self.entry.fields[column]
        if isinstance(value, bool | int | float):
            raise cells.unknown(self.entry, (column,), value, "a text that describes the image")
        if role == "answer":
            others = (c for c in self._rest() if self._role(c) in (None, *columns.CONTENT))
            columns.a_caption(self.entry, column, others)
        if len(images) == len(captions) > 1:
            raise DataError(
                f"{len(images)} images and {len(captions)} captions in one row: whole columns as "
                "lists, or several captions of all images?",
                where=self.entry.where,
                expected="a row for each image with its caption",
                fix="write a row for each image; several images take one caption, or a question",
            )
        if not images and self.has("image"):
            there = ", ".join(repr(c) for group in self.names["image"] for c in group)
            raise BadRow(
                f"A caption without an image: {there} has nothing in it",
                where=self.entry.where,
                expected="the image that it describes",
                fix="name the image, or remove the row",
            )
        return self._new("caption", captions, images, (), answers=captions)


@dataclass(frozen=True)
class Option:
    """One of the options of a question, and what an answer may call it."""

    label: str
    text: str | None


def options_named(options: list[Option], said: str) -> set[int]:
    """The options that an answer may mean: by text, by label, or by both ("B. red")."""
    said = unicodedata.normalize("NFKC", said) if _WIDE.match(said) else said  # Ｂ．红
    said = said.casefold()
    found = {i for i, option in enumerate(options) if option.text.casefold() == said}
    mark = _LETTER.match(said)
    for index, option in enumerate(options):
        label, text = option.label.casefold(), option.text.casefold()
        marked = mark and mark[1] == label and said[mark.end() :].strip() in ("", text)
        if marked or said == label:
            found.add(index)
    return found


def _without_marks(options: list[Option]) -> list[Option]:
    """The options without the letters that they begin with, where all do: prompts add them."""
    marks = [_MARK.match(option.text) for option in options]
    if not all(marks) or [m[1].upper() for m in marks] != list(_LETTERS[: len(marks)]):
        return options
    return [Option(m[1], o.text[m.end() :]) for m, o in zip(marks, options, strict=True)]


def _letter(index: int) -> str:
    return _LETTERS[index] if index < 26 else ""


_IMAGE_NAMES = frozenset(name for group in columns.USUAL["image"] for name in group)


def _is_index(text: str) -> bool:
    """Whether it is a whole number that may count options; of thousands of digits it is none."""
    return text.isdecimal() and len(text) < 10
