"""What it took and what it rests on: times, memory, environment, licences, gaps."""

from __future__ import annotations

import platform
import statistics
from importlib import metadata

from zv_jax.evaluation.report.inputs import STAGE_NAMES, STAGES, Run, dig
from zv_jax.html import charts
from zv_jax.html.markup import (
    Html,
    absent,
    count,
    finite,
    number,
    seconds,
    seconds_zh,
    section,
    size,
    t,
    table,
    tag,
)
from zv_jax.parallel.runtime import cores

PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "grain",
    "tensorflow-datasets",
    "numpy",
    "pillow",
    "sentencepiece",
)


def durations(run: Run) -> dict[str, float]:
    """Seconds per step of the main job; a step that was interrupted and continued is added up."""
    total: dict[str, float] = {}
    for row in run.times:
        spent = finite(row.get("seconds"))
        if spent is not None:
            step = str(row.get("step"))
            total[step] = total.get(step, 0.0) + spent
    return total


def memory(run: Run) -> dict[str, float]:
    """Peak resident bytes of every training run and evaluation that recorded them."""
    found: dict[str, float | None] = {
        name: stage.highest("peak_rss_bytes") for name, stage in run.stages.items()
    }
    for row in run.times:
        if finite(row.get("peak_rss_bytes")) is not None:
            name = str(row.get("step"))
            found[name] = max(found.get(name) or 0.0, float(row["peak_rss_bytes"]))
    for evaluation in run.evaluations:
        found[evaluation.name] = finite(evaluation.results.get("peak_rss_bytes"))
    return {name: value for name, value in found.items() if value is not None}


def environment() -> dict[str, str]:
    """The machine and the versions of the packages as they are now; no names, no paths."""
    found = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu cores": str(cores()),
    }
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def costs(run: Run) -> Html:
    """Times, throughput and memory."""
    spent, peak = durations(run), memory(run)
    blocks = [tag("h3", t("Time per step", "各步骤用时"))]
    if spent:
        longest, whole = max(spent.values()), sum(spent.values())
        rows = [
            tag(
                "li",
                tag("span", tag("code", step), tag("strong", t(seconds(value), seconds_zh(value)))),
                charts.bar(
                    value,
                    longest,
                    {},
                    (f"{step}: {seconds(value)}", f"{step}：{seconds_zh(value)}"),
                ),
            )
            for step, value in spent.items()
        ]
        blocks += [
            tag("ol", *rows, cls="times"),
            tag("p", t(f"Together {seconds(whole)}.", f"合计 {seconds_zh(whole)}。")),
        ]
    else:
        blocks.append(absent("No times recorded yet.", "尚无用时记录。"))
    blocks.append(tag("h3", t("Runs and peak memory", "各次运行与内存峰值")))
    rows = [
        (
            t(*STAGE_NAMES[name]),
            *_facts(run, name),
            tag("td", size(peak.pop(name, None)), cls="num"),
        )
        for name in STAGES
        if run.stages[name].metrics
    ]
    none = tag("td", "–", cls="num")
    rows += [
        (tag("code", name), none, none, none, none, tag("td", size(value), cls="num"))
        for name, value in peak.items()
    ]
    head = (
        ("Run", "运行"),
        ("Steps", "步数"),
        ("Batch", "批大小"),
        ("Samples per second (median)", "每秒样本数（中位数）"),
        ("Trained parameters", "训练参数"),
        ("Peak resident memory", "常驻内存峰值"),
    )
    blocks.append(
        table(
            (t(*words) for words in head),
            rows,
            t("Runs and peak memory", "各次运行与内存峰值"),
            "numbers",
        )
        if rows
        else absent()
    )
    return section("costs", "Time and memory", "时间与内存", *blocks)


def _facts(run: Run, name: str) -> list[Html]:
    """Steps, batch, throughput and trained parameters of a training run, as cells."""
    stage = run.stages[name]
    speeds = [finite(row.get("samples_per_second")) for row in stage.metrics]
    speeds = [speed for speed in speeds if speed is not None]
    trained = sum(
        (finite(row.get("trainable")) or 0) + (finite(row.get("adapter")) or 0)
        for row in stage.table
    )
    values = (
        f"{stage.steps:,}",
        dig(stage.config, "train.batch_size") or "–",
        number(statistics.median(speeds)) if speeds else "–",
        count(trained) if trained else "–",
    )
    return [tag("td", value, cls="num") for value in values]


def grounds(run: Run) -> Html:
    """Environment, licences of the images, words used, and inputs that were not there."""
    pairs = [tag("div", tag("dt", name), tag("dd", value)) for name, value in environment().items()]
    blocks = [
        tag("h3", t("Environment of this report", "生成本报告的环境")),
        tag("dl", *pairs, cls="env"),
        tag("h3", t("Pictures and licences", "图片与许可")),
        _attribution(run),
        tag("h3", t("Words used here", "名词解释")),
        _words(),
        tag("h3", t("What is missing", "缺少的内容")),
        _gaps(run),
    ]
    return section("about", "About this report", "关于本报告", *blocks)


def _attribution(run: Run) -> Html:
    names = run.sources()
    blocks = []
    if not names or "zv_openmoji" in names:
        author = tag("a", "OpenMoji", href="https://openmoji.org")
        licence = tag(
            "a",
            "CC BY-SA 4.0",
            href="https://creativecommons.org/licenses/by-sa/4.0/",
            rel="license",
        )
        blocks.append(
            tag(
                "p",
                t(
                    Html(
                        f"The emoji in the pictures are designed by {author}, the open-source "
                        f"emoji and icon project, licence {licence}. The scenes on this page are "
                        "compositions of them (resized, placed on coloured canvases) and carry "
                        "the same licence."
                    ),
                    Html(
                        f"图片中的表情符号由开源表情与图标项目 {author} 设计，许可为 {licence}。"
                        "本页的场景图由它们缩放并拼放在彩色画布上而成，采用相同许可。"
                    ),
                ),
            )
        )
    others = [name for name in names if name != "zv_openmoji"]
    if others:
        blocks.append(
            tag(
                "p",
                t(
                    "Other data in this run, under the licences of their owners: "
                    + ", ".join(others)
                    + ".",
                    "本次运行的其他数据，许可归其所有者：" + "、".join(others) + "。",
                ),
            )
        )
    return tag("div", *blocks)


def _words() -> Html:
    words = (
        (
            "Base / Chat",
            "two variants: in Chat the Q-Former also reads the instruction, and "
            "adapters tune the frozen towers",
            "两种变体：Chat 的 Q-Former 还读取指令，并用适配器微调冻结部分",
        ),
        (
            "Q-Former",
            "a small transformer between picture and language model; its learned queries "
            "collect what matters in a picture",
            "图像与语言模型之间的小型网络，用可学习的查询提取图片要点",
        ),
        (
            "text_recall@1_itc / image_recall@1_itc",
            "share of pictures whose best-ranked caption is right / of captions whose "
            "best-ranked picture is right",
            "以图找文 / 以文找图时首位正确的比例",
        ),
        (
            "CIDEr",
            "how well a caption agrees with reference captions, rare words weighing more; "
            "for Chinese counted by character",
            "描述与参考描述的一致程度，罕见词权重更高；中文按字计算",
        ),
        (
            "acc@0.5",
            "share of boxes whose overlap (IoU) with the true box is at least one half",
            "预测框与真实框交并比（IoU）至少 0.5 的比例",
        ),
    )
    return tag(
        "dl",
        *(tag("div", tag("dt", name), tag("dd", t(en, zh))) for name, en, zh in words),
        cls="words-used",
    )


def _gaps(run: Run) -> Html:
    if not run.missing and not run.broken:
        return tag(
            "p", t("Nothing: every input of this report was there.", "没有：所有输入均已齐备。")
        )
    items = [
        tag("li", tag("code", name), " ", t("not run yet", "尚未运行")) for name in run.missing
    ]
    items += [
        tag("li", tag("code", name), " ", t("could not be read", "无法读取"), cls="wrong")
        for name in run.broken
    ]
    return tag("ul", *items, cls="gaps")
