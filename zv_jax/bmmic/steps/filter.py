"""`filter`: the detector over everything that was made; what is kept, what is dropped and why."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zv_jax import json_input
from zv_jax.bmmic import pair as pairs
from zv_jax.bmmic.config import Config
from zv_jax.bmmic.filters.detector import NAMES, Detector, thresholds
from zv_jax.bmmic.steps import generate
from zv_jax.bmmic.steps.shards import Shards
from zv_jax.errors import DataError
from zv_jax.files import write_atomic, write_json
from zv_jax.tables import align

INPUTS = ("generated", "rewritten", "translated")
REPORT = "filters.json"
# What depends on the thresholds. Rewriting does: it asks nothing about pairs that will be dropped.
JUDGED = ("rewritten", "kept", "dropped", "export")
ANEW = (
    f"give another --workdir, or remove {', '.join(JUDGED)} in this one and run again: what was "
    "answered is in the ledger"
)


def run(config: Config, workdir: Path) -> dict[str, Any]:
    """Writes `kept/` and `dropped/` (with the filter and its words), and `filters.json`.

    Shards that are there already are read, since duplicates of them are to be found, and not judged
    again.

    Returns:
      {"pairs", "kept", "filters": {name: {"seen", "dropped", "samples"}}}.

    Raises:
      DataError: nothing was made yet.
      ConfigError: the run was filtered with other thresholds.
    """
    detector = Detector(config.filters)
    inputs = [name for name in INPUTS if Shards(workdir / name).numbers()]
    if not inputs:
        raise DataError(
            "nothing to filter",
            where=str(workdir),
            expected="one of the folders " + ", ".join(INPUTS),
            fix="zv bmmic generate or zv bmmic translate first",
        )
    for name in inputs:
        made = Shards(workdir / name)
        kept, dropped = Shards(workdir / "kept" / name), Shards(workdir / "dropped" / name)
        for folder in (kept, dropped):
            folder.begin("filter", thresholds(config.filters), ANEW)
        for number in made.numbers():
            if kept.has(number):
                detector.remember(generate.read(kept, number))
            else:
                _shard(detector, made, kept, dropped, number)
    report = _report(workdir, inputs)
    write_json(workdir / REPORT, report)
    return report


def _shard(detector: Detector, made: Shards, kept: Shards, dropped: Shards, number: int) -> None:
    good: list[dict[str, Any]] = []
    bad: list[dict[str, Any]] = []
    for pair in generate.read(made, number):
        verdict = detector.judge(pair)
        row = pairs.to_json(pair)
        if verdict.kept:
            good.append(row)
        else:
            bad.append({"filter": verdict.filter, "why": verdict.why, "pair": row})
    dropped.write(number, bad)
    path = dropped.folder / f"{number:05d}.json"
    found = {"pairs": len(good) + len(bad), "kept": len(good), "filters": detector.report()}
    write_atomic(path, json.dumps(found, ensure_ascii=False).encode())
    kept.write(number, good)  # last: it says that the shard is judged


def _report(workdir: Path, inputs: list[str]) -> dict[str, Any]:
    """The sums of all shards."""
    counts: dict[str, Counter[str]] = {name: Counter(seen=0, dropped=0) for name in NAMES}
    samples: dict[str, list[Any]] = {name: [] for name in NAMES}
    total = kept = 0
    for file in _files(workdir, inputs):
        shard = json_input.parse(file.read_bytes(), str(file))
        total, kept = total + shard["pairs"], kept + shard["kept"]
        for name, found in shard["filters"].items():
            counts[name].update(seen=found["seen"], dropped=found["dropped"])
            samples[name] = (samples[name] + found["samples"])[:20]
    filters = {name: {**counts[name], "samples": samples[name]} for name in NAMES}
    return {"pairs": total, "kept": kept, "filters": filters}


def _files(workdir: Path, inputs: list[str]) -> Iterator[Path]:
    for name in inputs:
        folder = Shards(workdir / "dropped" / name)
        for number in folder.numbers():
            yield folder.folder / f"{number:05d}.json"


def table(report: dict[str, Any]) -> list[str]:
    """The counts of each filter, as lines."""
    rows = [("filter", "seen", "dropped", "share")]
    for name, found in report["filters"].items():
        share = f"{found['dropped'] / found['seen']:.1%}" if found["seen"] else "-"
        rows.append((name, f"{found['seen']:,}", f"{found['dropped']:,}", share))
    kept, total = report["kept"], report["pairs"]
    share = f"{(total - kept) / total:.1%}" if total else "-"
    rows.append(("all", f"{total:,}", f"{total - kept:,}", share))
    return align(rows, "lr")
