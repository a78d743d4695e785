"""What a conversion took, did not find, was not asked for and had to reshape, tower by tower."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from zv_jax.tables import align

KINDS = ("loaded", "reshaped", "missing", "unexpected", "unused")


@dataclass(frozen=True)
class Coverage:
    """Each list has (tower, name) pairs; names are theirs, except of what is `reshaped`.

    Attributes:
        loaded: tensors that became part of a leaf.
        reshaped: leaves that were resized to fit.
        missing: tensors that the model has and the source does not.
        unexpected: tensors of the source that the model has no place for, let through by `allow`.
        unused: buffers and copies, which follow from other tensors or from the configuration.
        notes: sentences on what was found out and not told.
        zeroed: by leaf, how many of its values a cast made 0: known once the leaf was read.
    """

    loaded: tuple[tuple[str, str], ...] = ()
    reshaped: tuple[tuple[str, str], ...] = ()
    missing: tuple[tuple[str, str], ...] = ()
    unexpected: tuple[tuple[str, str], ...] = ()
    unused: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    zeroed: Counter[str] = field(default_factory=Counter)

    def to_dict(self) -> dict[str, list]:
        """JSON types, for the meta of the checkpoint; what was loaded is only counted there."""
        lists = {kind: [list(pair) for pair in getattr(self, kind)] for kind in KINDS[1:]}
        lists |= {"notes": list(self.notes)} if self.notes else {}
        return {**lists, "loaded": [[t, n] for t, n in Counter(t for t, _ in self.loaded).items()]}

    def text(self) -> str:
        """An aligned table of counts, the names of what is not simply loaded, and the notes."""
        towers = sorted({tower for kind in KINDS for tower, _ in getattr(self, kind)})
        counts = {kind: Counter(tower for tower, _ in getattr(self, kind)) for kind in KINDS}
        rows = [("tower", *KINDS)]
        rows += [(t, *(f"{counts[kind][t]:,}" for kind in KINDS)) for t in towers]
        rows.append(("all", *(f"{counts[kind].total():,}" for kind in KINDS)))
        lines = align(rows, "lr")
        for kind in KINDS[1:]:
            for tower in towers:
                names = [name for of, name in getattr(self, kind) if of == tower]
                if names:
                    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
                    lines.append(f"{kind} in {tower}: {', '.join(names[:4])}{more}")
        return "\n".join([*lines, *self.notes])
