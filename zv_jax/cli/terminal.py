"""Foreign text on a terminal: control characters are shown, not sent.

Names of files, texts of records and answers of models may hold escape sequences that would move
the cursor, rename the window or type into the shell.
"""

from __future__ import annotations

import io
import re
from typing import Any, TextIO

# C0 but for tab and line feed, DEL and C1; the last also holds the one-byte form of "ESC [".
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def visible(text: str) -> str:
    """`text` with every control character but tab and line feed as `\\x1b`."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def guarded(stream: TextIO) -> TextIO:
    """`stream`, whose output is made visible where it is a terminal; files get every byte.

    Half a surrogate pair, which can be written nowhere, is shown as `\\ud800` in both.
    """
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return _Visible(stream) if stream.isatty() else stream


class _Visible:
    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(visible(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
