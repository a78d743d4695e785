"""From a table and a source to an Orbax checkpoint, one layer in memory at a time.

`plan` checks everything that names, shapes and dtypes can tell before a value is read; `write`
reads, transforms and stores piece by piece, under a temporary name until all of it is there.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts

from zv_jax import casts
from zv_jax.checkpoints import arrays as leaves
from zv_jax.checkpoints import manager as checkpoint
from zv_jax.convert.coverage import Coverage
from zv_jax.convert.names import Entry, Family
from zv_jax.convert.sources import Source, Spec
from zv_jax.errors import ConversionError, nearest

STEP = 0  # of a converted checkpoint
PARTIAL = ".partial"  # ending of what is not finished

# What to say where a shape depends on a choice that cannot be converted away.
_EXPLAIN = {
    "query_tokens": "Queries are learned vectors: their number cannot be changed without training. "
    "Set num_query_tokens in config.json to what the weights have.",
    "word/embedding": "Set the vocabulary size in the Q-Former's configuration to the rows there "
    "are, and give the tokenizer the weights were trained with.",
    "embed/embedding": "Set vocab_size in the language model's configuration to the rows there "
    "are, and give the tokenizer the weights were trained with.",
    "lm_head/kernel": "Set vocab_size in the language model's configuration to the rows there are.",
}


@dataclass(frozen=True)
class Leaf:
    """One leaf of ours that exists only while it is read.

    Attributes:
        shape, dtype: of the whole leaf.
        pieces: for a stacked leaf one function for each layer, else a single one; each returns
            its part [...] without the layer axis.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    pieces: tuple[Callable[[], np.ndarray], ...]
    stacked: bool = False

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def parts(self) -> Iterator[np.ndarray]:
        """The parts in order, in the dtype of the leaf."""
        for piece in self.pieces:
            yield np.asarray(piece(), self.dtype, order="C")

    def value(self) -> np.ndarray:
        """The whole leaf."""
        if not self.stacked:
            return next(self.parts())
        out = np.empty(self.shape, self.dtype)
        for i, part in enumerate(self.parts()):
            out[i] = part
        return out


def plan(
    family: Family,
    source: Source,
    wanted: Mapping[str, Spec],
    *,
    optional: Sequence[str] = (),
    allow: Sequence[str] = (),
    dtype: str | None = None,
    resize: Mapping[str, Callable[[np.ndarray], np.ndarray]] | None = None,
) -> tuple[dict[str, Leaf], Coverage]:
    """How each leaf of the model is made of the source; no value is read.

    Args:
        family: the table.
        source: their tensors.
        wanted: leaves of the model by full path ("params/..."), as many as are to be loaded.
        optional: patterns of leaf paths that may be missing.
        allow: patterns (full match) of their tensors that may be missing or unexpected.
        dtype: of all leaves; by default each keeps the dtype it is stored in.
        resize: functions that fit a leaf, by path, to the shape of the model.

    Returns:
        the leaves by path, and what was found.

    Raises:
        ConversionError: a tensor is missing, unexpected, or of another shape. It is named.
    """
    resize = resize or {}
    zeroed: Counter[str] = Counter()
    rows = [row for row in family.entries if f"params/{row.ours[0]}" in wanted]
    found: dict[str, Leaf] = {}
    loaded: dict[str, str] = {}
    missing: dict[str, str] = {}
    for row in rows:
        count = wanted[f"params/{row.ours[0]}"].shape[0] if row.stacked else 1
        lacking = [n for i in range(count) for n in row.names(i) if n not in source.specs]
        tower = row.ours[0].split("/")[0]
        if lacking:
            missing.update((name, tower) for name in lacking)
            continue
        loaded.update((name, tower) for i in range(count) for name in row.names(i))
        for number, path in enumerate(f"params/{ours}" for ours in row.ours):
            leaf = _leaf(row, number, count, source)
            if path in resize:
                leaf = _resized(leaf, resize[path], wanted[path].shape)
            _check_shape(path, row.theirs[0], leaf.shape, wanted[path].shape, source.where)
            found[path] = _cast(leaf, dtype, path, source.where, zeroed)
    _refuse_missing(family, missing, source, [*optional, *allow], wanted)
    rest = [name for name in source.specs if name not in loaded]
    unused = [name for name in rest if family.is_derived(name)]
    unexpected = [name for name in rest if not family.is_derived(name)]
    known = [name for row in rows for name in row.names()]
    for name in unexpected:
        if not matches(name, allow):
            raise ConversionError(
                f"the model has no place for tensor {name!r} ({len(unexpected)} such tensors)"
                + nearest(name, known),
                where=source.where,
                expected=f"the {len(loaded)} tensors of this architecture",
                fix=f"check config.json, or leave it out with --allow='{re.escape(name)}'",
            )
    return found, Coverage(
        loaded=tuple((tower, name) for name, tower in loaded.items()),
        reshaped=tuple((p.split("/")[1], p) for p in resize if p in found),
        missing=tuple((tower, name) for name, tower in missing.items()),
        unexpected=tuple((family.tower(name), name) for name in unexpected),
        unused=tuple((family.tower(name), name) for name in unused),
        zeroed=zeroed,
    )


def matches(name: str, patterns: Sequence[str]) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def _leaf(row: Entry, number: int, count: int, source: Source) -> Leaf:
    """Leaf `number` of a row, its shape and dtype found out by transforming empty tensors."""
    shapes, dtypes = set(), set()
    for layer in range(count):
        specs = [source.specs[name] for name in row.names(layer)]
        try:
            part = row.transform.load(*(hollow(spec) for spec in specs))[number]
        except (ValueError, IndexError, TypeError):
            raise ConversionError(
                f"tensor {row.names(layer)[0]!r} has shape {specs[0].shape}",
                where=source.where,
                expected=f"a shape that can become the leaf {row.ours[number]!r}",
                fix="check that the file belongs to this architecture",
            ) from None
        shapes.add(part.shape)
        dtypes.add(part.dtype)
    if len(shapes) > 1:
        raise ConversionError(
            f"the layers of {row.theirs[0]!r} have several shapes: {sorted(shapes)}",
            where=source.where,
            expected="one shape for all layers",
            fix="check that the shards belong to one model",
        )
    (shape,) = shapes

    def read(layer: int) -> np.ndarray:
        names = row.names(layer)
        tensors = [casts.finite(source.read(name), name, source.where) for name in names]
        return row.transform.load(*tensors)[number]

    pieces = tuple(lambda layer=i: read(layer) for i in range(count))
    stored = np.result_type(*dtypes)
    return Leaf((count, *shape) if row.stacked else shape, stored, pieces, row.stacked)


def _cast(leaf: Leaf, dtype: str | None, path: str, where: str, zeroed: Counter[str]) -> Leaf:
    """The leaf in another dtype, cast layer by layer; None keeps it as it is."""
    if dtype is None:
        return leaf
    change = lambda piece: casts.cast(piece(), dtype, path, where, zeroed)
    pieces = tuple(partial(change, piece) for piece in leaf.pieces)
    return replace(leaf, dtype=np.dtype(dtype), pieces=pieces)


def hollow(spec: Spec) -> np.ndarray:
    return np.broadcast_to(np.zeros((), spec.dtype), spec.shape)


def _resized(leaf: Leaf, change: Callable, shape: tuple[int, ...]) -> Leaf:
    return replace(leaf, shape=shape, pieces=(lambda: change(leaf.value()),))


def _check_shape(
    path: str, theirs: str, shape: tuple[int, ...], wanted: tuple[int, ...], where: str
) -> None:
    if tuple(shape) == tuple(wanted):
        return
    fix = next((text for end, text in _EXPLAIN.items() if path.endswith(end)), None)
    raise ConversionError(
        f"the leaf {path!r} made of {theirs!r} has shape {tuple(shape)}",
        where=where,
        expected=f"{tuple(wanted)}, as the configuration says",
        fix=fix or "check config.json: it belongs to other weights",
    )


def _refuse_missing(
    family: Family,
    missing: Mapping[str, str],
    source: Source,
    allow: Sequence[str],
    wanted: Mapping[str, Spec],
) -> None:
    ours = {
        name: f"params/{row.ours[0]}"
        for row in family.entries
        if (spec := wanted.get(f"params/{row.ours[0]}")) is not None
        for layer in range(spec.shape[0] if row.stacked else 1)
        for name in row.names(layer)
    }
    for name in missing:
        if not matches(name, allow) and not matches(ours[name], allow):
            raise ConversionError(
                f"tensor {name!r} is missing ({len(missing)} are)" + nearest(name, source.specs),
                where=source.where,
                expected="every tensor of the architecture in config.json",
                fix=f"check config.json, or do without it: --allow='{re.escape(name)}'",
            )


# --- writing --------------------------------------------------------------------------------------


@contextmanager
def building(target: str | Path) -> Iterator[Path]:
    """A new folder that becomes `target` when the block ends well, and vanishes when it does not.

    What a killed conversion left beside `target` is removed first.

    Raises:
        ConversionError: `target` exists and is no empty folder.
    """
    target = Path(target).absolute()
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise ConversionError(
            "the destination exists already",
            where=str(target),
            expected="a new folder, or an empty one",
            fix="choose another name, or remove it first",
        )
    partial = target.with_name(target.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if target.exists():
            target.rmdir()
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def write_checkpoint(workdir: Path, found: Mapping[str, Leaf], meta: Mapping[str, Any]) -> None:
    """Stores leaves as step 0 of `workdir`, in the form that `training.checkpoint` reads.

    Args:
        workdir: a folder; use `building` for one that appears only when it is complete.
        found: leaves by path; `meta`: `config`, `tokenizers` and whatever else, JSON types.

    Raises:
        ConversionError: a tensor is not finite.
        CheckpointError: the disk is full or read-only.
    """
    step = workdir / checkpoint.FOLDER / str(STEP)
    full = {
        **meta,
        "format": checkpoint.FORMAT,
        "step": STEP,
        "frozen": None,
        "versions": checkpoint.versions(),
    }
    handler = _LeafHandler()
    registry = ocp.type_handlers.create_type_handler_registry(
        (Leaf, handler), (jax.Array, ocp.type_handlers.ArrayHandler())
    )
    tree = leaves.to_save({f"trainable/{path}": leaf for path, leaf in found.items()})
    with leaves.writing(workdir):
        step.mkdir(parents=True)
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(type_handler_registry=registry)) as orbax:
            orbax.save(step / "state", args=tree)
        if handler.failure is not None:
            raise handler.failure
        with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as orbax:
            orbax.save(step / "meta", args=ocp.args.JsonSave(full))


class _LeafHandler(ocp.type_handlers.NumpyHandler):
    """Writes a `Leaf` as Orbax writes an array. A large one has a chunk for each layer, and one
    layer of one large leaf is in memory at a time; small ones go together, which disks like.

    Attributes:
        failure: the first exception of reading or writing. Raised inside, Orbax would print it
            once for each of its threads.
    """

    def __init__(self) -> None:
        super().__init__(deepcopy_host_arrays=False)
        self._turn: asyncio.Semaphore | None = None
        self.failure: Exception | None = None

    async def _open_and_write(self, value: Leaf, tspec: dict, ts_context: Any) -> None:
        # Orbax starts all leaves at once.
        self._turn = self._turn or asyncio.Semaphore(1)
        try:
            if value.nbytes <= leaves.SMALL:
                await self._write(value, tspec, ts_context)
                return
            async with self._turn:
                await self._write(value, tspec, ts_context)
        except Exception as error:
            self.failure = self.failure or error

    async def _write(self, value: Leaf, tspec: dict, ts_context: Any) -> None:
        if self.failure is not None:
            return
        by_layer = value.stacked and leaves.by_layer(value)  # then Orbax has chosen such chunks
        stored = None
        for i, part in enumerate(value.parts() if by_layer else [value.value()]):
            if stored is None:  # only now, for Orbax refuses an array without any part
                spec = ts.Spec(tspec)
                stored = await ts.open(spec, create=True, open=True, context=ts_context)
            await (stored[i] if by_layer else stored).write(part)
