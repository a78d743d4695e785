"""`certify`: an export against its checkpoint, in our own model and in other libraries."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

import zv_jax
from zv_jax.convert.own_checkpoint import OwnCheckpoint
from zv_jax.inference.certificate import compare, elsewhere, sources, weights
from zv_jax.inference.certificate.cases import CASES, NEW_TOKENS
from zv_jax.inference.certificate.compare import TOLERANCES, Line
from zv_jax.inference.certificate.elsewhere import NotRun
from zv_jax.inference.certificate.measure import Measured, measure
from zv_jax.inference.certificate.places import TOWERS, Place, places
from zv_jax.inference.model import loaded
from zv_jax.tables import align

FILE, CARD = "certificate.json", "README.md"
SIDES = OURS, TRANSFORMERS, VLLM = "ours", "transformers", "vllm"
PASSED, DIFFERS, NOT_RUN = "passed", "different", "not run"


@dataclass(frozen=True)
class Side:
    """What one library gave.

    Attributes:
        status: `PASSED`, `DIFFERS` or `NOT_RUN`.
        versions: of its packages.
        lines: what was compared; empty if it was not run.
        first: the first place that differs.
        ties: questions whose answers part after two equally probable tokens.
        reason: why it was not run; log: last lines of its program.
    """

    name: str
    status: str
    versions: Mapping[str, str]
    lines: tuple[Line, ...] = ()
    first: Line | None = None
    ties: int = 0
    reason: str = ""
    log: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON types; a difference that is no number is null."""
        return {
            "status": self.status,
            **({"reason": self.reason} if self.reason else {}),
            "versions": dict(self.versions),
            "first_difference": self.first and _line(self.first),
            "ties": self.ties,
            "compared": [_line(line) for line in self.lines],
        }

    def text(self) -> str:
        """Aligned lines for the terminal: the largest difference of each kind in each tower."""
        if self.status == NOT_RUN:
            return "\n".join([f"{self.name}: NOT RUN: {self.reason}", *self.log.splitlines()])
        groups: dict[tuple[str, str], Line] = {}
        for line in self.lines:
            group = line.place.tower, line.what
            pair = groups.get(group, line), line
            groups[group] = max(pair, key=lambda x: (not x.agrees, x.difference))
        head = ("", "what", "largest difference", "limit")
        rows = [
            (tower if tower != line.place.name else "", what, _number(line), f"{line.limit:g}")
            for (tower, what), line in sorted(groups.items(), key=lambda x: TOWERS.index(x[0][0]))
        ]
        lines = [f"{self.name}: {self.status.upper() if self.first else self.status}"]
        lines += [f"  {row}" for row in align([head, *rows], "llr")]
        if self.ties:
            lines.append(f"  {self.ties} answers part after two equally probable tokens")
        if self.first:
            tensor = f", tensor {self.first.tensor}" if self.first.tensor else ""
            lines.append(f"  first layer that differs: {self.first.place.name}{tensor}")
        return "\n".join(lines)


def _line(line: Line) -> dict[str, Any]:
    found = {
        "layer": line.place.name,
        "tower": line.place.tower,
        "what": line.what,
        "difference": line.difference if line.difference < float("inf") else None,
        "limit": line.limit,
        "agrees": line.agrees,
    }
    return found | ({"tensor": line.tensor} if line.tensor else {})


def _number(line: Line) -> str:
    return f"{line.difference:.2e}" if line.difference % 1 else f"{line.difference:g}"


@dataclass(frozen=True)
class Certificate:
    """What `certify` found.

    Attributes:
        sides: in the order in which they were asked for.
        about: JSON types: what was verified, against what, and how.
    """

    sides: tuple[Side, ...]
    about: Mapping[str, Any]

    @property
    def status(self) -> str:
        """`DIFFERS` if one side does, else `NOT_RUN` if one was not run, else `PASSED`."""
        found = [side.status for side in self.sides]
        return next((word for word in (DIFFERS, NOT_RUN) if word in found), PASSED)

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        sides = {side.name: side.to_dict() for side in self.sides}
        return {"status": self.status, **self.about, "sides": sides}

    def text(self) -> str:
        """For the terminal."""
        return "\n".join([*(side.text() for side in self.sides), f"certificate: {self.status}"])


def certify(
    out: str | Path,
    against: Sequence[str],
    *,
    checkpoint: str | Path | None = None,
    adapter: str | Path | None = None,
    pythons: Mapping[str, str],
    dtype: str = "float32",
    say: Callable[[str], None] = lambda text: None,
) -> Certificate:
    """Compares the export `out` with its checkpoint.

    Args:
        against: names of `SIDES`.
        checkpoint: that was exported; without it, other libraries are compared with the export as
            we read it, and "ours" is not run.
        adapter: the directory of an adapter that belongs to the export.
        pythons: interpreters by side.
        dtype: of all computation.
        say: gets a line before each side.

    Raises:
        CheckpointError, ConfigError, ConversionError, DataError: `out`, the adapter or the
            checkpoint cannot be read, or they do not belong together.
    """
    out, adapter = Path(out), None if adapter is None else Path(adapter)
    architecture = sources.class_of(out)
    found = sources.exported(out, adapter)
    right, merged = found, frozenset[str]()
    if checkpoint is not None:
        right, merged = sources.expected(checkpoint, found)
    say("the reference, in zv_jax")
    model = loaded(right, dtype)
    measured = measure(model)
    asked = elsewhere.request(model, out, adapter, dtype)
    known, size = places(model.config.model), model.config.model.vision.image_size
    del model
    sides = []
    for name in against:
        say(name)
        try:
            if name == OURS:
                given = _ours(right, merged, found, dtype, checkpoint is not None)
            else:
                given = elsewhere.ask(name, pythons[name], asked, size)
        except NotRun as error:
            sides.append(Side(name, NOT_RUN, {}, reason=error.reason, log=error.log))
            continue
        sides.append(_side(name, measured, given, known, dtype))
    about = {
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "export": {"name": out.resolve().name, "class": architecture.name, "files": digests(out)},
        "adapter": adapter and {"name": adapter.resolve().name, "files": digests(adapter)},
        "reference": _reference(right, checkpoint),
        "dtype": dtype,
        "limits": vars(TOLERANCES[dtype]),
        "new_tokens": NEW_TOKENS,
        "questions": [vars(case) for case in CASES],
    }
    return Certificate(tuple(sides), about)


def _ours(
    right: OwnCheckpoint, merged: frozenset[str], found: OwnCheckpoint, dtype: str, apart: bool
) -> elsewhere.Found:
    """The export as we read it.

    Raises:
        NotRun: it is the reference itself.
    """
    if not apart:
        raise NotRun(
            "there is nothing to compare the export with; give the checkpoint that it was made "
            "from: --checkpoint=CKPT"
        )
    tensors = tuple(weights.differences(right, found, merged))
    versions = {"zv_jax": zv_jax.__version__, "jax": jax.__version__}
    return elsewhere.Found(measure(loaded(found, dtype)), tensors, versions)


def _side(
    name: str, right: Measured, given: elsewhere.Found, known: Sequence[Place], dtype: str
) -> Side:
    lines, ties = compare.of_measurements(right, given.measured, TOLERANCES[dtype], known)
    lines = [*compare.of_weights(given.weights, known), *lines]
    lines.sort(key=lambda line: known.index(line.place))
    first = compare.first_difference(lines, known)
    return Side(name, DIFFERS if first else PASSED, given.versions, tuple(lines), first, ties)


def _reference(right: OwnCheckpoint, checkpoint: str | Path | None) -> dict[str, Any]:
    versions = {"zv_jax": zv_jax.__version__, "jax": jax.__version__}
    if checkpoint is None:
        return {"of": "the export as zv_jax reads it", "versions": versions}
    name, step = Path(checkpoint).resolve().name, right.provenance.get("step")
    return {"of": "its checkpoint", "name": name, "step": step, "versions": versions}


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every file below `folder` that a certificate speaks of: not of itself, not of the
    model card."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in (FILE, CARD):
            with path.open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found
