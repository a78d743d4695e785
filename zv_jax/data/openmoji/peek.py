"""A contact sheet of images with their boxes, each image alone, and their records as text."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image, ImageDraw

from zv_jax.data.openmoji.source import open_split
from zv_jax.data.records.record import Record

_INK = ((0, 0, 0), (255, 0, 0), (0, 0, 255), (0, 110, 0), (150, 0, 150), (120, 70, 0))
_GAP = 8


def _text(record: Record) -> str:
    turns = " | ".join(f"{turn.role}: {turn.text}" for turn in record.turns)
    answers = f"  answers: {' / '.join(record.answers)}" if record.answers else ""
    boxes = "".join(
        f"  obj_{k}={tuple(round(v, 2) for v in o.box)}" for k, o in enumerate(record.objects)
    )
    return f"  [{record.lang} {record.task}] {turns}{answers}{boxes}"


def peek(
    path: str | os.PathLike, split: str, n: int, out_png: str | os.PathLike, scale: int = 2
) -> Path:
    """Draws the first ``n`` scenes of a split on one sheet and prints their records.

    Each scene is also written as the model sees it, in a folder beside the sheet: `sheet.png`
    has `sheet/1.png`, `sheet/2.png`, ...

    Args:
      path: what `prepare` returned.
      split: which split.
      n: how many scenes (at most all).
      out_png: where to write the sheet.
      scale: enlargement of the pictures, so that box lines do not hide them.

    Returns:
      Path of the sheet.
    """
    source = open_split(path, split)
    n = min(max(n, 1), len(source))
    columns = min(n, 6)
    sheet = None
    out = Path(out_png)
    out.with_suffix("").mkdir(parents=True, exist_ok=True)
    for i in range(n):
        row = source[i]
        image = row["image"]
        image.save(out.with_suffix("") / f"{i + 1}.png")
        side = image.width * scale
        picture = image.resize((side, side), Image.Resampling.NEAREST)
        draw = ImageDraw.Draw(picture)
        objects = {o.box: o.label for r in row["records"] for o in r.objects if o.image == 0}
        for k, box in enumerate(objects):
            x1, y1, x2, y2 = (round(v * side) for v in box)
            draw.rectangle((x1, y1, x2 - 1, y2 - 1), outline=_INK[k % len(_INK)])
        cell = side + _GAP
        if sheet is None:
            sheet = Image.new(
                "RGB", (columns * cell + _GAP, -(-n // columns) * cell + _GAP), (40, 40, 40)
            )
        sheet.paste(picture, (_GAP + i % columns * cell, _GAP + i // columns * cell))
        print(f"{row['id']} ({row['kind']})")
        for record in row["records"]:
            print(_text(record))
    sheet.save(out)
    return out
