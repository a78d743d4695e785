"""From measured steps to the figures, the table and a description of the machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zv_jax.tables import align

COLUMNS = (
    "case", "row", "ms median", "ms min", "ratio", "ratio by round", "peak MiB", "first step s",
)  # fmt: skip
MIB = 1024**2


def summarise(rounds: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Figures of one case.

    Args:
        rounds: by row, what `worker.measure` returned in each round; the row "jax" is among them.

    Returns:
        by row: milliseconds a step (median and least of all rounds), the ratio of our median to
        this row's (below 1: ours is faster) over everything and round by round, the largest peak
        of resident memory and the least time until the end of the first step.
    """
    found = {}
    for row, parts in rounds.items():
        seconds = [second for part in parts for second in part["seconds"]]
        found[row] = {
            "ms_median": 1000 * statistics.median(seconds),
            "ms_min": 1000 * min(seconds),
            "peak_rss_bytes": max(part["peak_rss_bytes"] for part in parts),
            "until_first_step_seconds": min(part["until_first_step_seconds"] for part in parts),
        }
    for row, parts in rounds.items():
        found[row]["jax_over_row"] = found["jax"]["ms_median"] / found[row]["ms_median"]
        found[row]["jax_over_row_by_round"] = [
            ours["median"] / part["median"] for ours, part in zip(rounds["jax"], parts, strict=True)
        ]
    return found


def table(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """The summaries of all cases, as aligned text."""
    lines = [list(COLUMNS)]
    for case, rows in results.items():
        for row, figures in rows.items():
            ours, by_round = row == "jax", figures["jax_over_row_by_round"]
            lines.append(
                [
                    case,
                    row,
                    f"{figures['ms_median']:.1f}",
                    f"{figures['ms_min']:.1f}",
                    "" if ours else f"{figures['jax_over_row']:.2f}",
                    "" if ours else f"{min(by_round):.2f}-{max(by_round):.2f}",
                    f"{figures['peak_rss_bytes'] / MIB:.0f}",
                    f"{figures['until_first_step_seconds']:.1f}",
                ]
            )
    return "\n".join(align(lines, "llr"))


def machine() -> dict[str, Any]:
    """Processor, cores, memory, load and versions."""
    packages = ("jax", "jaxlib", "flax", "optax", "torch", "transformers", "peft", "numpy")
    return {
        "processor": _line("/proc/cpuinfo", "model name") or platform.processor(),
        "cores_allowed": len(os.sched_getaffinity(0)),
        "memory": _line("/proc/meminfo", "MemTotal"),
        "load_average_1min": os.getloadavg()[0],
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version for name in packages if (version := _version(name))},
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _line(path: str, key: str) -> str:
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except OSError:
        return ""
    return next((s.partition(":")[2].strip() for s in lines if s.startswith(key)), "")
