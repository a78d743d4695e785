"""Lines that a person types, or that come through a pipe.

On a terminal GNU readline edits them: it knows how wide Chinese characters and emoji are, and
brings back earlier lines, also those of earlier conversations.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path
from types import ModuleType

from zv_jax.parallel.runtime import cache_dir

_REMEMBERED = 1000  # lines


class Lines:
    """Standard input, line by line.

    Attributes:
        terminal: whether a person types at a terminal.
    """

    def __init__(self) -> None:
        self.terminal = sys.stdin.isatty() and sys.stdout.isatty()
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(errors="replace")
        self._editor = _editor() if self.terminal else None
        if self._editor is not None:
            with contextlib.suppress(OSError):  # the first conversation, or a cache of others
                self._editor.read_history_file(_history())
            self._editor.set_history_length(_REMEMBERED)

    def next(self, draft: str = "") -> str | None:
        """The next line, stripped; None at the end of the input.

        Args:
            draft: text that is there already, to be edited, on a terminal.

        Raises:
            KeyboardInterrupt: Ctrl-C.
        """
        if self._editor is not None:
            hook = (lambda: self._editor.insert_text(draft)) if draft else None
            self._editor.set_startup_hook(hook)
        try:
            return input("> " if self.terminal else "").strip()
        except EOFError:
            return None

    def keep(self) -> None:
        """Keeps the lines of this conversation for later ones; only their owner may read them."""
        if self._editor is None:
            return
        with contextlib.suppress(OSError):  # a convenience, and no reason to fail
            _history().parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(_history(), os.O_CREAT | os.O_WRONLY, 0o600))
            self._editor.write_history_file(_history())


def _history() -> Path:
    return cache_dir() / "chat_history"


def _editor() -> ModuleType | None:
    """The module that edits lines; None where Python comes without it."""
    try:
        import readline
    except ImportError:
        return None
    return readline
