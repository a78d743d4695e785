"""Charts as inline SVG and plain HTML: no library, colours from the style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from zv_jax.html.markup import Html, join, label, number, tag
from zv_jax.json_input import finite

Point = tuple[float, float | None]

NARROW, WIDE, HEIGHT = 340.0, 520.0, 210.0
LEFT, RIGHT, TOP, BOTTOM = 38.0, 12.0, 14.0, 26.0
MOST_POINTS = 240


@dataclass(frozen=True)
class Series:
    """A curve: its class in the style sheet, its name and its points (`None`: not finite)."""

    cls: str
    name: tuple[str, str]
    points: Sequence[Point]


def thin(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most `most` points, evenly spaced, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    step = (len(points) - 1) / (most - 1)
    return [points[round(at * step)] for at in range(most)]


def smooth(points: Sequence[Point]) -> list[Point]:
    """A straight line fitted to each point's neighbourhood (a fifth of the curve): without the
    lag of a running mean. Gaps stay gaps."""
    reach = max(1, len(points) // 10)
    out: list[Point] = []
    for at, (x, y) in enumerate(points):
        near = [(a - x, b) for a, b in points[max(0, at - reach) : at + reach + 1] if b is not None]
        if y is None:
            out.append((x, None))
            continue
        mean_x, mean_y = (sum(values) / len(near) for values in zip(*near, strict=True))
        spread = sum((a - mean_x) ** 2 for a, _ in near)
        slope = sum((a - mean_x) * (b - mean_y) for a, b in near) / spread if spread else 0.0
        out.append((x, mean_y - slope * mean_x))
    return out


def ticks(high: float, wanted: int = 4) -> list[float]:
    """Round values from 0 to just above `high`."""
    if high <= 0 or not math.isfinite(high):
        return [0.0, 1.0]
    rough = high / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(f * power for f in (1, 2, 2.5, 5, 10) if f * power >= rough * 0.999)
    return [at * step for at in range(math.ceil(high / step - 1e-9) + 1)]


def _mark(value: float) -> str:
    if value >= 1000:
        return f"{value / 1000:g}k"
    return f"{value:g}" if value == 0 or value >= 0.01 else f"{value:.0e}"


def _path(points: Sequence[Point], x_of, y_of) -> str:
    out, pen = [], "M"
    for x, y in points:
        if y is None:
            pen = "M"
            continue
        out.append(f"{pen}{x_of(x):.1f} {y_of(y):.1f}")
        pen = "L"
    return "".join(out)


def lines(
    series: Sequence[Series],
    described: tuple[str, str],
    reference: tuple[float, str] | None = None,
    width: float = NARROW,
) -> Html:
    """Curves over steps from zero upwards: each value faint, the smoothed line strong.

    `reference` is the height and the text of a dashed line. `described` is what a screen reader
    says in English and Chinese.
    """
    shown = [Series(s.cls, s.name, thin(s.points)) for s in series]
    known = [p for s in shown for p in s.points if p[1] is not None]
    heights = [y for _, y in known] + ([reference[0]] if reference else [])
    y_ticks = ticks(max(heights, default=1.0) * 1.02)
    x_ticks = ticks(max((x for x, _ in known), default=1.0))
    x_high = max((x for x, _ in known), default=1.0) or 1.0

    def x_of(x: float) -> float:
        return LEFT + (width - LEFT - RIGHT) * x / x_high

    def y_of(y: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - y / y_ticks[-1])

    def level(y: float, cls: str) -> Html:
        height = f"{y_of(y):.1f}"
        ends = {"x1": f"{LEFT:g}", "x2": f"{width - RIGHT:g}", "y1": height, "y2": height}
        return tag("line", **ends, cls=cls)

    parts = []
    for y in y_ticks:
        parts.append(level(y, "grid" if y else "axis"))
        parts.append(
            tag("text", _mark(y), x=f"{LEFT - 6:g}", y=f"{y_of(y) + 3.5:.1f}", text_anchor="end")
        )
    for x in x_ticks:
        if x <= x_high:
            parts.append(
                tag("text", _mark(x), x=f"{x_of(x):.1f}", y=f"{HEIGHT - 9:g}", text_anchor="middle")
            )
    for curve in shown:
        parts.append(tag("path", d=_path(curve.points, x_of, y_of), cls=f"raw {curve.cls}"))
    if reference:
        height, text = reference
        parts.append(level(height, "reference"))
        parts.append(
            tag(
                "text",
                text,
                x=f"{width - RIGHT:g}",
                y=f"{y_of(height) - 5:.1f}",
                text_anchor="end",
                cls="reference-text",
            )
        )
    for curve in shown:
        mean = smooth(curve.points)
        parts.append(tag("path", d=_path(mean, x_of, y_of), cls=f"mean {curve.cls}"))
        last = next(((x, y) for x, y in reversed(mean) if y is not None), None)
        if last:
            parts.append(
                tag(
                    "circle",
                    cx=f"{x_of(last[0]):.1f}",
                    cy=f"{y_of(last[1]):.1f}",
                    r="3.2",
                    cls=f"end {curve.cls}",
                )
            )
    return tag(
        "svg",
        *parts,
        viewBox=f"0 0 {width:g} {HEIGHT:g}",
        role="img",
        cls="chart",
        **label("aria_label", *described),
    )


def bar(
    value: float | None,
    full: float,
    controls: dict[str, float | None],
    described: tuple[str, str],
    cls: str = "",
) -> Html:
    """A horizontal bar of `value` out of `full` with a tick at every control."""

    def share(x: float) -> str:
        return f"{min(max(x / full, 0.0), 1.0) * 100:.1f}%" if full > 0 else "0%"

    parts = []
    if value is not None:
        parts.append(tag("span", cls="fill", style=f"width:{share(value)}"))
    for name, control in controls.items():
        if control is not None:
            parts.append(tag("span", cls=f"tick {name}", style=f"left:{share(control)}"))
    return tag(
        "span", *parts, cls=f"bar {cls}".strip(), role="img", **label("aria_label", *described)
    )


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two xyxy boxes."""
    wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    high = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = wide * high
    either = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / either if either > 0 else 0.0


def as_box(value: object) -> tuple[float, float, float, float] | None:
    """Four finite numbers as an xyxy box in 0..1, or `None`."""
    if not isinstance(value, (list, tuple)) or len(value) != 4:
        return None
    sides = [side for side in map(finite, value) if side is not None]
    if len(sides) != 4:
        return None
    x1, y1, x2, y2 = (min(max(side, 0.0), 1.0) for side in sides)
    return x1, y1, x2, y2


def boxes(true: Sequence[float] | None, predicted: Sequence[float] | None) -> Html:
    """The boxes as an SVG that lies over an image; both carry a light edge to stand out."""
    edges, strokes = [], []
    for box, cls in ((predicted, "predicted"), (true, "true")):
        if box is None:
            continue
        place = {
            "x": f"{box[0] * 100:.2f}",
            "y": f"{box[1] * 100:.2f}",
            "width": f"{max(box[2] - box[0], 0) * 100:.2f}",
            "height": f"{max(box[3] - box[1], 0) * 100:.2f}",
            "rx": "1.2",
        }
        edges.append(tag("rect", cls="edge", **place))
        strokes.append(tag("rect", cls=cls, **place))
    return tag(
        "svg",
        join((*edges, *strokes)),
        viewBox="0 0 100 100",
        preserveAspectRatio="none",
        cls="boxes",
        aria_hidden="true",
    )


def percent(value: float | None) -> str:
    """A share already in percent."""
    return "–" if value is None else f"{number(value)} %"
