"""One HTML page about a cleaning: what was kept, why the rest was not, scores, examples."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from zv_jax.data.cleaning.run import Outcome
from zv_jax.data.images import addresses as image_store
from zv_jax.data.records.record import ImageRef, Record
from zv_jax.errors import DataError
from zv_jax.files import write_atomic
from zv_jax.html.markup import Html, document, image, tag

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
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70em; margin: 1em auto; padding: 0 1em }
table { border-collapse: collapse; margin: 1em 0 }
td, th { border: 1px solid #ccc; padding: .2em .6em; text-align: left }
.examples { display: flex; flex-wrap: wrap; gap: .5em }
figure { width: 140px; margin: 0; font-size: .85em; overflow-wrap: anywhere }
svg { width: 100%; max-width: 40em } .in { fill: #2a7 } .out { fill: #bbb }
"""
_BINS, _WIDTH, _HEIGHT = 50, 500, 120


def write(outcome: Outcome, root: str | Path, out: str | Path) -> None:
    """Writes the page; `root` is that of the images."""
    parts = [_kept(outcome), _dropped(outcome)]
    for key, values in sorted(outcome.scored.items()):
        parts += _histogram(key, values, outcome.thresholds[key])
    for reason, records in sorted(outcome.examples.items()):
        en, zh = REASONS[reason]
        shown = (_example(record, root) for record in records)
        parts += [tag("h2", f"{en} · {zh}"), tag("div", *shown, cls="examples")]
    page = document("zv data filter", tag("h1", "Cleaning · 数据清洗"), *parts, style=_STYLE)
    write_atomic(Path(out), page.encode())


def _table(head: list[str], rows: list[list[object]]) -> Html:
    return tag(
        "table",
        tag("tr", *(tag("th", cell) for cell in head)),
        *(tag("tr", *(tag("td", cell) for cell in row)) for row in rows),
    )


def _kept(outcome: Outcome) -> Html:
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


def _dropped(outcome: Outcome) -> Html:
    head = ["source 来源", "language 语言", "reason 原因", "", "records 记录"]
    rows = [
        [source, lang, *REASONS[reason], f"{count:,}"]
        for (source, lang, reason), count in sorted(outcome.reasons.items())
    ]
    return _table(head, rows)


def _histogram(key: tuple[str, str], values: np.ndarray, threshold: float) -> list[Html]:
    counts, edges = np.histogram(values, _BINS)
    top, wide = max(counts.max(), 1), _WIDTH / _BINS
    bars = (
        tag(
            "rect",
            x=f"{i * wide:.1f}",
            y=f"{_HEIGHT * (1 - n / top):.1f}",
            width=f"{wide - 1:.1f}",
            height=f"{_HEIGHT * n / top:.1f}",
            cls="in" if edges[i] >= threshold else "out",
        )
        for i, n in enumerate(counts)
    )
    name = " · ".join(key)
    box = f"0 0 {_WIDTH} {_HEIGHT}"
    return [
        tag("h2", f"{name}: scores 分数"),
        tag("svg", *bars, viewBox=box, role="img", aria_label=name),
        tag("p", f"{edges[0]:.3f} … {edges[-1]:.3f}"),
    ]


def _example(record: Record, root: str | Path) -> Html:
    shown = None
    if record.images:
        try:
            shown = image(_thumbnail(root, record.images[0]), "jpeg")
        except DataError as error:
            shown = tag("em", error.what)
    return tag("figure", shown, tag("figcaption", (record.answers or ("",))[0]))


def _thumbnail(root: str | Path, ref: ImageRef) -> bytes:
    """The image in small, as JPEG."""
    small = image_store.load(root, ref)
    small.thumbnail((128, 128))
    data = io.BytesIO()
    small.save(data, "JPEG", quality=80)
    return data.getvalue()
