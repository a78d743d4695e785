"""What each run drew of its data: records and what was left out and why, source by source."""

from __future__ import annotations

from zv_jax.evaluation.report.inputs import STAGE_NAMES, Run, Stage
from zv_jax.html.markup import Html, join, t, table, tag
from zv_jax.json_input import finite

REASONS = {
    "unreadable": ("unreadable", "无法读取"),
    "task": ("another task", "任务不符"),
    "language": ("another language", "语言不符"),
    "images": ("number of images", "图片数不符"),
    "empty": ("nothing to learn", "没有可学内容"),
}
TOWERS = {"qformer": ("Q-Former", "Q-Former"), "llm": ("language model", "语言模型")}
LOUD = 0.01  # share of [UNK] above which the page warns, as the run did
_HEAD = (
    ("Source", "来源"),
    ("Records", "记录"),
    ("Samples", "样本"),
    ("Records left out", "略去的记录"),
    ("Looked at", "已检查样本"),
    ("Too long", "过长"),
    ("Exchanges left out", "略去的问答"),
    ("Answers cut", "截断的回答"),
    ("Instructions cut", "截断的指令"),
    ("[UNK]", "[UNK]"),
    ("In training: too long, left out, cut", "训练中：过长、略去、截断"),
)

_COUNTS = ("looked_at", "too_long", "exchanges", "cut", "unread")


def counts(run: Run) -> dict[str, list[dict]]:
    """Run -> the counts of its sources."""
    return {stage.name: stage.census for stage in run.stages.values() if stage.census}


def shortened(stage: Stage) -> dict[str, dict[str, int]]:
    """Source -> what length did to its samples while training."""
    found: dict[str, dict[str, int]] = {}
    for row in stage.shortened:
        given = row.get("counts")
        for source, kinds in given.items() if isinstance(given, dict) else ():
            sums = found.setdefault(str(source), {})
            for kind, count in kinds.items() if isinstance(kinds, dict) else ():
                sums[kind] = sums.get(kind, 0) + int(finite(count) or 0)
    return found


def blocks(run: Run) -> list[Html]:
    """One table for each run that counted its data, and a warning where a vocabulary is wrong."""
    found = []
    for stage in run.stages.values():
        if not stage.census:
            continue
        title = STAGE_NAMES[stage.name]
        drawn = shortened(stage)
        rows = (_row(source, drawn.get(str(source.get("source")), {})) for source in stage.census)
        caption = t(f"Data of {title[0]}", f"{title[1]}的数据")
        found += [
            tag("h3", t(*title)),
            *(_warning(*loud) for source in stage.census for loud in _loud(source)),
            tag("div", table((t(*words) for words in _HEAD), rows, caption), cls="long"),
        ]
    return found


def _row(source: dict, drawn: dict[str, int]) -> tuple[object, ...]:
    def number(value: object) -> Html:
        return tag("td", f"{int(finite(value) or 0):,}", cls="num")

    left_out = source.get("left_out")
    reasons = [
        t(f"{int(finite(count) or 0):,} {en}", f"{zh} {int(finite(count) or 0):,}")
        for reason, count in (left_out.items() if isinstance(left_out, dict) else ())
        for en, zh in [REASONS.get(reason, (str(reason),) * 2)]
    ]
    while_training = [f"{drawn.get(kind, 0):,}" for kind in ("too_long", "left_out", "cut")]
    return (
        tag("code", source.get("source")),
        number(source.get("records")),
        number(source.get("samples")),
        join(reasons, ", ") if reasons else "–",
        *(
            number(source.get(key))
            for key in ("looked_at", "too_long", "exchanges", "cut", "unread")
        ),
        join((f"{lang} {share:.2%}" for _, lang, share in _unknown(source) if share), ", ") or "–",
        " · ".join(while_training),
    )


def _unknown(source: dict) -> list[tuple[str, str, float]]:
    """(tower, language, share of [UNK]) of a source."""
    towers = source.get("unknown")
    return [
        (tower, str(lang), finite(share) or 0.0)
        for tower, shares in (towers.items() if isinstance(towers, dict) else ())
        if tower in TOWERS and isinstance(shares, dict)
        for lang, share in shares.items()
    ]


def _loud(source: dict) -> list[tuple[str, str, float, str]]:
    name = str(source.get("source"))
    return [(*found, name) for found in _unknown(source) if found[2] > LOUD]


def _warning(tower: str, lang: str, share: float, source: str) -> Html:
    en, zh = TOWERS[tower]
    command = "zv tokenizer union" if tower == "qformer" else "zv tokenizer extend"
    return tag(
        "p",
        t(
            f"{share:.1%} of the {lang} tokens that the {en} read from {source} were [UNK]: such "
            f"texts cannot be told apart. Make a larger vocabulary ({command}) and grow the "
            "embeddings (zv tokenizer grow).",
            f"{zh}从 {source} 读到的 {lang} 词元中有 {share:.1%} 是 [UNK]，这些文本无法区分。"
            f"请扩充词表（{command}）并扩充嵌入（zv tokenizer grow）。",
        ),
        cls="warning",
    )
