"""How it learned: loss curves per objective and stage, and what trained in which stage."""

from __future__ import annotations

import math

from zv_jax.evaluation.report.inputs import OBJECTIVES, STAGE_NAMES, STAGES, Run, Stage, dig
from zv_jax.html import charts
from zv_jax.html.markup import (
    Html,
    absent,
    count,
    finite,
    join,
    number,
    section,
    t,
    table,
    tag,
)

NAMES: dict[str, tuple[str, str]] = {
    "symbols": ("Symbols · what each patch shows", "符号 · 每个图块是什么"),
    "words": ("Words · which ones a symbol holds", "词语 · 符号包含哪些词"),
    "itc": ("ITC · which picture, which sentence", "ITC · 图文对比"),
    "itm": ("ITM · do they match?", "ITM · 图文匹配"),
    "itg": ("ITG · describe the picture", "ITG · 看图生成文字"),
    "lm": ("LM · the next word", "LM · 预测下一个词"),
}
CHARTS = (
    ("language", ("language",)),
    ("vision", ("vision",)),
    ("stage0", ("stage0",)),
    ("stage1", ("stage1_base", "stage1_chat")),
    ("stage2", ("stage2_base", "stage2_chat")),
)

GUIDE = (
    (
        "The scale is in nats (for symbols, the share left unexplained) and starts at zero. Faint "
        "lines are single log entries, strong lines are smoothed; the two figures below a chart "
        "are where the smoothed line starts and ends.",
        "纵轴单位为 nat（符号一图为未解释的比例），从零开始。浅线是每次记录，深线经过平滑；"
        "图下两个数是平滑线的起点与终点。",
    ),
    (
        "A contrastive loss (ITC) starts near the logarithm of the number of candidates: pure "
        "guessing. A word loss (LM, ITG) starts near the logarithm of the vocabulary.",
        "对比损失（ITC）从候选数的对数附近开始，即纯粹猜测；词损失（LM、ITG）从词表大小的对数附近开始。",
    ),
    (
        "Matching (ITM) has a plateau: a model that never looks, and only knows how often pairs "
        "match, stays on the dashed line. Below it, the model compares.",
        "匹配损失（ITM）有一个平台：不看内容、只知道匹配比例的模型停在虚线上；低于虚线才说明模型在比较图文。",
    ),
)


def matching_prior(config: dict) -> float:
    """ITM loss in nats of always answering with the share of matching pairs.

    One match beside a negative image and a negative sentence (`itm_pairs="both"`): the entropy
    of 1/3, 0.6365. One match beside one negative (`"single"`): ln 2, 0.6931.
    """
    if dig(config, "stage.itm_pairs") == "single":
        return math.log(2)
    return math.log(3) - 2 / 3 * math.log(2)


def curves(run: Run) -> Html:
    """One figure of small multiples per stage."""
    figures = [_figure(run, name, members) for name, members in CHARTS]
    lead = t("Loss over training steps: lower is better.", "损失随训练步数的变化：越低越好。")
    guide = tag(
        "div",
        tag("h3", t("How to read these", "怎样看这些图")),
        tag("ul", *(tag("li", t(en, zh)) for en, zh in GUIDE)),
        cls="guide",
    )
    return section(
        "learning",
        "How it learned",
        "学习过程",
        tag("div", figures[0], guide, *figures[1:], cls="curves"),
        lead=lead,
    )


def _figure(run: Run, name: str, members: tuple[str, ...]) -> Html:
    stages = [run.stages[member] for member in members]
    found = {stage.name: stage.losses() for stage in stages}
    en, zh = (part.split(" · ")[0] for part in STAGE_NAMES[members[0]])
    keys = [key for key in OBJECTIVES if any(key in losses for losses in found.values())]
    panels = [
        _panel(
            key,
            [(s, found[s.name][key]) for s in stages if key in found[s.name]],
            wide=len(keys) == 1,
        )
        for key in keys
    ]
    missing = [stage for stage in stages if not found[stage.name]]
    notes = [absent(f"{s.title[0]}: not run yet.", f"{s.title[1]}：尚未运行。") for s in missing]
    return tag(
        "div",
        tag("h3", t(en, zh)),
        tag("div", *panels, cls="multiples") if panels else None,
        *notes,
        cls="stage-curves wide" if len(keys) > 1 else "stage-curves",
        id=f"curves-{name}",
    )


def _panel(key: str, curves_: list[tuple[Stage, list[charts.Point]]], wide: bool) -> Html:
    en, zh = NAMES[key]
    series, facts, spoken_en, spoken_zh = [], [], [], []
    for stage, points in curves_:
        cls = "base" if stage.name.endswith("_base") else "chat"
        series.append(charts.Series(cls, stage.title, points))
        known = [y for _, y in charts.smooth(points) if y is not None]
        bad = sum(y is None for _, y in points)
        ends = f"{number(known[0], 3)} → {number(known[-1], 3)}" if known else "–"
        variant = stage.title[0].split(" · ")[1:]
        name = tag("span", *variant, cls=f"model {cls}") if variant else None
        parts = [name, tag("b", ends)]
        if bad:
            parts.append(
                tag("span", t(f"{bad} values not finite", f"{bad} 个值非有限数"), cls="wrong")
            )
        facts.append(tag("span", join((p for p in parts if p), " ")))
        spoken_en.append(f"{stage.title[0]} {ends}")
        spoken_zh.append(f"{stage.title[1]} {ends}")
    reference = None
    if key == "itm":
        prior = matching_prior(curves_[0][0].config)
        reference = (prior, f"{prior:.4f}")
        facts.append(
            tag(
                "span",
                tag("span", cls="dash", aria_hidden="true"),
                " ",
                t(
                    f"prior {prior:.4f}: guessing without looking",
                    f"先验 {prior:.4f}：不看内容的猜测",
                ),
            )
        )
    described = (
        f"Loss curve, {en}: " + "; ".join(spoken_en),
        f"损失曲线，{zh}：" + "；".join(spoken_zh),
    )
    drawn = charts.lines(series, described, reference)
    if wide:  # drawn for both widths, so that its text keeps its size; the style sheet picks one
        drawn = join(
            (
                tag("div", drawn, cls="on-narrow"),
                tag("div", charts.lines(series, described, reference, charts.WIDE), cls="on-wide"),
            )
        )
    return tag(
        "figure",
        tag("figcaption", tag("strong", t(en, zh))),
        drawn,
        tag("p", *facts, cls="facts"),
        cls="panel",
    )


def towers(run: Run) -> Html:
    """The table of what trains: a row per tower, a column per stage."""
    names: dict[str, None] = {}
    cells: dict[tuple[str, str], Html] = {}
    columns = [name for name in STAGES if run.stages[name].table]
    for name in columns:
        for row in run.stages[name].table:
            tower = str(row.get("tower"))
            names[tower] = None
            cells[tower, name] = _cell(row)
    lead = t(
        "Which parameters move in which stage. Frozen parts stay as they were; an adapter "
        "is a small low-rank addition (LoRA) beside a frozen part. “–”: not in this stage.",
        "各阶段训练哪些参数。冻结部分保持不变；适配器（LoRA）是冻结部分旁的少量低秩参数。"
        "“–”：该阶段不用。",
    )
    if not columns:
        return section(
            "towers", "What trained, what stayed frozen", "训练与冻结", absent(), lead=lead
        )
    head = (t("Part", "部分"), *(t(*STAGE_NAMES[name]) for name in columns))
    rows = [
        (
            tag("code", tower),
            *(
                cells.get((tower, name), tag("td", tag("span", "–", cls="quiet")))
                for name in columns
            ),
        )
        for tower in names
    ]
    missing = [STAGE_NAMES[name] for name in STAGES if name not in columns]
    note = (
        tag(
            "p",
            t(
                "No table yet: " + ", ".join(en for en, _ in missing) + ".",
                "尚无表格：" + "、".join(zh for _, zh in missing) + "。",
            ),
            cls="absent",
        )
        if missing
        else None
    )
    return section(
        "towers",
        "What trained, what stayed frozen",
        "训练与冻结",
        table(head, rows, t("Parameters per part and stage", "各部分各阶段的参数量"), "towers"),
        note,
        lead=lead,
    )


def _cell(row: dict) -> Html:
    chips = []
    for key, en, zh in (
        ("trainable", "trains", "训练"),
        ("adapter", "adapter", "适配器"),
        ("frozen", "frozen", "冻结"),
    ):
        if finite(row.get(key)):
            chips.append(tag("span", t(en, zh), " ", tag("b", count(row[key])), cls=f"chip {key}"))
    return tag("td", *(chips or [tag("span", "–", cls="quiet")]))
