"""What `zv plan --fit` found, for people and for the command line of `zv train`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zv_jax.plan.fit import DEFAULT_SHARE, STEPS
from zv_jax.tables import align

MIB = 1 << 20
HEAD = (
    *("microbatches", "remat", "fits", "share", "MiB needed", "of MiB"),
    *("s calculated", "compiled", "measured", ""),
)


def overrides(found: Mapping[str, Any]) -> list[str]:
    """Arguments of `zv train` for the chosen setting."""
    chosen, machine = found["chosen"], found["machine"]
    lines = [
        f"--config.train.microbatches={chosen['microbatches']}",
        f"--config.model.remat={chosen['remat']}",
    ]
    if machine["kind"] == "gpu" and chosen["share"] != DEFAULT_SHARE:
        lines.append(f"--memory_fraction={chosen['share']:g}")
    return lines


def text(found: Mapping[str, Any]) -> str:
    """The candidates as a table, the chosen one, and what to know of it."""
    recipe, machine = found["recipe"], found["machine"]
    mesh = " x ".join(f"{axis}={size}" for axis, size in machine["mesh"].items())
    shares = ", ".join(f"{share:g}" for share in machine["shares"])
    lines = [
        f"{recipe['stage']} {recipe['variant']}, {recipe['preset']}, batch {recipe['batch_size']}, "
        f"now microbatches={recipe['microbatches']} remat={recipe['remat']}",
        f"on {machine['name']}, {mesh}: {machine['memory'] / MIB:,.1f} MiB a device, shares of it: "
        f"{shares}",
        f"weights, state, the batch and the one after it: {found['held'] / MIB:,.1f} MiB",
        "",
        *align([HEAD, *map(_cells, found["settings"])], "llllrrrrrl"),
        "",
    ]
    if found["chosen"] is None:
        return "\n".join([*lines, "nothing of this grid fits"])
    return "\n".join([*lines, _choice(found), *_notes(found)])


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    seconds = (row[f"{kind}_seconds"] for kind in ("calculated", "compiled", "measured"))
    return (
        str(row["microbatches"]),
        row["remat"],
        "yes" if row["fits"] else "no" if row["bytes"] is not None else "-",
        "-" if row["share"] is None else f"{row['share']:g}",
        "-" if row["bytes"] is None else f"{row['bytes'] / MIB:,.1f}",
        f"{row['limit'] / MIB:,.1f}",
        *("-" if value is None else f"{value:.4g}" for value in seconds),
        row["why"],
    )


def _choice(found: Mapping[str, Any]) -> str:
    chosen = found["chosen"]
    known = next(k for k in ("measured", "compiled", "calculated") if chosen[f"{k}_seconds"])
    how = {
        "measured": f"measured, {STEPS} steps of random rows",
        "compiled": "estimated from the compiled program",
        "calculated": "calculated, not measured",
    }[known]
    return (
        f"proposed: microbatches={chosen['microbatches']} remat={chosen['remat']}, "
        f"{chosen['bytes'] / MIB:,.1f} of {chosen['limit'] / MIB:,.1f} MiB, "
        f"{chosen[f'{known}_seconds']:.4g} s a step ({how})"
    )


def _notes(found: Mapping[str, Any]) -> list[str]:
    chosen, recipe, machine = found["chosen"], found["recipe"], found["machine"]
    notes = []
    if found["compares_rows"] and chosen["microbatches"] > 1:
        notes.append(
            "rows are compared with those of the whole batch all the same: microbatches change no "
            "negatives, and cost one more forward pass"
        )
    if found["draws_dropout"] and chosen["microbatches"] != recipe["microbatches"]:
        notes.append(
            f"dropout draws other random numbers than with microbatches={recipe['microbatches']}: "
            "the same in distribution, not in bits"
        )
    if not machine["figures_known"]:
        notes.append(f"seconds are calculated as for an H100: {machine['name']} is not known")
    if machine["kind"] == "cpu":
        notes.append(
            "on a CPU the compiler, the data and other programs need memory beside the step"
        )
    return notes
