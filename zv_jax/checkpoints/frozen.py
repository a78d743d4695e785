"""Frozen leaves: saved once under the hash of their content and shared by all steps.

`<checkpoints>/frozen/<hash>/`; the meta of a step names the hash. Frozen leaves never change in a
run, so a copy in every step would only fill the disk (26 GB each for a 13B language model).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from jax.experimental import multihost_utils

from zv_jax.checkpoints import arrays as leaves
from zv_jax.errors import CheckpointError

FOLDER = "frozen"
SCALE = "_scale"  # `kernel_scale` [..., out] beside an int8 `kernel` [..., in, out]
_GATHER_BYTES = 1 << 28  # gathered at once from a leaf that is sharded over hosts


def content_hash(named: Mapping[str, Any]) -> str:
    """Sixteen hex digits of the SHA-256 of names, dtypes, shapes and bytes, in order of names.

    It depends neither on the mesh nor on the number of hosts. All processes must call it together:
    a leaf sharded over hosts is gathered piece by piece.
    """
    digest = hashlib.sha256()
    for name in sorted(named):
        leaf = named[name]
        digest.update(f"{name} {np.dtype(leaf.dtype).name} {tuple(leaf.shape)}\n".encode())
        for piece in _pieces(leaf):
            digest.update(np.ascontiguousarray(piece).reshape(-1).view(np.uint8))
    return digest.hexdigest()[:16]


def _pieces(leaf: Any) -> Iterator[np.ndarray]:
    if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
        yield np.asarray(leaf)
    elif leaf.is_fully_replicated or leaf.ndim == 0:
        yield np.asarray(leaf.addressable_data(0))
    else:
        rows = max(1, _GATHER_BYTES * leaf.shape[0] // max(1, leaf.nbytes))
        for first in range(0, leaf.shape[0], rows):
            yield multihost_utils.process_allgather(leaf[first : first + rows], tiled=True)


Shapes = Mapping[str, jax.ShapeDtypeStruct]


def with_scales(wanted: Shapes, stored: Shapes) -> dict[str, jax.ShapeDtypeStruct]:
    """The leaves of `stored` to read for `wanted`: these, and the scales of int8 ones."""
    scales = {k: v for k, v in stored.items() if _is_scale(k, stored) and _of(k) in wanted}
    return {k: v for k, v in wanted.items() if k in stored} | scales


def unscaled(found: dict[str, Any], wanted: Shapes, where: epath.Path) -> dict[str, Any]:
    """int8 leaves times their scales, in the wanted dtype; other leaves unchanged.

    Raises:
        CheckpointError: a product is infinite in the wanted dtype.
    """
    scales = {name: found[name] for name in found if _is_scale(name, found)}
    plain = {name: leaf for name, leaf in found.items() if name not in scales}
    for name, scale in scales.items():
        kernel = plain[_of(name)] * scale[..., None, :]
        plain[_of(name)] = leaves.cast(kernel, wanted[_of(name)].dtype, _of(name), where)
    return plain


def as_unscaled(stored: Shapes) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and dtypes that `unscaled` returns by default."""
    scales = {name: leaf for name, leaf in stored.items() if _is_scale(name, stored)}
    plain = {name: leaf for name, leaf in stored.items() if name not in scales}
    for name, scale in scales.items():
        plain[_of(name)] = jax.ShapeDtypeStruct(plain[_of(name)].shape, scale.dtype)
    return plain


def _of(scale: str) -> str:
    return scale.removesuffix(SCALE)


def _is_scale(name: str, beside: Mapping[str, Any]) -> bool:
    return name.endswith("kernel" + SCALE) and _of(name) in beside


class FrozenStore:
    """The `frozen` folder beside the steps of one run."""

    def __init__(self, checkpoints: epath.Path):
        self._folder = checkpoints / FOLDER
        self._held: dict[str, Any] = {}
        self._hash: str | None = None

    def save(self, named: Mapping[str, Any]) -> str | None:
        """Saves the leaves unless they are saved already, and waits until they are on disk.

        Returns:
            Their hash; None if there are no leaves.

        Raises:
            CheckpointError: they cannot be written.
        """
        if not named:
            return None
        if self._hash is None or not self._same(named):
            digest = content_hash(named)
            target = self._folder / digest
            with leaves.writing(target):
                if not self._there(target):
                    if jax.process_index() == 0:
                        self._folder.mkdir(parents=True, exist_ok=True)
                        self._remove_unfinished()
                    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as orbax:
                        orbax.save(target, args=leaves.to_save(named), force=True)
            # Keeping the leaves makes identity reliable: a freed leaf's address can be reused.
            self._hash, self._held = digest, dict(named)
        return self._hash

    def load(
        self,
        step_directory: epath.Path,
        digest: str | None,
        wanted: Mapping[str, Any],
        optional: Collection[str] = (),
    ) -> dict[str, Any]:
        """The leaves with the hash `digest` in the meta of a step, verified and remembered.

        Args:
            wanted: abstract leaves; with another dtype than the stored one they are cast, and not
                verified.
            optional: paths of leaves that come too if they are stored, as numpy arrays.

        Raises:
            CheckpointError: a leaf is missing, unknown or of another shape.
            UnreadableError: the files are damaged.
        """
        if digest is None:
            leaves.check(wanted, {}, step_directory, whole=True)
            return {}
        path = directory(step_directory, digest)
        stored = leaves.describe(path)
        wanted = dict(wanted) | {name: stored[name] for name in optional if name in stored}
        leaves.check(wanted, stored, path, whole=True)
        found = leaves.read(path, wanted)
        if all(leaf.dtype == stored[name].dtype for name, leaf in found.items()):
            verify(found, digest, path)
            self._hash, self._held = digest, dict(found)
        return found

    def _same(self, named: Mapping[str, Any]) -> bool:
        return named.keys() == self._held.keys() and all(
            named[name] is leaf for name, leaf in self._held.items()
        )

    @staticmethod
    def _there(target: epath.Path) -> bool:
        there = target.exists() and ocp.utils.is_checkpoint_finalized(target)
        if jax.process_count() > 1:
            # One process decides for all: a shared disk may look different to each.
            there = bool(multihost_utils.broadcast_one_to_all(np.asarray(there)))
        return there

    def _remove_unfinished(self) -> None:
        for path in self._folder.iterdir():
            if path.is_dir() and ocp.utils.is_tmp_checkpoint(path):
                path.rmtree()


def directory(step_directory: epath.Path, digest: str) -> epath.Path:
    """Where the frozen leaves of a step are.

    Raises:
        CheckpointError: they are missing.
    """
    path = step_directory.parent / FOLDER / digest
    if not path.is_dir():
        raise CheckpointError(
            "the frozen parameters of this checkpoint are missing",
            where=str(step_directory),
            expected=f"the directory {path}",
            fix="copy the complete checkpoints directory",
        )
    return path


def verify(named: Mapping[str, Any], digest: str, path: epath.Path) -> None:
    """Compares the content with the hash it was saved under.

    Raises:
        UnreadableError: the bytes differ.
    """
    if content_hash(named) != digest:
        raise leaves.UnreadableError(
            "the frozen parameters are damaged: their content no longer has the hash in their name",
            where=str(path),
            expected=f"hash {digest}",
            fix="copy that directory again from where it came from, or remove it and train again",
        )
