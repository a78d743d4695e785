"""The top of the page: what was trained, from what, and how far it got, in plain words."""

from __future__ import annotations

from zv_jax.evaluation.report import scores
from zv_jax.evaluation.report.images import figure
from zv_jax.evaluation.report.inputs import STAGES, Run, Stage, dig
from zv_jax.html.markup import Html, count, join, said, seconds, seconds_zh, t, tag
from zv_jax.json_input import finite

WHAT: dict[str, tuple[str, str]] = {
    "language": (
        "A small LLaMA learns to write from text alone, without any picture.",
        "小型 LLaMA 只从文字学习写作，不看任何图片。",
    ),
    "vision": (
        "A small image transformer (ViT) learns to say of every patch what it shows and where that "
        "begins and ends, in the word embeddings of the LLaMA.",
        "小型图像编码器（ViT）学习用 LLaMA 的词嵌入说出每个图块是什么、起止于何处。",
    ),
    "stage0": (
        "Pictures and sentences meet: the Q-Former learns which belong together (ITC, ITM) and "
        "how to describe (ITG).",
        "图文相遇：Q-Former 学习哪些图文相配（ITC、ITM）以及如何描述（ITG）。",
    ),
    "stage1": (
        "The Q-Former learns to hand pictures to the language model.",
        "Q-Former 学习把图片信息传给语言模型。",
    ),
    "stage2": (
        "Instructions: questions, boxes, dialogues, several pictures.",
        "指令学习：问答、定位、多轮对话、多张图片。",
    ),
}
GROUPS = (
    ("language",),
    ("vision",),
    ("stage0",),
    ("stage1_base", "stage1_chat"),
    ("stage2_base", "stage2_chat"),
)
FINDINGS: dict[str, tuple[str, str]] = {
    "retrieval": (
        "Given a caption, its first choice among all test pictures is right in {v} of cases",
        "给一句描述，在全部测试图片中首选正确的比例：{v}",
    ),
    "vqa": ("It answers questions exactly right in {v} of cases", "问答完全正确的比例：{v}"),
    "grounding": (
        "The box it draws meets the true one in {v} of cases",
        "所画的框与真实框相符的比例：{v}",
    ),
}
STATUS = {
    "done": ("done", "完成"),
    "partial": ("in progress", "进行中"),
    "absent": ("not run yet", "尚未运行"),
}


def hero(run: Run) -> Html:
    """The opening: what was trained, from what, the main scores in sentences, one example."""
    return tag(
        "header",
        tag(
            "div",
            tag("p", "Ziya-Visual · zv_jax", cls="wordmark"),
            tag("h1", t("A model that sees, in two languages", "会看图的双语模型")),
            tag("p", _opening(run), cls="opening"),
            _origin(run),
            _sentences(run),
            cls="words",
        ),
        _example(run),
        cls="hero",
        id="top",
    )


def _opening(run: Run) -> Html:
    done = [s for s in run.stages.values() if s.status != "absent"]
    if not done:
        return t(
            "Nothing has been trained in this folder yet. As the steps run, this page fills.",
            "此文件夹中尚未进行任何训练。各步骤运行后，本页会逐渐充实。",
        )
    finished = sum(s.status == "done" for s in done)
    spent = sum(finite(row.get("seconds")) or 0.0 for row in run.times)
    time_en = f" Everything together took {seconds(spent)}." if spent else ""
    time_zh = f"全程共用 {seconds_zh(spent)}。" if spent else ""
    made = "zv_openmoji" in run.sources()
    from_en = " It learned from scenes composed of OpenMoji pictures." if made else ""
    from_zh = "它从由 OpenMoji 图片拼成的场景中学习。" if made else ""
    return t(
        "This page reports on a vision-language model that answers in English and Chinese."
        f"{from_en} {finished} of {len(STAGES)} training runs are complete.{time_en}",
        f"本页报告一个用中英文回答的视觉语言模型。{from_zh}"
        f"{len(STAGES)} 次训练中已完成 {finished} 次。{time_zh}",
    )


def _origin(run: Run) -> Html | None:
    """Says where the weights came from, as far as the configurations tell."""
    if not any(stage.config for stage in run.stages.values()):
        return None
    outside = run.started_from()
    if outside:
        names = ", ".join(outside)
        return tag(
            "p",
            t(f"Started from weights made elsewhere: {names}.", f"训练从外部权重开始：{names}。"),
            cls="origin",
        )
    towers_en, towers_zh = [], []
    images, text = run.stages["vision"], run.stages["language"]
    if images.metrics:
        towers_en.append("the image transformer (ViT)")
        towers_zh.append("图像编码器（ViT）")
    if text.metrics:
        towers_en.append("the little language model (LLaMA)")
        towers_zh.append("小语言模型（LLaMA）")
    if not towers_en:
        return None
    verb = "were" if len(towers_en) > 1 else "was"
    joined = " and ".join(towers_en)
    return tag(
        "p",
        t(
            f"No pre-trained weights were used: {joined} {verb} trained from nothing, here, for "
            "this report. The full-size model of the paper starts from large pre-trained ones "
            "instead, so these scores say that the method works, not how good it can get.",
            f"没有使用任何预训练权重：{'和'.join(towers_zh)}是在这里从零开始训练的。"
            "论文中的完整模型则从大型预训练权重出发，因此这些分数说明方法有效，而不代表它的上限。",
        ),
        cls="origin",
    )


def _sentences(run: Run) -> Html | None:
    """The main findings, each with the control that makes it a finding."""
    items = []
    for task, rows in scores.by_task(run).items():
        best = [r for r in scores.headline(task, rows) if scores.is_share(r[1].get("metric"))]
        if task not in FINDINGS or not best:
            continue
        # One model (the furthest, Chat before Base) and one measure, all its languages.
        metric, evaluation = best[0][1].get("metric"), best[-1][0]
        found = [s for e, s in best if e is evaluation and s.get("metric") == metric]
        if not found:
            continue
        values = [
            (scores.lang_title(s.get("lang")), scores.figure(s.get("value"), metric)) for s in found
        ]
        en = " and ".join(f"{shown} ({lang[0]})" for lang, shown in values)
        zh = "、".join(f"{lang[1]} {shown}" for lang, shown in values)
        against = _against(found, metric)
        sentence_en, sentence_zh = FINDINGS[task]
        items.append(
            tag(
                "li",
                t(sentence_en.format(v=en) + against[0], sentence_zh.format(v=zh) + against[1]),
                " ",
                tag("span", t(*evaluation.title), cls="quiet whole"),
            )
        )
    return tag("ul", *items, cls="findings") if items else None


def _against(found: list[dict], metric: object) -> tuple[str, str]:
    """The first control that was measured, for every language."""
    for name in ("shuffled_images", "chance", "untrained", "most_frequent"):
        values = [scores.controls_of(score)[name] for score in found]
        if all(value is not None for value in values):
            en, zh = scores.CONTROLS[name]
            shown = " / ".join(dict.fromkeys(scores.figure(value, metric) for value in values))
            return f" ({en}: {shown}).", f"（{zh}：{shown}）。"
    return ".", "。"


def _example(run: Run) -> Html | None:
    """The first image that has captions, with the captions of the model, right or wrong."""
    for evaluation in run.best_first():
        captions = [
            s
            for s in evaluation.samples
            if scores.task_key(s.get("task")) == "caption" and evaluation.image(s.get("image"))
        ]
        if not captions:
            continue
        first = captions[0]["image"]
        same = [s for s in captions if s["image"] == first][:2]
        langs = {s.get("lang") for s in same}
        same += [s for s in captions if s.get("lang") not in langs and s["image"] == first][:1]
        return tag(
            "figure",
            figure(
                evaluation.image(first),
                "A test picture that the model describes",
                "模型所描述的一张测试图片",
            ),
            tag(
                "figcaption",
                tag(
                    "span", t("The model says", "模型说"), " · ", t(*evaluation.title), cls="quiet"
                ),
                *(said(s.get("prediction"), s.get("lang"), "p", cls="quote") for s in same),
            ),
            cls="first",
        )
    return None


def path(run: Run) -> Html:
    """The training as a row of steps, each with its state."""
    cards = []
    for names in GROUPS:
        stages = [run.stages[name] for name in names]
        key = names[0].split("_")[0]
        en, zh = (part.split(" · ")[0] for part in stages[0].title)
        states = {stage.status for stage in stages}
        state = "done" if states == {"done"} else "absent" if states == {"absent"} else "partial"
        cards.append(
            tag(
                "li",
                tag("h3", t(en, zh)),
                tag("p", t(*WHAT[key])),
                tag("ul", *(_state(stage) for stage in stages)),
                cls=state,
            )
        )
    return tag("ol", *cards, cls="path")


def _state(stage: Stage) -> Html:
    words = STATUS[stage.status]
    mark = {"done": "✓", "partial": "…", "absent": "○"}[stage.status]
    variant = stage.title[0].split(" · ")[1:]
    facts = []
    if stage.metrics:
        steps = f"{stage.steps:,}"
        total = f" / {stage.planned:,}" if stage.planned and stage.status == "partial" else ""
        facts.append(t(f"{steps}{total} steps", f"{steps}{total} 步"))
    moved = sum(
        int((finite(row.get("trainable")) or 0) + (finite(row.get("adapter")) or 0))
        for row in stage.table
    )
    if moved:
        facts.append(t(f"{count(moved)} parameters trained", f"训练 {count(moved)} 参数"))
    return tag(
        "li",
        tag("span", mark, cls="mark", aria_hidden="true"),
        tag("span", join((*variant, t(*words), *facts), " · ")),
    )


def model_line(run: Run) -> Html | None:
    """The architecture in one line, from the last configuration there is."""
    for name in reversed(STAGES):
        model = run.stages[name].config.get("model")
        if isinstance(model, dict):
            v, q, m = (dig(model, k) or {} for k in ("vision", "qformer", "llm"))
            return tag(
                "p",
                t(
                    f"Model “{model.get('preset')}”: image transformer of {v.get('layers')} layers "
                    f"× {v.get('width')} on {v.get('image_size')}-pixel pictures; Q-Former of "
                    f"{q.get('layers')} × {q.get('width')} with {q.get('num_queries')} queries; "
                    f"language model of {m.get('layers')} × {m.get('width')}, "
                    f"{m.get('vocab_size')} word pieces.",
                    f"模型“{model.get('preset')}”：图像编码器 {v.get('layers')} 层 × "
                    f"{v.get('width')}，输入 {v.get('image_size')} 像素图片；"
                    f"Q-Former {q.get('layers')} 层 × {q.get('width')}，"
                    f"{q.get('num_queries')} 个查询；语言模型 {m.get('layers')} 层 × "
                    f"{m.get('width')}，词表 {m.get('vocab_size')}。",
                ),
                cls="quiet",
            )
    return None
