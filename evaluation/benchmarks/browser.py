"""samples.html: every sample with its picture, boxes, question, references and answer, to filter.

One file that needs nothing but the folder images/ beside it. Words of models and data sets go into
the page as JSON and are set as text, so they can never become markup.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from zv_jax.files import plain

FIELDS = (
    "id", "task", "lang", "image", "question", "options", "references", "prediction", "compared",
    "correct", "score", "boxes",
)  # fmt: skip
SCORE_FIELDS = ("task", "lang", "metric", "value", "interval", "n", "unreadable", "protocol")
_PLACE = "/*DATA*/"


def page(samples: Sequence[Mapping[str, Any]], scores: Sequence[Mapping[str, Any]]) -> str:
    """The whole page."""
    rows = [{name: row.get(name) for name in FIELDS} for row in samples]
    numbers = [{name: entry.get(name) for name in SCORE_FIELDS} for entry in scores]
    # The page reads strict JSON, which has no NaN.
    shown = plain({"samples": rows, "scores": numbers})
    text = json.dumps(shown, ensure_ascii=False, allow_nan=False)
    # Nothing in the data may end the script element or begin a comment.
    text = text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    html = (
        resources.files("zv_jax.evaluation.benchmarks").joinpath("browser.html").read_text("utf-8")
    )
    return html.replace(_PLACE, text)
