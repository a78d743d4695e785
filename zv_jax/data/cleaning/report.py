"""One HTML page about a cleaning: what was kept, why the rest was not, scores, examples."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path

import numpy as np

from zv_jax.data.cleaning.run import Outcome
from zv_jax.data.images import addresses as pictures
from zv_jax.data.records.record import Record
from zv_jax.errors import DataError
from zv_jax.files import write_atomic

# English and Chinese words of every reason.
REASONS = {
    "language": ("text in another language", "文本语言不符"),
    "short": ("text too short", "文本过短"),
    "long": ("text too long", "文本过长"),
    "letters": ("too few letters", "文字比例过低"),
    "repeats": ("text repeats itself", "文本重复"),
    "unsafe": ("flagged unsafe", "标记为不安全"),
    "watermark": ("flagged watermark", "标记有水印"),
    "picture": ("picture cannot be read", "图片无法读取"),
    "small": ("picture too small", "图片过小"),
    "aspect": ("picture too long or too wide", "图片长宽比过大"),
    "duplicate": ("near-duplicate pair", "近似重复"),
    "score": ("text does not fit the picture", "图文不符"),
}
_BINS, _WIDTH, _HEIGHT = 50, 500, 120


def write(outcome: Outcome, root: str | Path, out: str | Path) -> None:
    """Writes the page; `root` is that of the pictures."""
    parts = [_kept(outcome), _dropped(outcome)]
    for key, values in sorted(outcome.scored.items()):
        parts.append(_histogram(key, values, outcome.thresholds[key]))
    for reason, records in sorted(outcome.examples.items()):
        en, zh = REASONS[reason]
        shown = "".join(_example(record, root) for record in records)
        parts.append(f"<h2>{en} · {zh}</h2><div class=examples>{shown}</div>")
    write_atomic(Path(out), _PAGE.format(body="\n".join(parts)).encode())


def _table(head: list[str], rows: list[list[object]]) -> str:
    def row(cells: list[object], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(str(c))}</{tag}>" for c in cells) + "</tr>"

    return f"<table>{row(head, 'th')}{''.join(row(r, 'td') for r in rows)}</table>"


def _kept(outcome: Outcome) -> str:
    head = [
        "source 来源",
        "language 语言",
        "seen 总数",
        "kept 保留",
        "share 比例",
        "threshold 阈值",
    ]
    rows = []
    for key, seen in sorted(outcome.seen.items()):
        threshold = outcome.thresholds.get(key)
        limit = "" if threshold is None or not np.isfinite(threshold) else f"{threshold:.4f}"
        kept = outcome.kept[key]
        rows.append([*key, f"{seen:,}", f"{kept:,}", f"{kept / seen:.1%}", limit])
    return _table(head, rows)


def _dropped(outcome: Outcome) -> str:
    head = ["source 来源", "language 语言", "reason 原因", "", "records 记录"]
    rows = [
        [source, lang, *REASONS[reason], f"{count:,}"]
        for (source, lang, reason), count in sorted(outcome.reasons.items())
    ]
    return _table(head, rows)


def _histogram(key: tuple[str, str], values: np.ndarray, threshold: float) -> str:
    counts, edges = np.histogram(values, _BINS)
    top, wide = max(counts.max(), 1), _WIDTH / _BINS
    bars = "".join(
        f'<rect x="{i * wide:.1f}" y="{_HEIGHT * (1 - n / top):.1f}" width="{wide - 1:.1f}" '
        f'height="{_HEIGHT * n / top:.1f}" class="{"in" if edges[i] >= threshold else "out"}"/>'
        for i, n in enumerate(counts)
    )
    name = html.escape(" · ".join(key))
    return (
        f"<h2>{name}: scores 分数</h2>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{name}">{bars}</svg>'
        f"<p>{edges[0]:.3f} … {edges[-1]:.3f}</p>"
    )


def _example(record: Record, root: str | Path) -> str:
    text = html.escape((record.answers or ("",))[0])
    shown = ""
    if record.images:
        try:
            image = pictures.load(root, record.images[0])
            image.thumbnail((128, 128))
            data = io.BytesIO()
            image.save(data, "JPEG", quality=80)
            code = base64.b64encode(data.getvalue()).decode()
            shown = f'<img src="data:image/jpeg;base64,{code}" alt="picture 图片">'
        except DataError as error:
            shown = f"<em>{html.escape(error.what)}</em>"
    return f"<figure>{shown}<figcaption>{text}</figcaption></figure>"


_PAGE = """<!doctype html>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>zv data filter</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 70em; margin: 1em auto; padding: 0 1em }}
table {{ border-collapse: collapse; margin: 1em 0 }}
td, th {{ border: 1px solid #ccc; padding: .2em .6em; text-align: left }}
.examples {{ display: flex; flex-wrap: wrap; gap: .5em }}
figure {{ width: 140px; margin: 0; font-size: .85em; overflow-wrap: anywhere }}
svg {{ width: 100%; max-width: 40em }} .in {{ fill: #2a7 }} .out {{ fill: #bbb }}
</style>
<h1>Cleaning · 数据清洗</h1>
{body}
"""
