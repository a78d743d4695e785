"""A directory of named arrays, written and read through Orbax.

Any tree becomes a flat dictionary `{"trainable/params/llm/...": array}`; names, shapes and dtypes
can be read without the values. Orbax ignores a missing leaf; here that is an error with its name.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from zv_jax import casts, trees
from zv_jax.checkpoints.stacked import StackedHandler
from zv_jax.errors import CheckpointError, nearest

_DISK = {
    errno.ENOSPC: ("no space left on the disk", "free some space"),
    errno.EDQUOT: ("the disk quota is used up", "free some space"),
    errno.EROFS: ("the file system is read-only", "give a --workdir that can be written"),
    errno.EACCES: ("permission denied", "give a --workdir that can be written"),
    errno.EPERM: ("permission denied", "give a --workdir that can be written"),
}


SMALL = 1 << 22  # bytes: a leaf up to this size is stored in one piece


class UnreadableError(CheckpointError):
    """The files are incomplete or damaged, rather than intact but of another model."""


def flat(tree: Any) -> dict[str, Any]:
    """`{"a/b/0": leaf}` for any tree; empty containers are dropped.

    Raises:
        CheckpointError: two leaves have the same name.
    """
    pairs = [
        (jax.tree_util.keystr(path, simple=True, separator="/"), leaf)
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
    ]
    named = dict(pairs)
    if len(named) != len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise CheckpointError(
            "two leaves have one name",
            where=double,
            expected="different names",
            fix="rename one of the two parameters",
        )
    return named


def spec(leaf: Any) -> jax.ShapeDtypeStruct:
    """Shape, dtype and sharding (if any) of an array or an abstract leaf."""
    if not hasattr(leaf, "dtype"):
        leaf = np.asarray(leaf)
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", None))


def nested(named: Mapping[str, Any]) -> dict[str, Any]:
    """The nested dictionaries that Orbax takes."""
    return trees.unflatten(dict(named))


def by_layer(leaf: Any) -> bool:
    """Whether an array is stored with one chunk for each index of its first axis.

    That axis counts the layers of a stacked matrix, so one layer can be read without the others.
    """
    return leaf.ndim > 2 and leaf.nbytes > SMALL


def to_save(named: Mapping[str, Any]) -> ocp.args.PyTreeSave:
    """Orbax's argument for these leaves. Python numbers become arrays without axes."""
    arrays = {k: v if hasattr(v, "dtype") else np.asarray(v) for k, v in named.items()}
    how = {k: ocp.SaveArgs(shard_axes=(0,) if by_layer(v) else ()) for k, v in arrays.items()}
    return ocp.args.PyTreeSave(nested(arrays), save_args=nested(how))


def describe(directory: epath.Path) -> dict[str, jax.ShapeDtypeStruct]:
    """Shape and dtype of every leaf saved in `directory`; no value is read.

    Raises:
        UnreadableError: the directory or its metadata is missing or damaged.
    """
    with reading(directory):
        if not ocp.utils.is_checkpoint_finalized(directory):
            raise FileNotFoundError("it was never finished")
        tree = ocp.PyTreeCheckpointHandler().metadata(directory).tree
        named = trees.flatten(tree)
        outside = [name for name in named if not {"", ".", ".."}.isdisjoint(name.split("/"))]
        if outside:
            raise ValueError(f"the name {outside[0]!r} leads out of it")
        return {k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in named.items()}


def check(
    wanted: Mapping[str, jax.ShapeDtypeStruct],
    stored: Mapping[str, jax.ShapeDtypeStruct],
    where: epath.Path,
    *,
    whole: bool,
) -> None:
    """Compares names and shapes; with `whole`, a stored leaf that is not wanted is an error too.

    Raises:
        CheckpointError: names the first leaf that differs, and the number of them.
    """
    fix = "use the configuration of that run (config.json in its workdir), or another --workdir"
    missing = [name for name in wanted if name not in stored]
    if missing:
        raise CheckpointError(
            f"leaf {missing[0]!r} is not in the checkpoint ({len(missing)} are missing)"
            + nearest(missing[0], stored),
            where=str(where),
            expected=f"{len(wanted)} leaves, those of this model",
            fix=fix,
        )
    for name, leaf in wanted.items():
        if tuple(leaf.shape) != tuple(stored[name].shape):
            raise CheckpointError(
                f"leaf {name!r} has shape {tuple(stored[name].shape)} in the checkpoint",
                where=str(where),
                expected=f"{tuple(leaf.shape)}, as in this model",
                fix=fix,
            )
    extra = [name for name in stored if name not in wanted] if whole else []
    if extra:
        raise CheckpointError(
            f"leaf {extra[0]!r} of the checkpoint is unknown to this model ({len(extra)} are)"
            + nearest(extra[0], wanted),
            where=str(where),
            expected=f"{len(wanted)} leaves, those of this model",
            fix=fix,
        )


def read(directory: epath.Path, wanted: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, Any]:
    """Values of the `wanted` leaves, in their dtypes; other stored leaves are not read.

    Returns:
        A sharded jax array for a leaf with a sharding, a numpy array for one without.

    Raises:
        UnreadableError: files are missing or damaged.
        CheckpointError: a wanted leaf is missing, has another shape, or has a value that would be
            infinite in the wanted dtype.
    """
    stored = describe(directory)
    check(wanted, stored, directory, whole=False)
    if not wanted:
        return {}
    found = _read(directory, wanted)
    for name, leaf in wanted.items():
        narrower = not np.can_cast(stored[name].dtype, leaf.dtype)
        if narrower and not _all_finite(found[name]):
            # Finds the value, or that it was infinite before.
            whole = jax.ShapeDtypeStruct(leaf.shape, stored[name].dtype)
            cast(_read(directory, {name: whole})[name], leaf.dtype, name, directory)
    return found


def cast(value: Any, dtype: Any, name: str, where: epath.Path) -> Any:
    """A numpy or jax array in `dtype`.

    Raises:
        CheckpointError: a value becomes infinite.
    """
    if isinstance(value, jax.Array):
        out = value.astype(dtype)
        if np.can_cast(value.dtype, dtype) or _all_finite(out):
            return out
        for part in value.addressable_shards:
            cast(np.asarray(part.data), dtype, name, where)
        return out
    return casts.cast(value, dtype, name, str(where), error=CheckpointError)


def _all_finite(value: Any) -> bool:
    """Whether all values are finite; of a jax array, those on the devices of this process."""
    if isinstance(value, jax.Array):
        return all(bool(jnp.isfinite(part.data).all()) for part in value.addressable_shards)
    return casts.all_finite(value)


def _read(directory: epath.Path, wanted: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, Any]:
    how = {
        name: ocp.ArrayRestoreArgs(sharding=leaf.sharding, dtype=leaf.dtype)
        if leaf.sharding is not None
        else ocp.RestoreArgs(restore_type=np.ndarray, dtype=leaf.dtype)
        for name, leaf in wanted.items()
    }
    handlers = ocp.type_handlers.create_type_handler_registry(
        (np.ndarray, StackedHandler()), (jax.Array, ocp.type_handlers.ArrayHandler())
    )
    # The bare handler: a Checkpointer would wait for all processes, even if one of them has found a
    # damaged file and never arrives.
    with reading(directory):
        tree = ocp.PyTreeCheckpointHandler(type_handler_registry=handlers).restore(
            directory,
            args=ocp.args.PyTreeRestore(
                item=nested(wanted), restore_args=nested(how), partial_restore=True
            ),
        )
    found = trees.flatten(tree)
    for name in wanted:
        if isinstance(found.get(name), (jax.ShapeDtypeStruct, type(None))):
            raise UnreadableError(
                f"leaf {name!r} is listed but has no value",
                where=str(directory),
                expected="a value for every leaf",
                fix="use an earlier checkpoint",
            )
    return {name: found[name] for name in wanted}


@contextmanager
def reading(where: epath.Path) -> Iterator[None]:
    """Converts errors of Orbax and the file system on damaged files into an UnreadableError."""
    try:
        yield
    except CheckpointError:
        raise
    except PermissionError as error:
        raise CheckpointError(
            "the checkpoint cannot be read: permission denied",
            where=str(where),
            expected="files this user can read",
            fix="change their owner or mode",
        ) from error
    except (
        OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, ArithmeticError,
        NotImplementedError, RecursionError,
    ) as error:  # fmt: skip
        text = str(error).strip().splitlines()
        raise UnreadableError(
            f"the checkpoint cannot be read: {text[0][:300] if text else type(error).__name__}",
            where=str(where),
            expected="complete, undamaged files",
            fix="use an earlier step of the same run",
        ) from error


def probe(directory: epath.Path) -> None:
    """Writes and removes a small file.

    Orbax creates directories in the background; if a read-only disk refuses one, its other threads
    wait for minutes.

    Raises:
        OSError: the directory is not writable.
    """
    path = directory / ".write-probe"
    path.write_text("")
    path.unlink()


@contextmanager
def writing(where: epath.Path) -> Iterator[None]:
    """Converts Orbax's errors on a full or read-only disk into a CheckpointError."""
    try:
        yield
    except CheckpointError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        what, fix = _cause(error)
        raise CheckpointError(
            f"the checkpoint cannot be written: {what}",
            where=str(where),
            expected="a writable directory with space for one more checkpoint",
            fix=f"{fix}; the same command then continues from the last finished step",
        ) from error


def _cause(error: BaseException) -> tuple[str, str]:
    """What happened and how to fix it, from the error or its causes."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, OSError) and link.errno in _DISK:
            return _DISK[link.errno]
        for words in _DISK.values():
            # TensorStore writes from C++ and reports only the system's text.
            if words[0].split(" on ")[0] in str(link).lower():
                return words
        if "read-only file system" in str(link).lower():
            return _DISK[errno.EROFS]
        link = link.__cause__ or link.__context__
    text = str(error).strip().splitlines()
    return (text[0][:300] if text else type(error).__name__), "fix that"
