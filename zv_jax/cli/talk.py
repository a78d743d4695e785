"""The lines of a conversation in the terminal: questions, and commands that begin with /."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from zv_jax.cli.generate import read_image
from zv_jax.cli.language import say
from zv_jax.cli.lines import Lines
from zv_jax.data.text.dialogue import Exchange
from zv_jax.errors import DataError
from zv_jax.inference import conversation
from zv_jax.inference.chat import Chat
from zv_jax.inference.conversation import Turn

LEAVE = "/quit"


class Talk:
    """Answers the lines that come, until they end.

    Args:
        chat: empty.
        lines: where they come from.
        images: to show with the first question; they can be read.
    """

    def __init__(self, chat: Chat, lines: Lines, images: list[Path]):
        self._chat, self._lines = chat, lines
        self._shown: list[Path] = []  # of the conversation
        self._waiting = list(images)  # for the next question
        self._stopped: str | None = None  # a question whose answer was stopped
        self._commands: dict[str, Callable[[str], None]] = {
            "/image": self._image,
            "/retry": self._retry,
            "/edit": self._edit,
            "/save": self._save,
            "/load": self._load,
            "/clear": self._clear,
            "/help": self._help,
        }

    def run(self) -> None:
        """Reads lines until they end, or one asks to leave.

        What cannot be read or asked is an error message, and the conversation goes on as before.
        """
        while True:
            try:
                line = self._lines.next()
            except KeyboardInterrupt:
                if not self._lines.terminal:
                    raise
                print()  # as shells do: the line is given up
                continue
            if line is None or line == LEAVE:
                break
            if line:
                self._answer_line(line)
        self._lines.keep()

    def _answer_line(self, line: str) -> None:
        try:
            if not line.startswith("/"):
                self._ask(line)
                return
            command, _, rest = line.partition(" ")
            if command not in self._commands:
                raise _Refused(say("unknown", command=command))
            self._commands[command](rest.strip())
        except KeyboardInterrupt:
            print(f"\n{say('stopped')}", file=sys.stderr, flush=True)
        except (DataError, _Refused) as error:
            print(error, file=sys.stderr, flush=True)

    # --- questions --------------------------------------------------------------------------

    def _ask(self, question: str) -> None:
        """Answers, with the images that wait; if the answer is stopped they wait for the next."""
        images, self._waiting = self._waiting, []
        try:
            _print(self._chat.stream(question, [read_image(path) for path in images]))
        except KeyboardInterrupt:
            self._waiting, self._stopped = images, question
            raise
        self._shown += images
        self._stopped = None

    def _retry(self, rest: str) -> None:
        if self._stopped is not None:
            self._ask(self._stopped)
        else:
            self._last()
            _print(self._chat.retry())

    def _edit(self, rest: str) -> None:
        old = self._last() if self._stopped is None else self._stopped
        new = rest or self._edited(old)
        if not new:
            return
        if self._stopped is not None:
            self._ask(new)
        else:
            _print(self._chat.retry(new))

    def _edited(self, old: str) -> str:
        """The question as a person changes it; empty if it is given up."""
        if not self._lines.terminal:
            raise _Refused(say("no_edit"))
        return self._lines.next(draft=old) or ""

    def _last(self) -> str:
        if not self._chat.history:
            raise _Refused(say("nothing_asked"))
        return self._chat.history[-1].question

    # --- the other commands -----------------------------------------------------------------

    def _image(self, rest: str) -> None:
        path = _path(rest, "/image")
        read_image(path)
        self._waiting.append(path)
        number = len(self._shown) + len(self._waiting)
        print(say("image", number=number, path=path), file=sys.stderr)

    def _save(self, rest: str) -> None:
        path = _path(rest, "/save")
        turns = [
            Turn(turn.question, turn.answer or "", tuple(self._shown[i] for i in turn.images))
            for turn in self._chat.history
        ]
        conversation.save(path, turns)
        print(say("saved", turns=len(turns), path=path), file=sys.stderr)

    def _load(self, rest: str) -> None:
        path = _path(rest, "/load")
        turns = conversation.load(path)
        shown = [image for turn in turns for image in turn.images]
        images = [read_image(image) for image in shown]
        history: list[Exchange] = []
        known = 0
        for turn in turns:
            numbers = tuple(range(known, known + len(turn.images)))
            history.append(Exchange(turn.question, turn.answer, numbers))
            known += len(numbers)
        self._chat.resume(history, images)
        self._shown, self._waiting, self._stopped = shown, [], None
        print(say("loaded", turns=len(turns), path=path), file=sys.stderr)

    def _clear(self, rest: str) -> None:
        self._chat.reset()
        self._shown, self._waiting, self._stopped = [], [], None
        print(say("cleared"), file=sys.stderr)

    def _help(self, rest: str) -> None:
        print(say("help"), file=sys.stderr)


def _print(pieces: Iterator[str]) -> None:
    """The pieces of an answer as they come."""
    for piece in pieces:
        print(piece, end="", flush=True)
    print(flush=True)


class _Refused(Exception):
    """A command that cannot be done; its text says why."""


def _path(rest: str, command: str) -> Path:
    """The file behind a command; quotes around it, which a dropped file may bring, go."""
    if len(rest) > 1 and rest[0] == rest[-1] and rest[0] in "'\"":
        rest = rest[1:-1]
    if not rest:
        raise _Refused(say("needs_file", command=command))
    return Path(rest).expanduser()
