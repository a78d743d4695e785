"""Puts the page together and writes it beside the merged results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from zv_jax.errors import DataError
from zv_jax.evaluation.report import (
    census,
    costs,
    dialogues,
    examples,
    learning,
    scores,
    substitutes,
    summary,
)
from zv_jax.evaluation.report.inputs import Run, read
from zv_jax.files import plain, write_atomic
from zv_jax.html import languages
from zv_jax.html.markup import Html, document, label, section, t, tag
from zv_jax.json_input import finite

HERE = Path(__file__).parent
NAVIGATION = (
    ("summary", "Summary", "概要"),
    ("answers", "Answers", "回答"),
    ("boxes", "Boxes", "定位"),
    ("retrieval", "Retrieval", "检索"),
    ("dialogues", "Dialogue", "对话"),
    ("attention", "Attention", "注意力"),
    ("learning", "Learning", "学习"),
    ("towers", "Parts", "结构"),
    ("scores", "Scores", "分数"),
    ("costs", "Cost", "开销"),
    ("substitutes", "Data", "数据"),
    ("about", "About", "关于"),
)
TITLE = ("Ziya-Visual in JAX: report of a run", "Ziya-Visual JAX：运行报告")


def build(runs_dir: Path) -> Path:
    """Writes `runs_dir/report.html` and `runs_dir/results.json` from whatever is in `runs_dir`.

    Reads the stage folders (`metrics.jsonl`, `config.json`, `events.jsonl`, `stage_table.json`,
    `census.json`, `substitutes*.jsonl`, `shortened*.jsonl`), every `eval_*` folder and
    `times.jsonl`. What is missing or unreadable is said on the page.

    Returns:
        The path of the page: one file, images inside, no request to anywhere.

    Raises:
        DataError: `runs_dir` is no folder, or cannot be written.
    """
    runs_dir = Path(runs_dir)
    if not runs_dir.is_dir():
        raise DataError(
            "there is no such runs folder",
            where=str(runs_dir),
            expected="the folder that holds language/, stage0/, ..., eval_*/",
            fix="name the folder that training and evaluation wrote to",
        )
    run = read(runs_dir)
    merged = json.dumps(plain(results(run)), ensure_ascii=False, indent=1, allow_nan=False)
    _write(runs_dir / "results.json", merged + "\n")
    return _write(runs_dir / "report.html", render(run))


def results(run: Run) -> dict[str, Any]:
    """Everything measured, in one dictionary: scores with their source, times, memory, stages."""
    return {
        "scores": [
            {
                "evaluation": e.name,
                "stage": e.results.get("stage"),
                "variant": e.results.get("variant"),
                "model": e.results.get("model"),
                **score,
            }
            for e in run.evaluations
            for score in e.scores
        ],
        "times": costs.durations(run),
        "memory": {"peak_rss_bytes": costs.memory(run)},
        "stages": {
            name: {
                "status": stage.status,
                "steps": stage.steps,
                "planned_steps": stage.planned,
                "losses": {
                    key: {"first": points[0][1], "last": points[-1][1]}
                    for key, points in stage.losses().items()
                },
                "parameters": stage.table,
            }
            for name, stage in run.stages.items()
        },
        "census": census.counts(run),
        "substitutes": substitutes.counts(run),
        "shortened": {s.name: census.shortened(s) for s in run.stages.values() if s.shortened},
        "evaluation_seconds": {e.name: finite(e.results.get("seconds")) for e in run.evaluations},
        "environment": costs.environment(),
        "missing": run.missing,
        "unreadable": run.broken,
    }


def render(run: Run) -> str:
    """The whole page as text."""
    style = languages.style() + (HERE / "style.css").read_text(encoding="utf-8")
    return document(
        tag("title", TITLE[0], data_zh=TITLE[1]),
        tag("a", t("Skip to the summary", "跳到概要"), href="#summary", cls="skip"),
        _bar(),
        tag("div", summary.hero(run), tag("main", *_sections(run)), _foot(), cls="page"),
        tag("script", Html(languages.script())),
        style=style,
        head=(
            tag("meta", name="color-scheme", content="light dark"),
            tag("link", rel="icon", href="data:,"),  # or the browser asks the server for one
        ),
    )


def _sections(run: Run) -> list[Html]:
    opening = section(
        "summary",
        "At a glance",
        "概要",
        summary.path(run),
        summary.model_line(run),
        tag("h3", t("Scores on unseen pictures", "在未见图片上的成绩"), cls="spaced"),
        scores.board(run),
        lead=t(
            "Training goes in steps; each builds on the one before.",
            "训练分步进行，每一步都建立在前一步之上。",
        ),
    )
    return [
        opening,
        examples.spoken(run),
        examples.boxes(run),
        examples.retrieval(run),
        dialogues.dialogues(run),
        examples.attention(run),
        learning.curves(run),
        learning.towers(run),
        scores.full_table(run),
        costs.costs(run),
        substitutes.substitutes(run),
        costs.grounds(run),
    ]


def _bar() -> Html:
    links = (tag("a", t(en, zh), href=f"#{name}") for name, en, zh in NAVIGATION)
    return tag(
        "div",
        tag("nav", *links, **label("aria_label", "Sections", "章节")),
        languages.switch(),
        cls="topbar",
    )


def _foot() -> Html:
    return tag(
        "footer",
        tag(
            "p",
            t(
                "Figures behind this page: results.json, beside it.",
                "本页数据见同目录的 results.json。",
            ),
        ),
    )


def _write(path: Path, text: str) -> Path:
    try:
        write_atomic(path, text.encode())
    except OSError as error:
        raise DataError(
            f"cannot write the report: {error.strerror or error}",
            where=str(path),
            expected="a writable folder with free space",
            fix="free some space or choose another folder",
        ) from error
    return path
