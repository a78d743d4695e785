"""What a `tokenizer.json` is checked for before the library `tokenizers` sees it.

That library is written in Rust and trusts some fields: it cuts merges at the length of a prefix
that they need not have, and takes the size of a table from the table itself. The first ends the
whole process, without a message; the second may. It also replaces whatever it is to replace, and
twenty times two letters for one are a million.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from zv_jax import patterns
from zv_jax.errors import DataError

MAX_IDS = 1 << 24  # the largest vocabularies have a sixtieth of that
MAX_WORD = 1000  # characters of a word that WordPiece cuts: it takes time with their square
MAX_PATTERN = 2000  # characters; the longest of published tokenizers has some 600
MAX_REPETITIONS = 5  # `*`, `+` and `{` between two `|`
MAX_STEPPED_BACK = 1  # of them, which takes time with the square of a text: 3 s for 30,000 spaces
MAX_CHOICES = 1024  # ways through groups, and what is optional, between two `|`
STEPPED_BACK_COSTS = 32  # choices, since they are all tried for each of its lengths
_PARTS = ("normalizers", "pretokenizers", "decoders")  # of sequences
MAX_GROWTH = 1024  # one Arabic ligature becomes 33 bytes; nothing else grows as much


def check(data: bytes, where: str) -> None:
    """Raises:
    DataError: `data` is no JSON object, or would make the library end the process or take all
        memory.
    """
    try:
        raw = json.loads(data)
        if not isinstance(raw, dict):
            raise ValueError(f"it holds a {type(raw).__name__}, not an object")
        _check_merges(raw.get("model"))
        _check_word(raw.get("model"))
        for name in ("normalizer", "pre_tokenizer", "decoder"):
            _check_growth(_growth(raw.get(name)))
            _check_patterns(raw.get(name))
    except (ValueError, RecursionError) as error:  # JSON and Unicode errors are ValueErrors
        raise wrong(error, where) from None


def _check_merges(model: Any) -> None:
    prefix = model.get("continuing_subword_prefix") if isinstance(model, dict) else None
    if not isinstance(prefix, str) or not prefix or not isinstance(model.get("merges"), list):
        return
    for merge in model["merges"]:
        pair = merge.split(" ") if isinstance(merge, str) else merge
        right = isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], str)
        if not right or not pair[1].startswith(prefix):
            raise ValueError(
                f"continuing_subword_prefix is {prefix!r}, and the merge {merge!r} has no second "
                "part that begins so"
            )


def _check_word(model: Any) -> None:
    longest = model.get("max_input_chars_per_word") if isinstance(model, dict) else None
    if isinstance(longest, int) and longest > MAX_WORD:
        raise ValueError(f"it cuts words of up to {longest:,} characters, which takes for ever")


def _growth(part: Any) -> int:
    """How many times longer a part of a tokenizer may make a text: those of a sequence multiply.
    A pattern may match nothing, before every character; a byte may become a letter of two.

    Raises:
        ValueError: a `precompiled_charsmap` is damaged.
    """
    if isinstance(part, list):
        return math.prod(map(_growth, part))
    if not isinstance(part, dict):
        return 1
    own = 1
    if part.get("type") == "Precompiled":
        try:
            table = base64.b64decode(part.get("precompiled_charsmap"), validate=True)
        except (TypeError, binascii.Error):
            raise ValueError("precompiled_charsmap is no base64") from None
        own = _longest(table)
    for field in ("content", "prepend"):  # of Replace, of Prepend
        if isinstance(part.get(field), str):
            pattern = part.get("pattern")
            beside = field == "prepend" or pattern == {"String": ""} or "Regex" in (pattern or ())
            own = len(part[field]) + beside
    if part.get("type") == "ByteLevel":
        own = 2
    return max(1, own) * math.prod(_growth(part.get(name)) for name in _PARTS)


def _check_patterns(part: Any) -> None:
    """Raises:
    ValueError: a search for a pattern in it may take for ever.
    """
    if isinstance(part, list):
        for item in part:
            _check_patterns(item)
    if not isinstance(part, dict):
        return
    for name in _PARTS:
        _check_patterns(part.get(name))
    pattern = part.get("pattern")
    pattern = pattern.get("Regex") if isinstance(pattern, dict) else None
    if isinstance(pattern, str) and _endless(pattern):
        raise ValueError(f"a search for the pattern {pattern[:200]!r} may take for ever")


def _endless(pattern: str) -> bool:
    if len(pattern) > MAX_PATTERN or "\\g<" in pattern:  # which is a pattern within itself
        return True
    for part in patterns.alternatives(pattern):
        found = patterns.shape(part)
        if found.hidden or found.repeats_choice or found.repeated > MAX_REPETITIONS:
            return True
        if found.stepped_back > MAX_STEPPED_BACK:
            return True
        if found.choices * STEPPED_BACK_COSTS**found.stepped_back > MAX_CHOICES:
            return True
    return False


def _longest(table: bytes) -> int:
    """Bytes of the longest text that a character becomes by a `precompiled_charsmap`: the size of
    its first table in four bytes, the table, and texts that end with a zero.

    Raises:
        ValueError: the first table leads out of it.
    """
    size = int.from_bytes(table[:4], "little")
    if len(table) < 4 or size % 4 or not 0 < size <= len(table) - 4:
        raise ValueError(
            f"precompiled_charsmap has {len(table)} bytes, and claims a table of {size}"
        )
    return max(map(len, table[4 + size :].split(b"\0")))


def check_charsmap(table: bytes) -> None:
    """Raises:
    ValueError: by the `precompiled_charsmap` of a SentencePiece model a text grows without measure.
    """
    if table:
        _check_growth(_longest(table))


def _check_growth(times: int) -> None:
    if times > MAX_GROWTH:
        raise ValueError(f"it makes a text up to {times:,} times longer before it is cut to pieces")


def check_ids(vocab: Mapping[str, int], where: str) -> None:
    """Raises:
    DataError: there is no token, or an id that no vocabulary has.
    """
    largest = max(vocab.values(), default=-1)
    if not 0 <= largest < MAX_IDS:
        what = f"an id of {largest}" if vocab else "no token"
        raise wrong(ValueError(f"its vocabulary has {what}"), where)


@contextmanager
def library(where: str, what: str) -> Iterator[None]:
    """Turns whatever the library raises into one DataError.

    A panic of Rust arrives as a BaseException of a module that cannot be imported.
    """
    try:
        yield
    except (DataError, KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise wrong(error, where, what) from None


def wrong(error: BaseException, where: str, what: str = "not a tokenizer.json") -> DataError:
    """The error of a file that the library cannot use."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return DataError(
        f"{what}: {lines[0][:300]}",
        where=where,
        expected="a file written by the library `tokenizers`",
        fix="check the path and the kind, or copy the file again",
    )
