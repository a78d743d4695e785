"""samples.html: every sample with its image, boxes, question, references and answer, to filter.

One file that needs nothing but the folder images/ beside it. Words of models and data sets go into
the page as JSON and are set as text, so they can never become markup.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from zv_jax.files import plain
from zv_jax.html.markup import Html, document, tag

FIELDS = (
    "id", "task", "lang", "image", "question", "options", "references", "prediction", "compared",
    "correct", "score", "boxes",
)  # fmt: skip
SCORE_FIELDS = ("task", "lang", "metric", "value", "interval", "n", "unreadable", "protocol")


def page(samples: Sequence[Mapping[str, Any]], scores: Sequence[Mapping[str, Any]]) -> str:
    """The whole page."""
    rows = [{name: row.get(name) for name in FIELDS} for row in samples]
    numbers = [{name: entry.get(name) for name in SCORE_FIELDS} for entry in scores]
    # The page reads strict JSON, which has no NaN.
    shown = plain({"samples": rows, "scores": numbers})
    text = json.dumps(shown, ensure_ascii=False, allow_nan=False)
    # Nothing in the data may end the script element or begin a comment.
    text = text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    files = resources.files("zv_jax.evaluation")
    style, script = (files.joinpath(f"browser.{kind}").read_text("utf-8") for kind in ("css", "js"))
    return document(
        "Samples · 样本",
        _header(),
        tag(
            "details",
            tag("summary", "Scores and protocols · 分数与协议"),
            tag("table", id="scores"),
        ),
        tag("main", id="list"),
        tag("button", "More · 更多", id="more", type="button"),
        tag("script", Html(text), type="application/json", id="data"),
        tag("script", Html(script)),
        style=style,
    )


def _header() -> Html:
    """What chooses the samples that are shown."""
    options = ("all · 全部", "wrong only · 仅错误", "right only · 仅正确")
    which = (tag("option", words, value=words.split()[0]) for words in options)
    return tag(
        "header",
        tag("label", "Benchmark · 基准 ", tag("select", id="task")),
        tag("label", "Show · 显示 ", tag("select", *which, id="which")),
        tag("label", "Search · 搜索 ", tag("input", id="words", type="search")),
        tag("span", id="count", role="status"),
    )
