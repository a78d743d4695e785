"""Makes the page of a run, and remembers what the filters say of the pairs on it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from zv_jax.bmmic import run as run_lib
from zv_jax.bmmic.audit import origins, page, sample
from zv_jax.bmmic.config import Config
from zv_jax.bmmic.export import images
from zv_jax.files import write_atomic, writing

FOLDER, PAGE, ITEMS = "audit", "index.html", "items.jsonl"


def run(config: Config, workdir: Path, count: int) -> tuple[Path, int]:
    """Writes `audit/index.html` and `audit/items.jsonl`; returns the page and its number of pairs.

    Raises:
      DataError: nothing was filtered yet, a ledger was changed, or nothing can be written.
    """
    items = sample.draw(config, workdir, count)
    found = origins.find(config, run_lib.packs(config), workdir, items)
    given = [*config.symbols.sources, *config.translate.sources]
    place = images.Images(images.opened(given, "sources"), workdir / "export" / "images")
    lines = "".join(json.dumps(_row(item), ensure_ascii=False) + "\n" for item in items).encode()
    shown = page.render(items, found, place.shown, digest(lines))
    folder = workdir / FOLDER
    with writing("the page", folder, "make room on the disk"):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / ITEMS, lines)
        write_atomic(folder / PAGE, shown.encode())
    return folder / PAGE, len(items)


def digest(lines: bytes) -> str:
    """What tells the pairs of one page from those of another."""
    return hashlib.sha256(lines).hexdigest()[:16]


def _row(item: sample.Item) -> dict[str, object]:
    pair = item.pair
    facts = {"id": pair.id, "lang": pair.lang, "kind": pair.kind, "dropped": item.dropped}
    return facts | {"verdicts": dict(item.verdicts)}
