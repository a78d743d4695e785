"""`export`: what was kept, as records and in the other forms, with a card."""

from __future__ import annotations

import dataclasses
import hashlib
import heapq
import re
from collections.abc import Iterator
from pathlib import Path

from zv_jax import json_input
from zv_jax.bmmic.config import Config
from zv_jax.bmmic.export import card, formats, images
from zv_jax.bmmic.export import records as export_records
from zv_jax.bmmic.pair import Pair
from zv_jax.bmmic.steps import filter as filter_step
from zv_jax.bmmic.steps import generate
from zv_jax.bmmic.steps.shards import Shards
from zv_jax.data.records.record import Record
from zv_jax.errors import DataError
from zv_jax.llm import ledger, receipt


def run(config: Config, workdir: Path) -> list[Path]:
    """Writes `export/` from `kept/`; returns what was written.

    Raises:
      DataError: nothing was kept, an image cannot be read, or a shard folder holds other records.
    """
    report_file = workdir / filter_step.REPORT
    if not report_file.exists():
        raise DataError(
            "nothing was filtered yet",
            where=str(report_file),
            expected="what `zv bmmic filter` writes",
            fix=f"zv bmmic filter --config ... --workdir {workdir}",
        )
    report = json_input.parse(report_file.read_bytes(), str(report_file))
    targets = sorted({export_records.target(pair) for pair in kept(workdir)})
    if not targets:
        raise DataError(
            f"no pair was kept of {report['pairs']:,}",
            where=str(workdir / "kept"),
            expected="at least one",
            fix=f"{filter_step.REPORT} says which filter dropped them, and `zv bmmic audit` shows "
            f"them; for other thresholds, {filter_step.ANEW}",
        )
    out = workdir / "export"
    # TFDS keeps what is there already: another set must not pass for it.
    settings = dataclasses.asdict(config.export) | {"kept": _digest(workdir)}
    Shards(out).begin("export", settings)
    _sweep(out)
    facts, written = card.Facts(), []
    for name in targets:
        made = _set(config, workdir, name, out, facts)
        written.append(made.file)
        written += [
            formats.WRITERS[kind](made, out)
            for kind in config.export.formats
            if kind in formats.WRITERS
        ]
    card.write(out, config.export.title, facts, report, paid(workdir))
    return [*written, out / "README.md"]


_HALF_WRITTEN = re.compile(
    r"\..+\.(?:[0-9a-f]{32}|\d+)"
)  # as `files` and the record writers name it


def _sweep(out: Path) -> None:
    """Removes what a killed export has half written: the folder is there to be handed on. Hidden
    files of the user's own, as .gitattributes, stay."""
    for path in list(out.rglob(".*")):
        if path.is_file() and _HALF_WRITTEN.fullmatch(path.name):
            path.unlink()


def kept(workdir: Path) -> Iterator[Pair]:
    """Every pair that the detector kept, in order."""
    for name in filter_step.INPUTS:
        shards = Shards(workdir / "kept" / name)
        for number in shards.numbers():
            yield from generate.read(shards, number)


def _digest(workdir: Path) -> str:
    """SHA-256 of everything that was kept."""
    digest = hashlib.sha256()
    for name in filter_step.INPUTS:
        shards = Shards(workdir / "kept" / name)
        for number in shards.numbers():
            for _, line in shards.rows(number):
                digest.update(line)
    return digest.hexdigest()


def _set(config: Config, workdir: Path, name: str, out: Path, facts: card.Facts) -> formats.Set:
    """The records of one set, written, and what the other forms need of it."""
    generated = name == export_records.GENERATED
    given = config.symbols.sources if generated else config.translate.sources
    where = "symbols.sources" if generated else "translate.sources"
    opened = [
        own
        for own in images.opened(given, where)
        if generated or own.name in _origins(workdir, name)
    ]
    place = images.Images(opened, out / "images", config.export.image_root)

    def found() -> Iterator[Record]:
        for pair in kept(workdir):
            if export_records.target(pair) == name:
                record = export_records.record_of(pair)
                yield facts.add(place.placed(record, images.source_of(pair)))

    file = formats.records(found(), name, export_records.SPLIT, out)
    licences = heapq.nlargest(3, facts.licences, key=facts.licences.__getitem__)
    return formats.Set(
        name=name,
        split=export_records.SPLIT,
        file=file,
        root=place.root,
        licence="; ".join(licences),
        description=f"{config.export.title}: {name}, made by zv bmmic.",
        image_size=config.export.image_size,
    )


def _origins(workdir: Path, name: str) -> set[str]:
    return {images.source_of(pair) for pair in kept(workdir) if export_records.target(pair) == name}


def paid(workdir: Path) -> receipt.Sums | None:
    """What the ledgers of a run say, or None where there is none."""
    found = [ledger.read(file)[0] for file in ledger.files(workdir)]
    if not found:
        return None
    return receipt.total(sums for one in found for sums in one.packs.values())
