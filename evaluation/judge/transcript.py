"""Every reply a judge ever gave, by the hash of the request: nothing is asked or paid for twice.

One JSON object a line, only ever appended, each line flushed to the disk when it is written. A last
line that an interruption tore is cut off on opening. Replies from a batch service join the same
file, so that scores come from it alone, with or without a network.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from zv_jax.errors import DataError


def key_of(body: Mapping[str, Any]) -> str:
    """The hash of a request: the model, the messages and every setting."""
    text = json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class Transcript:
    """Replies by key, on disk.

    Raises:
      DataError: a line other than the last is broken.
    """

    def __init__(self, file: str | Path):
        self.file = Path(file)
        self._replies: dict[str, dict[str, Any]] = {}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        if self.file.is_file():
            self._open()

    def _open(self) -> None:
        data = self.file.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        for number, line in enumerate(whole.split(b"\n")[:-1], 1):
            try:
                entry = json.loads(line)
                self._replies[entry["key"]] = entry
                if not isinstance(entry["reply"], str):
                    raise ValueError("its reply is no text")
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise DataError(
                    f"not a reply of a judge: {error}",
                    where=f"{self.file} line {number}",
                    expected="one JSON object with `key` and `reply`",
                    fix="remove the line; its request will be asked again",
                ) from error
        if len(whole) < len(data):  # torn by an interruption
            with self.file.open("r+b") as out:
                out.truncate(len(whole))

    def __len__(self) -> int:
        return len(self._replies)

    def get(self, key: str) -> str | None:
        """The reply to a request, if there is one."""
        entry = self._replies.get(key)
        return None if entry is None else entry["reply"]

    def add(self, key: str, reply: str, **facts: Any) -> None:
        """Keeps a reply; a key that is there already keeps its first one."""
        if key in self._replies:
            return
        entry = {"key": key, "reply": reply, **facts}
        with self.file.open("a", encoding="utf-8") as out:
            out.write(json.dumps(entry, ensure_ascii=False) + "\n")
            out.flush()
            os.fsync(out.fileno())
        self._replies[key] = entry


def export_batch(bodies: Iterable[Mapping[str, Any]]) -> str:
    """Requests in the form of OpenAI's Batch API, one a line; `custom_id` is the key."""
    lines = [
        json.dumps(
            {
                "custom_id": key_of(body),
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": body,
            },
            ensure_ascii=False,
        )
        for body in bodies
    ]
    return "".join(line + "\n" for line in lines)


def import_batch(file: str | Path, transcript: Transcript) -> tuple[int, list[str]]:
    """Takes replies of a batch into the transcript.

    Returns:
      How many were taken, and a line for each that failed.

    Raises:
      DataError: the file is missing, or a line is no entry of a batch.
    """
    try:
        lines = Path(file).read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read: {error}", where=str(file)) from error
    taken, failed = 0, []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            key, response = entry["custom_id"], entry.get("response") or {}
            if not isinstance(key, str) or not isinstance(response, dict):
                raise ValueError("another kind of value")
            key.encode()  # as below
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(
                f"not an entry of a batch: {error}",
                where=f"{file} line {number}",
                expected='{"custom_id": ..., "response": {"status_code": 200, "body": {...}}}',
            ) from error
        try:
            body = response["body"]
            text = body["choices"][0]["message"]["content"]
            if response.get("status_code", 200) != 200 or not isinstance(text, str):
                raise ValueError("no completion")
            model = str(body.get("model", ""))
            (text + model).encode()  # half a surrogate pair could not be written down
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            failed.append(f"line {number}: {entry.get('error') or response.get('status_code')}")
            continue
        transcript.add(key, text, model=model, source=Path(file).name)
        taken += 1
    return taken, failed
