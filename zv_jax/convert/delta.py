"""Weights published as a difference to LLaMA.

Two kinds are found. In Ziya-LLaMA's the embeddings and the output layer are whole, for the
vocabularies differ. In Vicuna's and LLaVA's, made by FastChat's `make_delta`, every tensor that the
base has is a difference, and where the vocabulary has grown the rows that the base lacks are whole.
No file says which it is; the numbers do, or the user.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from zv_jax import casts
from zv_jax.convert.sources import Source, Spec
from zv_jax.errors import ConfigError, ConversionError

KINDS = {
    "layers": "embeddings and output layer are whole, as in Ziya-LLaMA",
    "all": "every tensor is a difference, as in Vicuna",
}
_PREFIX = r"(language_model\.)?"
_LAYERS = _PREFIX + r"model\.(layers\.(?!.*inv_freq).*|norm\.weight)"
_VOCABULARY = _PREFIX + r"(model\.embed_tokens|lm_head)\.weight"
_LARGEST_NORM_CHANGE = 0.1
_ROWS = 4096  # of a matrix that are enough to judge it


class Sum:
    """`difference` + `base`, tensor by tensor, in the dtype of the difference, or `wide` in float32
    for another dtype that they are to be rounded to.

    float32 holds the sum of two half-precision numbers so exactly that rounding it once gives what
    the half-precision sum itself is.

    Attributes:
        kind: one of `KINDS`; note: says so, and whether it was found out or given.
    """

    def __init__(
        self, difference: Source, base: Source, kind: str | None = None, wide: bool = False
    ):
        """`kind`: one of `KINDS`; None finds it out.

        Raises:
            ConversionError: `base` lacks a tensor or has another shape, `difference` is a whole
                model already, or its kind cannot be known.
            ConfigError: there is no such kind.
        """
        if kind is not None and kind not in KINDS:
            raise ConfigError(
                f"unknown kind {kind!r}", where="--delta_kind", expected=" or ".join(KINDS)
            )
        self.where, self.specs = difference.where, difference.specs
        self._difference, self._base = difference, base
        layers = self._matched(_LAYERS)
        norm = next((name for name in layers if name.endswith("model.norm.weight")), None)
        if norm is not None and not is_difference(difference, norm):
            raise ConversionError(
                "these weights are a whole model, not a difference",
                where=difference.where,
                expected="weights that were published as a difference",
                fix="leave --base out",
            )
        self.kind = kind or self._found(layers)
        self.note = f"a difference in which {KINDS[self.kind]}" + (" (as told)" if kind else "")
        self._pairs = layers | (self._matched(_VOCABULARY) if self.kind == "all" else {})
        if wide:
            sums = {name: Spec(self.specs[name].shape, np.float32) for name in self._pairs}
            self.specs = {**self.specs, **sums}

    def _matched(self, pattern: str, *, checked: bool = True) -> dict[str, str]:
        """The tensors of the difference that `pattern` names, with those of the base."""
        known = {_bare(name): name for name in self._base.specs}
        pairs = {}
        for name, spec in self.specs.items():
            if not re.fullmatch(pattern, name):
                continue
            other = known.get(_bare(name))
            if checked:
                self._check(name, other, may_grow=pattern == _VOCABULARY)
            if other is not None and self._base.specs[other].shape[1:] == spec.shape[1:]:
                pairs[name] = other
        return pairs

    def _check(self, name: str, other: str | None, may_grow: bool) -> None:
        shape = self.specs[name].shape
        theirs = None if other is None else self._base.specs[other].shape
        grown = may_grow and theirs and theirs[1:] == shape[1:] and theirs[0] <= shape[0]
        if theirs == shape or grown:
            return
        found = "no such tensor" if theirs is None else f"shape {theirs}"
        raise ConversionError(
            f"the base has {found} for {name!r}",
            where=self._base.where,
            expected=f"shape {shape}, as in the difference" + (", or fewer rows" * may_grow),
            fix="give the LLaMA of the same size that the difference was made to",
        )

    def _found(self, layers: dict[str, str]) -> str:
        """The kind that the numbers speak for.

        Raises:
            ConversionError: they speak for both, or for none.
        """
        vocabulary = self._matched(_VOCABULARY, checked=False)
        if not vocabulary:
            return "layers"
        matrices = [name for name in layers if len(self.specs[name].shape) == 2]
        known = [self._likeness(n, layers[n]) for n in matrices[:: max(1, len(matrices) // 4)]]
        found = {n: self._likeness(n, other) for n, other in vocabulary.items()}
        kinds = {
            kind
            for likeness in found.values()
            for kind, fits in (
                ("layers", likeness.is_whole()),
                ("all", likeness.is_difference(known)),
            )
            if fits
        }
        if len(kinds) == 1 and all(x.is_whole() or x.is_difference(known) for x in found.values()):
            return kinds.pop()
        numbers = "; ".join(
            f"{name} is {x.ratio:.2f} times as large as the base's, cosine {x.cosine:.2f}"
            for name, x in found.items()
        )
        raise ConversionError(
            f"it cannot be known whether embeddings and output layer are differences: {numbers}",
            where=self.where,
            expected="differences, which are small, or whole ones, which are like the base's",
            fix="say what its authors say: "
            + "; ".join(f"--delta_kind={kind} ({text})" for kind, text in KINDS.items()),
        )

    def _likeness(self, name: str, other: str) -> _Likeness:
        rows = min(self.specs[name].shape[0], self._base.specs[other].shape[0])
        step = slice(0, rows, -(-rows // _ROWS))
        mine = self._difference.read(name)[step].astype(np.float32)
        base = self._base.read(other)[step].astype(np.float32)
        sizes = float(np.linalg.norm(mine)), float(np.linalg.norm(base))
        tiny = float(np.finfo(np.float32).tiny)
        cosine = float(np.vdot(mine, base)) / max(sizes[0] * sizes[1], tiny)
        return _Likeness(sizes[0] / max(sizes[1], tiny), cosine)

    def read(self, name: str) -> np.ndarray:
        value = self._difference.read(name)
        if name not in self._pairs:
            return value
        base = self._base.read(self._pairs[name])
        whole = value.astype(np.float32)
        whole[: len(base)] += base.astype(np.float32)
        return casts.cast(whole, self.specs[name].dtype, name, self.where)


@dataclass(frozen=True)
class _Likeness:
    """How a published matrix lies to that of the base: ratio of their norms, and cosine."""

    ratio: float
    cosine: float

    def is_whole(self) -> bool:
        """Whether it may be a matrix of its own: about as large, and not set against the base's."""
        return 0.5 < self.ratio < 2 and self.cosine > -0.3

    def is_difference(self, known: list[_Likeness]) -> bool:
        """Whether it may be a difference: small, or as those of the same file that surely are."""
        small = self.ratio < 0.3 and abs(self.cosine) < 0.5
        return small or any(
            abs(self.cosine - other.cosine) < 0.2 and 0.5 < self.ratio / other.ratio < 2
            for other in known
            if other.ratio
        )


def _bare(name: str) -> str:
    return name.removeprefix("language_model.")


def is_difference(source: Source, norm: str) -> bool:
    """Whether the scales of the last norm, near 1 or above in a model, are near zero."""
    return float(np.abs(source.read(norm).astype(np.float32)).mean()) < _LARGEST_NORM_CHANGE
