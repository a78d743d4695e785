"""Conversations: several turns about one image, and one about several images."""

from __future__ import annotations

from zv_jax.evaluation.report.examples import (
    bare,
    by_whom,
    choose,
    plain,
    references,
    verdict,
)
from zv_jax.evaluation.report.images import figure
from zv_jax.evaluation.report.inputs import Evaluation, Run
from zv_jax.html.markup import Html, absent, join, said, section, t, tag

SHOWN = 2  # of each kind: one per language where both exist


def _turns(sample: dict) -> list[dict]:
    given = sample.get("turns")
    turns = [turn for turn in given if isinstance(turn, dict)] if isinstance(given, list) else []
    return turns or [sample]


def _images(sample: dict) -> list[object]:
    image = sample.get("image")
    return image if isinstance(image, list) else [image]


def dialogues(run: Run) -> Html:
    """The section with a three-turn dialogue and a two-image dialogue, or what is missing."""
    lead = t(
        "Each answer of the model is fed back to it before the next question.",
        "模型的每个回答都会作为上文，再进入下一个问题。",
    )
    blocks = []
    for en, zh, wanted in (
        ("Three turns", "三轮对话", lambda s: len(_turns(s)) >= 3 and len(_images(s)) == 1),
        ("Two pictures", "两张图片", lambda s: len(_images(s)) >= 2),
    ):
        evaluation, samples = choose(run, wanted)
        blocks.append(tag("h3", t(en, zh)))
        if evaluation is None:
            blocks.append(absent())
            continue
        first: dict[object, dict] = {}
        for sample in samples:
            first.setdefault(sample.get("lang"), sample)
        talks = [_talk(evaluation, sample) for sample in list(first.values())[:SHOWN]]
        blocks += [by_whom(evaluation), tag("div", *talks, cls="talks")]
    return section("dialogues", "In conversation", "对话", *blocks, lead=lead)


def _talk(evaluation: Evaluation, sample: dict) -> Html:
    lang = sample.get("lang")
    images = [
        figure(evaluation.image(image), f"Picture {at} of the dialogue", f"对话中的第 {at} 张图片")
        for at, image in enumerate(_images(sample), 1)
    ]
    lines = []
    for turn in _turns(sample):
        lines.append(
            tag(
                "li",
                tag("span", t("Question: ", "问："), cls="hidden"),
                said(plain(turn.get("question")), lang),
                cls="asks",
            )
        )
        answer, refs = turn.get("prediction"), references(turn)
        same = any(bare(answer) == bare(ref) for ref in refs)
        below = (
            verdict(True)
            if same
            else tag("span", t("expected: ", "参考："), said(refs[0], lang), cls="reference")
            if refs
            else None
        )
        lines.append(
            tag(
                "li",
                tag("span", t("Answer: ", "答："), cls="hidden"),
                join((x for x in (said(answer, lang, cls="prediction"), below) if x), " "),
                cls="says",
            )
        )
    return tag(
        "article", tag("div", *images, cls="pair"), tag("ol", *lines, cls="bubbles"), cls="talk"
    )
