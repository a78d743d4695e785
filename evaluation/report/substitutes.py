"""Samples that could not be used: per source, every one with its file and the reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePath

from zv_jax.evaluation.report import census
from zv_jax.evaluation.report.inputs import STAGE_NAMES, Run, Stage, dig
from zv_jax.html.markup import Html, absent, join, said, section, t, table, tag

SHOWN = 5000  # rows of a source; further ones would make the page too heavy to open


@dataclass
class Sample:
    """One sample that could not be used: how often it was drawn, and what took its place."""

    record: str
    file: str
    reason: str
    times: int = 0
    instead: list[str] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)


def counts(run: Run) -> dict[str, dict[str, int]]:
    """Run -> source -> how often a sample of it was replaced or left out."""
    found: dict[str, dict[str, int]] = {}
    for stage in run.stages.values():
        for row in stage.substitutes:
            sources = found.setdefault(stage.name, {})
            source = str(row.get("source"))
            sources[source] = sources.get(source, 0) + 1
    return found


def by_source(run: Run) -> dict[str, list[Sample]]:
    """Source -> its samples that could not be used, each once, by file."""
    found: dict[str, dict[tuple[str, ...], Sample]] = {}
    for stage in run.stages.values():
        folders = _folders(stage)
        for row in stage.substitutes:
            record, file = (_inside(str(row.get(key)), folders) for key in ("record", "where"))
            reason = str(row.get("what"))
            samples = found.setdefault(str(row.get("source")), {})
            key = (file, record, reason)
            sample = samples.setdefault(key, Sample(record, file, reason))
            sample.times += 1
            if row.get("instead") and row["instead"] not in sample.instead:
                sample.instead.append(str(row["instead"]))
            if stage.name not in sample.stages:
                sample.stages.append(stage.name)
    return {source: [samples[key] for key in sorted(samples)] for source, samples in found.items()}


def _folders(stage: Stage) -> list[PurePath]:
    """Where the sources of a run lie: files are shown from there, as elsewhere they differ."""
    found = []
    sources = dig(stage.config, "data.sources")
    for source in sources if isinstance(sources, list) else ():
        named = source if isinstance(source, dict) else {}
        path, root = (named.get(key) for key in ("path", "image_root"))
        found += [PurePath(place) for place in (root, path) if place and isinstance(place, str)]
        found += [PurePath(path).parent] if path and isinstance(path, str) else []
    return found


def _inside(place: str, folders: Iterable[PurePath]) -> str:
    """`place` relative to the first of `folders` that holds it."""
    for folder in folders:
        if PurePath(place).is_relative_to(folder) and PurePath(place) != folder:
            return str(PurePath(place).relative_to(folder))
    return place


def substitutes(run: Run) -> Html:
    """The section of the page: one table per source."""
    found = by_source(run)
    lead = t(
        "A sample that cannot be read, or has nothing to learn, is replaced by another one of its "
        "source, the same on every machine. Too many of them stop a run. One that is only too long "
        "is replaced alike, and counted apart. Lengths and [UNK] are counted before the first "
        "step, of a sample where a source is large.",
        "无法读取或没有可学内容的样本，由同一来源的另一个样本替代，在任何机器上都相同；过多时训练停止。"
        "仅因过长的样本同样被替代，另行计数。长度与 [UNK] 在第一步之前统计；来源较大时取样统计。",
    )
    if not found and any(stage.metrics for stage in run.stages.values()):
        blocks = [tag("p", t("None: every sample could be used.", "没有：所有样本均可使用。"))]
    elif not found:
        blocks = [absent()]
    else:
        blocks = [block for item in found.items() for block in _source(*item)]
    if counted := census.blocks(run):
        blocks = [*counted, tag("h3", t("Samples not used", "未能使用的样本")), *blocks]
    return section("substitutes", "Data", "数据", *blocks, lead=lead)


def _source(name: str, samples: list[Sample]) -> list[Html | None]:
    times = sum(sample.times for sample in samples)
    head = (
        ("File", "文件"),
        ("Reason", "原因"),
        ("Sample", "样本"),
        ("Times", "次数"),
        ("In its place", "替代样本"),
        ("Run", "运行"),
    )
    more = len(samples) - SHOWN
    return [
        tag("h3", tag("code", name)),
        tag(
            "p",
            t(
                f"{len(samples):,} samples, drawn {times:,} times.",
                f"{len(samples):,} 个样本，共抽到 {times:,} 次。",
            ),
        ),
        tag(
            "div",
            table(
                (t(*words) for words in head),
                (_row(sample) for sample in samples[:SHOWN]),
                t(f"Samples of {name} that were not used", f"{name} 中未能使用的样本"),
            ),
            cls="long",
        ),
        tag(
            "p",
            t(
                f"{more:,} more are in substitutes.jsonl of each run.",
                f"另有 {more:,} 个，见各运行的 substitutes.jsonl。",
            ),
        )
        if more > 0
        else None,
    ]


def _row(sample: Sample) -> tuple[Html, ...]:
    instead = join((tag("code", name) for name in sample.instead), ", ")
    return (
        tag("code", sample.file),
        said(sample.reason, "en"),
        tag("code", sample.record),
        tag("td", f"{sample.times:,}", cls="num"),
        instead if sample.instead else t("left out", "略去"),
        join((t(*STAGE_NAMES[name]) for name in sample.stages), ", "),
    )
