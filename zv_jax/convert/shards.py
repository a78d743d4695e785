"""Writing safetensors: planned first, filled in any order, never held in memory.

The library writes a file from tensors that are all in memory. Here headers and sizes follow from
names, shapes and dtypes, so that each tensor goes straight to its place, whichever comes first.
Format: 8 bytes with the length of a JSON header, the header, the tensors without gaps.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from zv_jax import casts
from zv_jax.convert.sources import SAFE_DTYPES, Spec
from zv_jax.errors import ConfigError

_CODES = {np.dtype(dtype): code for code, dtype in SAFE_DTYPES.items()}
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def parse_size(text: str, where: str = "--max-shard-size") -> int:
    """Bytes of "5GB", "500MB", "15.75GiB" or a plain number.

    Raises:
        ConfigError: it is none of these; `where` names the flag.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]I?B)?", text.strip().upper())
    size = int(float(match[1]) * _UNITS[match[2] or ""]) if match else 0
    if size == 0:
        raise ConfigError(
            f"{text!r} is no size",
            where=where,
            expected="a number with a unit, such as 5GB or 500MB",
        )
    return size


class Writer:
    """The shards of one model; `write` each tensor once, then `close`.

    One shard is `model.safetensors`; several are numbered and have an index, as in transformers.
    """

    def __init__(
        self,
        folder: Path,
        specs: Mapping[str, Spec],
        max_bytes: int,
        name: str = "model",
        where: str = "",
    ):
        """Lays out the files. The order of `specs` is the order of the tensors in them; `where`
        names the source, for messages."""
        groups: list[dict[str, Spec]] = [{}]
        filled = 0
        for tensor, spec in specs.items():
            if filled and filled + byte_size(spec) > max_bytes:
                groups.append({})
                filled = 0
            groups[-1][tensor] = spec
            filled += byte_size(spec)
        total = len(groups)
        self._specs, self._where = dict(specs), where
        self._zeroed: Counter[str] = Counter()
        self._places: dict[str, tuple[BinaryIO, int]] = {}
        self._left = set(specs)
        self._files: list[BinaryIO] = []
        weight_map = {}
        for number, group in enumerate(groups, 1):
            file = f"{name}.safetensors"
            if total > 1:
                file = f"{name}-{number:05d}-of-{total:05d}.safetensors"
            self._open(folder / file, group)
            weight_map.update(dict.fromkeys(group, file))
        if total > 1:
            size = sum(map(byte_size, specs.values()))
            index = {"metadata": {"total_size": size}, "weight_map": weight_map}
            text = json.dumps(index, indent=2, sort_keys=True)
            (folder / f"{name}.safetensors.index.json").write_text(text + "\n", "utf-8")

    def _open(self, path: Path, group: Mapping[str, Spec]) -> None:
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        offsets, end = {}, 0
        for tensor, spec in group.items():
            offsets[tensor], end = end, end + byte_size(spec)
            header[tensor] = {
                "dtype": _CODES[np.dtype(spec.dtype)],
                "shape": list(spec.shape),
                "data_offsets": [offsets[tensor], end],
            }
        head = json.dumps(header, separators=(",", ":")).encode()
        head += b" " * (-len(head) % 8)
        file = path.open("wb")
        self._files.append(file)
        file.write(len(head).to_bytes(8, "little") + head)
        file.truncate(8 + len(head) + end)
        for tensor, offset in offsets.items():
            self._places[tensor] = file, 8 + len(head) + offset

    def write(self, tensor: str, value: np.ndarray) -> None:
        """Puts a tensor in its place, cast to its planned dtype.

        Raises:
            ConversionError: a value is not finite, or has no place in that dtype.
        """
        spec = self._specs[tensor]
        if value.shape != tuple(spec.shape):
            raise ValueError(f"{tensor} was planned as {spec.shape} and is {value.shape}")
        casts.finite(value, tensor, self._where)
        value = casts.cast(value, spec.dtype, tensor, self._where, self._zeroed)
        file, offset = self._places[tensor]
        file.seek(offset)
        file.write(np.asarray(value, order="C").reshape(-1).view(np.uint8).data)
        self._left.remove(tensor)

    def close(self) -> None:
        """Finishes the files, and says how many values a cast made 0.

        Raises:
            ValueError: a tensor was planned and not written.
        """
        for file in self._files:
            file.close()
        if self._left:
            raise ValueError(f"{len(self._left)} tensors were not written: {min(self._left)}")
        casts.say(self._zeroed, self._where)


def byte_size(spec: Spec) -> int:
    """Bytes of a tensor."""
    return int(np.prod(spec.shape)) * np.dtype(spec.dtype).itemsize
