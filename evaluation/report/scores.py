"""Scores beside their controls: panels for the eye, one table for the figures."""

from __future__ import annotations

import re

from zv_jax.evaluation.report.inputs import STAGES, Evaluation, Run
from zv_jax.html import charts
from zv_jax.html.markup import (
    Html,
    absent,
    finite,
    join,
    label,
    number,
    section,
    t,
    table,
    tag,
)

Words = tuple[str, str]

LANGS: dict[str, Words] = {"en": ("English", "英文"), "zh": ("Chinese", "中文")}
TASKS: dict[str, tuple[Words, Words]] = {
    "retrieval": (
        ("Retrieval", "图文检索"),
        (
            "Does a caption find its picture, and a picture its caption?",
            "文字能找到对应的图片吗？图片能找到对应的文字吗？",
        ),
    ),
    "caption": (
        ("Captions", "图片描述"),
        ("Does it say what is in the picture?", "能说出图里有什么吗？"),
    ),
    "vqa": (
        ("Questions", "视觉问答"),
        ("Does it answer questions about the picture?", "能回答关于图片的问题吗？"),
    ),
    "mc_vqa": (
        ("Multiple choice", "选择题"),
        ("Does it pick the right option?", "能选出正确选项吗？"),
    ),
    "grounding": (
        ("Finding things", "目标定位"),
        ("Does it draw the box around the thing asked for?", "能框出所问的物体吗？"),
    ),
    "grounded_caption": (
        ("Naming a region", "区域描述"),
        ("Does it name what is inside a given box?", "能说出框里是什么吗？"),
    ),
    "conversation": (
        ("Dialogue", "多轮对话"),
        ("Does it keep the thread over several turns?", "能在多轮对话中保持连贯吗？"),
    ),
}
SYNONYMS = {
    "ref_ground": "grounding",
    "ref_caption": "grounded_caption",
    "dialogue": "conversation",
}
HEADLINES = {"retrieval": ("image_recall@1_itc", "text_recall@1_itc")}
METRICS: dict[str, Words] = {
    "image_recall@1_itc": ("caption → picture, first guess right", "以文找图，首位命中"),
    "text_recall@1_itc": ("picture → caption, first guess right", "以图找文，首位命中"),
    "exact_match": ("answer exactly right", "答案完全一致"),
    "acc@0.5": ("box overlaps the true one by half or more", "预测框与真实框重叠（IoU）≥ 0.5"),
    "accuracy": ("right option", "选项正确"),
    "exact_match_lenient": (
        "answer right, other ways of saying the same accepted",
        "答案一致（接受同义的其他说法）",
    ),
    "yes_no_accuracy": ("yes-or-no questions answered right", "是非题答对的比例"),
    "mean_iou": ("mean overlap (IoU) with the true box", "与真实框的平均重叠（IoU）"),
    "turn_accuracy": ("share of turns answered right", "答对的轮次比例"),
    "turn_accuracy_several_images": (
        "share of turns over several pictures answered right",
        "涉及多张图片的轮次答对的比例",
    ),
    "dialogue_accuracy": ("share of dialogues right in every turn", "每一轮都答对的对话比例"),
    "cider-d": ("agreement with the reference wording", "与参考描述的一致程度"),
    "cider_zh_char": (
        "agreement with the reference wording, by character",
        "与参考描述的一致程度（按字）",
    ),
}
CONTROLS: dict[str, Words] = {
    "untrained": ("untrained model", "未训练的模型"),
    "shuffled_images": ("shuffled pictures", "打乱图片"),
    "most_frequent": ("most frequent answer", "最常见答案"),
    "chance": ("chance", "随机"),
}
SHARES = ("acc", "exact", "match", "recall", "precision", "rate", "f1")


def whole_name(metric: object) -> str:
    """The name of a metric without the `@n` of a part of a split."""
    return re.sub(r"@\d+$", "", str(metric))


def task_key(name: object) -> str:
    """The report's name of a task."""
    return SYNONYMS.get(str(name), str(name))


def task_title(name: object) -> Words:
    key = task_key(name)
    return TASKS[key][0] if key in TASKS else (key, key)


def lang_title(name: object) -> Words:
    return LANGS.get(str(name), (str(name), str(name)))


def lang_badge(name: object) -> Html:
    """A language in two letters, its name as the title."""
    short = {"en": "EN", "zh": "中"}.get(str(name), name)
    return tag("span", short, cls="badge", **label("title", *lang_title(name)))


def is_share(metric: object) -> bool:
    """Whether a metric is a percentage; the others (CIDEr and its kin) have no fixed top."""
    return any(word in str(metric).lower() for word in SHARES)


def figure(value: object, metric: object) -> str:
    """A score with its unit."""
    known = finite(value)
    if known is None:
        return "–"
    if is_share(metric):
        return charts.percent(known)
    return number(known, 2 if abs(known) < 10 else 1)


def controls_of(score: dict) -> dict[str, float | None]:
    """The four controls of a score, `None` where one was not measured."""
    given = score.get("controls")
    given = given if isinstance(given, dict) else {}
    return {name: finite(given.get(name)) for name in CONTROLS}


def by_task(run: Run) -> dict[str, list[tuple[Evaluation, dict]]]:
    """Every score under its task, known tasks first, in the order in which models were trained."""
    order = {name: at for at, name in enumerate(STAGES)}
    found: dict[str, list[tuple[Evaluation, dict]]] = {}
    for evaluation in sorted(run.evaluations, key=lambda e: order.get(e.key, len(order))):
        for score in evaluation.scores:
            found.setdefault(task_key(score.get("task")), []).append((evaluation, score))
    known = [task for task in TASKS if task in found]
    return {task: found[task] for task in (*known, *(x for x in found if x not in TASKS))}


def headline(task: str, rows: list[tuple[Evaluation, dict]]) -> list[tuple[Evaluation, dict]]:
    """The rows for the eye: of the furthest trained stage, one metric or two per language.

    The choice looks at names only, never at values.
    """
    if not rows:
        return []
    last = rows[-1][0].key.split("_")[0]
    rows = [row for row in rows if row[0].key.split("_")[0] == last]
    wanted = HEADLINES.get(task)
    if wanted and any(whole_name(score.get("metric")) in wanted for _, score in rows):
        rows = [row for row in rows if whole_name(row[1].get("metric")) in wanted]
        rows.sort(key=lambda row: wanted.index(whole_name(row[1].get("metric"))))
    else:
        first: dict[str, str] = {}  # what is no word in a damaged file has a name, too
        for _, score in rows:
            first.setdefault(str(score.get("lang")), str(score.get("metric")))
        rows = [r for r in rows if str(r[1].get("metric")) == first[str(r[1].get("lang"))]]
        langs = list(first)
        rows.sort(key=lambda row: langs.index(str(row[1].get("lang"))))
    return rows


def board(run: Run) -> Html:
    """One panel per task: bars of the furthest trained models, with ticks at the controls."""
    panels = [_panel(task, headline(task, rows)) for task, rows in by_task(run).items()]
    if not panels:
        return absent("No scores: the evaluation has not run yet.", "暂无分数：评测尚未运行。")
    note = tag(
        "p",
        t(
            "Bars are this run's models on pictures they never saw. The thin marks are controls, "
            "spelled out below the bars: a score means something only as far as it stands clear "
            "of them.",
            "横条是本次训练的模型在从未见过的图片上的成绩。细竖线是对照，数值写在横条下方："
            "只有明显高过对照的分数才有意义。",
        ),
        cls="quiet",
    )
    return join((tag("div", *panels, cls="board"), note))


def _panel(task: str, rows: list[tuple[Evaluation, dict]]) -> Html:
    en, zh = task_title(task)
    asks = TASKS[task][1] if task in TASKS else None
    stage = tuple(part.split(" · ")[0] for part in rows[0][0].title)
    groups: dict[str, dict[str, list[tuple[Evaluation, dict]]]] = {}
    for row in rows:
        metric, lang = str(row[1].get("metric")), str(row[1].get("lang"))
        groups.setdefault(metric, {}).setdefault(lang, []).append(row)
    blocks: list[Html] = []
    for metric, langs in groups.items():
        words = METRICS.get(whole_name(metric)) or METRICS.get(whole_name(metric).lower())
        named = tag("p", tag("b", metric), " ", t(*words) if words else None, cls="metric")
        parts = [_block(metric, lang, found) for lang, found in langs.items()]
        if len(groups) > 1 and any(len(langs) == 1 for langs in groups.values()):
            blocks.append(tag("div", named, *parts))  # a measure per language: side by side
        else:
            blocks += [named, tag("div", *parts, cls="langs")]
    if all(block.startswith("<div><p") for block in blocks):
        blocks = [tag("div", *blocks, cls="langs")]
    return tag(
        "article",
        tag("h3", t(en, zh), tag("span", t(*stage), cls="stage-name")),
        tag("p", t(*asks), cls="quiet asked") if asks else None,
        *blocks,
        cls="panel",
    )


def _block(metric: str, lang: str, rows: list[tuple[Evaluation, dict]]) -> Html:
    """The bars of one measure in one language, and the controls of all of them below."""
    words = lang_title(lang)
    top = [finite(score.get("value")) or 0.0 for _, score in rows]
    top += [c for _, score in rows for c in controls_of(score).values() if c is not None]
    full = 100.0 if is_share(metric) else max(top) * 1.08
    bars = []
    for evaluation, score in rows:
        shown, model = figure(score.get("value"), metric), evaluation.title
        short = [part.split(" · ")[-1] for part in model]
        cls = "base" if evaluation.key.endswith("_base") else "chat"
        bars += [
            tag("span", t(*short), cls=f"model {cls}"),
            charts.bar(
                finite(score.get("value")),
                full,
                controls_of(score),
                (f"{words[0]}, {model[0]}: {shown}", f"{words[1]}，{model[1]}：{shown}"),
                cls,
            ),
            tag("strong", shown),
        ]
    notes = []
    for name, control_words in CONTROLS.items():
        values = [figure(controls_of(score)[name], metric) for _, score in rows]
        if set(values) != {"–"}:
            one = len(set(values)) == 1
            notes.append(
                tag(
                    "span",
                    t(*control_words),
                    " ",
                    tag("b", values[0] if one else " / ".join(values)),
                )
            )
    return tag(
        "div",
        tag("h4", t(*words)),
        tag("div", *bars, cls="bars"),
        tag("div", *(notes or [t("no control measured", "未测对照")]), cls="controls"),
        cls="score",
    )


def _interval(score: dict) -> Html | None:
    """The 95 % bootstrap interval, where the evaluation gave one."""
    given = score.get("interval")
    ends = [finite(end) for end in given] if isinstance(given, list) else []
    if len(ends) != 2 or None in ends:
        return None
    return tag("span", f"{ends[0]:.1f}–{ends[1]:.1f}", cls="interval")


def full_table(run: Run) -> Html:
    """The section with every score, its control columns and the number of items."""
    rows = []
    groups = by_task(run)
    for task, scores in groups.items():
        rows.append(
            tag(
                "tr",
                tag("th", t(*task_title(task)), scope="rowgroup", colspan=5 + len(CONTROLS)),
                cls="group",
            )
        )
        keys = [(str(s.get("metric")), str(s.get("lang"))) for _, s in scores]
        first = {key: keys.index(key) for key in keys}
        for evaluation, score in sorted(
            scores, key=lambda r: first[str(r[1].get("metric")), str(r[1].get("lang"))]
        ):
            metric = score.get("metric")
            rows.append(
                tag(
                    "tr",
                    tag("th", tag("code", metric), " ", lang_badge(score.get("lang")), scope="row"),
                    tag("td", t(*evaluation.title)),
                    tag(
                        "td",
                        tag("strong", figure(score.get("value"), metric)),
                        _interval(score),
                        cls="num",
                    ),
                    *(
                        tag("td", figure(control, metric), cls="num")
                        for control in controls_of(score).values()
                    ),
                    tag("td", score.get("n"), cls="num"),
                    tag("td", score.get("unreadable", "–"), cls="num"),
                )
            )
    if not rows:
        return section("scores", "All scores", "全部分数", absent())
    lead = t(
        "Everything that was measured. “Shuffled pictures” asks the same model the same questions "
        "about someone else's picture: what is left is guessing from the words. “–” means not "
        "measured; small figures below a score are its 95 % bootstrap interval. Answers that could "
        "not be read count as wrong.",
        "全部测量结果。“打乱图片”指让同一个模型就别人的图片回答同样的问题：剩下的分数只是凭文字猜测。"
        "“–”表示未测；分数下方的小字为 95 % 自助法置信区间。无法读懂的回答按错误计。",
    )
    head = (
        t("Measure", "指标"),
        t("Model", "模型"),
        t("Score", "分数"),
        *(t(*words) for words in CONTROLS.values()),
        t("Items", "样本数"),
        t("Unreadable", "无法读懂"),
    )
    return section(
        "scores",
        "All scores",
        "全部分数",
        table(head, rows, t("Scores and controls", "分数与对照"), "scores"),
        lead=lead,
    )
