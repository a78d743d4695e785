"""Tensors of theirs, read one at a time: safetensors, and PyTorch files where torch is installed.

A source knows every name, shape and dtype before it reads a value, and holds no tensor after it
was handed out.
"""

from __future__ import annotations

import json
import logging
import math
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
import ml_dtypes
import numpy as np

from zv_jax.errors import ConversionError, SetupError

log = logging.getLogger(__name__)

Spec = jax.ShapeDtypeStruct
INDEX = "{}.index.json"
_SHARDS = r"{}-\d+-of-\d+\.{}"
ENDINGS = (".safetensors", ".bin", ".pt", ".pth")
NAMES = ("model.safetensors", "pytorch_model.bin")  # of a whole checkpoint, best first
MAX_AXES, MAX_VALUES = 32, 2**48  # of a tensor: more than any file or memory holds
LONGEST_NAME = 255  # bytes of the name of a file, on any file system
SAFE_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


class Source(Protocol):
    """What the tables are applied to.

    Attributes:
        where: the file or directory, for messages.
        specs: shape and dtype of every tensor by name.
    """

    where: str
    specs: Mapping[str, Spec]

    def read(self, name: str) -> np.ndarray:
        """The tensor `name`."""


class SafetensorsFile:
    """One `.safetensors` file. It is read in pieces, not mapped, so memory holds one tensor."""

    def __init__(self, path: Path):
        """Reads the header.

        Raises:
            ConversionError: it is cut off or is no safetensors file.
        """
        self.where = str(path)
        self._path = path
        self.specs: dict[str, Spec] = {}
        with _open_safetensors(path) as file:
            for name in file.keys():
                part = file.get_slice(name)
                if part.get_dtype() not in SAFE_DTYPES:
                    raise ConversionError(
                        f"tensor {name!r} has the dtype {part.get_dtype()}",
                        where=self.where,
                        expected="one of " + ", ".join(SAFE_DTYPES),
                        fix="convert a checkpoint that is not quantised",
                    )
                dtype = SAFE_DTYPES[part.get_dtype()]
                shape = tuple(part.get_shape())
                try:
                    _check_shape(name, shape)
                except ValueError as error:
                    raise ConversionError(
                        str(error),
                        where=self.where,
                        expected=f"up to {MAX_AXES} axes, none of them empty beside a huge one",
                        fix="download or copy it again",
                    ) from None
                self.specs[name] = Spec(shape, dtype)

    def read(self, name: str) -> np.ndarray:
        with _open_safetensors(self._path) as file:
            return file.get_tensor(name)


def _check_shape(name: str, shape: Sequence[int]) -> None:
    """An empty tensor may claim any other axis, and numpy then fails where it is read.

    Raises:
        ValueError: no array has the shape.
    """
    if len(shape) > MAX_AXES or math.prod(axis for axis in shape if axis) > MAX_VALUES:
        raise ValueError(f"tensor {name!r} has a shape that no array has: {str(shape):.100}")


def _open_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="np", backend="pread")
    except (SafetensorError, OSError) as error:
        raise ConversionError(
            f"the file is damaged or cut off: {error}",
            where=str(path),
            expected="a whole .safetensors file",
            fix="download or copy it again",
        ) from None


class TorchFile:
    """One `.bin`, `.pt` or `.pth` file: a state dictionary, also below "model" or "state_dict".

    Values are mapped from the disk where the file allows it. Code in the file is never run.
    """

    def __init__(self, path: Path):
        """Reads everything but the values.

        Raises:
            SetupError: torch is not installed.
            ConversionError: it is damaged, or holds other things than tensors.
        """
        try:
            import torch
        except ImportError:
            raise SetupError(
                "reading a PyTorch file needs the package `torch`",
                where=str(path),
                expected="torch installed, or a .safetensors file",
                fix="pip install torch",
            ) from None
        self.where = str(path)
        try:
            tensors = _load_torch(path)
            for key in ("model", "state_dict"):
                if isinstance(tensors.get(key), Mapping):
                    tensors = tensors[key]
            self._tensors = {
                name: value
                for name, value in tensors.items()
                if isinstance(name, str) and isinstance(value, torch.Tensor)
            }
            for name, value in self._tensors.items():
                _check_shape(name, value.shape)
                _check_storage(name, value)
            self.specs = {name: _torch_spec(value) for name, value in self._tensors.items()}
        except Exception as error:  # torch raises many kinds for broken files
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ConversionError(
                f"the file cannot be read as a PyTorch state dictionary: {first[:200]}",
                where=str(path),
                expected="a whole file of tensors by name",
                fix="download or copy it again",
            ) from None

    def read(self, name: str) -> np.ndarray:
        return _torch_array(self._tensors[name])


def _load_torch(path: Path) -> Any:
    import torch

    # Files from before torch 1.6 are no archives and cannot be mapped. An archive that cannot be
    # is compressed, which torch never writes: a few bytes could become gigabytes.
    return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))


def _check_storage(name: str, tensor: Any) -> None:
    """A tensor may be stretched over one number; written out it is as large as it says.

    Raises:
        ValueError: it has more values than the file holds for it.
    """
    stored, claimed = tensor.untyped_storage().nbytes(), tensor.numel() * tensor.element_size()
    if claimed > stored:
        raise ValueError(f"tensor {name!r} has {claimed} bytes, of which {stored} are stored")


def _torch_spec(tensor: Any) -> Spec:
    return Spec(tuple(tensor.shape), _torch_array(tensor.flatten()[:0]).dtype)


def _torch_array(tensor: Any) -> np.ndarray:
    import torch

    tensor = tensor.detach().contiguous()
    if tensor.dtype == torch.bfloat16:  # numpy has no such dtype of its own
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


class Sharded:
    """Several files with an index, or any sources that together make one checkpoint."""

    def __init__(self, where: str, parts: Mapping[str, Source]):
        """`parts`: for each tensor the source that has it."""
        self.where, self._parts = where, parts
        self.specs = {name: source.specs[name] for name, source in parts.items()}

    def read(self, name: str) -> np.ndarray:
        return self._parts[name].read(name)


class Renamed:
    """A source under other names: `rename(name)`, or no tensor at all where that is None."""

    def __init__(self, source: Source, rename: Callable[[str], str | None]):
        self.where, self._source = source.where, source
        self._names = {new: old for old in source.specs if (new := rename(old)) is not None}
        self.specs = {new: source.specs[old] for new, old in self._names.items()}

    def read(self, name: str) -> np.ndarray:
        return self._source.read(self._names[name])


def together(*sources: Source) -> Source:
    """One source of all tensors of several.

    Raises:
        ConversionError: two of them have a tensor of one name.
    """
    if len(sources) == 1:
        return sources[0]
    parts: dict[str, Source] = {}
    for source in sources:
        twice = next((name for name in source.specs if name in parts), None)
        if twice is not None:
            raise ConversionError(
                f"tensor {twice!r} is there twice",
                where=f"{parts[twice].where} and {source.where}",
                expected="each tensor once",
                fix="leave out the file that does not belong to the model",
            )
        parts |= dict.fromkeys(source.specs, source)
    return Sharded(" and ".join(source.where for source in sources), parts)


def open_file(path: Path) -> Source:
    """The tensors of one file, by its ending."""
    return SafetensorsFile(path) if path.suffix == ".safetensors" else TorchFile(path)


def open_source(path: str | Path) -> Source:
    """The tensors of a file, or of a directory in the layout of `save_pretrained`.

    As in transformers, one whole file goes before an index with its shards. Shards without an
    index are read where all of them are there.

    Raises:
        ConversionError: there are none, a shard is missing or cut off, or index and shards
            disagree.
        SetupError: the only files are PyTorch's and torch is not installed.
    """
    path = Path(path)
    if path.is_file():
        return open_file(path)
    for name in NAMES:
        index = path / INDEX.format(name)
        if (path / name).is_file():
            if index.is_file() and set(_weight_map(index).values()) != {name}:
                log.warning(
                    "%s: %s is read, as transformers does, and %s with its shards is not; remove "
                    "the one that is out of date",
                    path,
                    name,
                    index.name,
                )
            return open_file(path / name)
        if index.is_file():
            return _open_index(index)
        pattern = _SHARDS.format(*name.split("."))
        if shards := sorted(file for file in path.glob("*") if re.fullmatch(pattern, file.name)):
            return _open_shards(shards)
    others = sorted(file.name for ending in ENDINGS for file in path.glob(f"*{ending}"))
    raise ConversionError(
        "there are no weights here" + (f", only {', '.join(others)}" if others else ""),
        where=str(path),
        expected="one of " + ", ".join(f"{n} or {INDEX.format(n)}" for n in NAMES),
        fix=f"rename {others[0]} if it is the whole model"
        if others
        else "give the directory of a downloaded model, or one weight file",
    )


def _open_shards(files: Sequence[Path]) -> Source:
    """The shards of one checkpoint by their names alone: each of `-00001-of-00003` and so on.

    Raises:
        ConversionError: some are missing, they are of several checkpoints, or a tensor is in two.
    """
    folder = files[0].parent
    stem, count = re.fullmatch(r"(.*)-\d+-of-(\d+)\.\w+", files[0].name).groups()
    # A name may claim any count: the first file that is missing is one of these.
    first = range(1, min(int(count), len(files) + 1) + 1)
    wanted = [f"{stem}-{i:05d}-of-{count}{files[0].suffix}" for i in first]
    names = [file.name for file in files]
    if names != wanted:
        missing = [name for name in wanted if name not in names]
        wrong = f"{missing[0]} is missing" if missing else f"{set(names) - set(wanted)} are others"
        raise ConversionError(
            f"the shards have no index, and {wrong}",
            where=str(folder),
            expected=f"{count} files of one checkpoint, or {stem}{files[0].suffix}.index.json",
            fix="download the missing files, and remove those of other checkpoints",
        )
    parts: dict[str, Source] = {}
    for file in files:
        source = open_file(file)
        for tensor in source.specs:
            if tensor in parts:
                raise ConversionError(
                    f"tensor {tensor!r} is in two shards, which have no index",
                    where=f"{parts[tensor].where} and {source.where}",
                    expected="each tensor once",
                    fix="download the index and the shards of one version",
                )
            parts[tensor] = source
    return Sharded(str(folder), parts)


def _weight_map(index: Path) -> dict[str, str]:
    """The file of each tensor.

    Raises:
        ConversionError: the index is damaged, or names a file outside its own folder.
    """
    try:
        weight_map = json.loads(index.read_text("utf-8"))["weight_map"]
        outside = [
            name
            for name in weight_map.values()
            if name in ("", ".", "..")
            or Path(name).name != name
            or "\0" in name
            or len(name.encode()) > LONGEST_NAME
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConversionError(
            f"the index cannot be read: {error!r}",
            where=str(index),
            expected='JSON with {"weight_map": {tensor: file}}',
            fix="download it again",
        ) from None
    if outside:
        raise ConversionError(
            f"the index names the file {outside[0]!r:.100}",
            where=str(index),
            expected="names of files beside it, without a folder",
            fix="download it again, from a place that you trust",
        )
    return weight_map


def _open_index(index: Path) -> Source:
    weight_map = _weight_map(index)
    files: dict[str, Source] = {}
    for name in sorted(set(weight_map.values())):
        if not (index.parent / name).is_file():
            raise ConversionError(
                f"shard {name} is missing",
                where=str(index.parent),
                expected=f"the {len(set(weight_map.values()))} files of {index.name}",
                fix="download the missing file",
            )
        files[name] = open_file(index.parent / name)
    for tensor, name in weight_map.items():
        if tensor not in files[name].specs:
            raise ConversionError(
                f"tensor {tensor!r} is not in its shard",
                where=str(index.parent / name),
                expected=f"the tensors that {index.name} lists for it",
                fix="download index and shards of one version",
            )
    for name, source in files.items():
        for tensor in source.specs:
            if tensor not in weight_map:
                raise ConversionError(
                    f"tensor {tensor!r} of {name} is not in the index",
                    where=str(index),
                    expected="an entry for every tensor of every shard",
                    fix="download index and shards of one version",
                )
    return Sharded(str(index.parent), {t: files[name] for t, name in weight_map.items()})
