"""The model at work on images: captions and answers, boxes, retrieval, attention."""

from __future__ import annotations

import re
import unicodedata

from zv_jax.evaluation.report.images import figure, heat
from zv_jax.evaluation.report.inputs import Evaluation, Run
from zv_jax.evaluation.report.scores import lang_badge, task_key
from zv_jax.html import charts
from zv_jax.html.markup import (
    Html,
    absent,
    escape,
    finite,
    join,
    number,
    said,
    section,
    t,
    tag,
)

SPOKEN = ("caption", "vqa", "mc_vqa", "grounded_caption")
CARDS, PER_CARD, BOXES, QUERIES, MAPS = 6, 4, 8, 2, 12
IMAGES = 3  # with attention maps

Chosen = tuple[Evaluation | None, list[dict]]


def choose(run: Run, wanted) -> Chosen:
    """The samples that `wanted` accepts, from the furthest trained evaluation that has any."""
    for evaluation in run.best_first():
        found = [sample for sample in evaluation.samples if wanted(sample)]
        if found:
            return evaluation, found
    return None, []


def by_whom(evaluation: Evaluation) -> Html:
    """Names the model and how its examples were chosen."""
    return tag(
        "p",
        t(
            f"Model: {evaluation.title[0]}. Examples in the order of its test run, "
            "not picked by result.",
            f"模型：{evaluation.title[1]}。例子按测试顺序选取，未按结果挑选。",
        ),
        cls="quiet",
    )


def image_of(sample: dict) -> object:
    """The image of a sample, the first where it has several."""
    image = sample.get("image")
    return (image[0] if image else None) if isinstance(image, list) else image


def plain(text: object) -> str:
    """A question without its image placeholders."""
    return str(text or "").replace("<image>", "").strip()


def references(sample: dict) -> list[str]:
    """The references of a sample or a turn, always as a list."""
    given = sample.get("references")
    if isinstance(given, list):
        return [str(item) for item in given if item is not None]
    return [str(given)] if given is not None else []


def bare(text: object) -> str:
    """Words alone: width, case, spaces and punctuation do not make an answer wrong."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", str(text or "")).casefold())


def verdict(correct: object) -> Html | None:
    """A mark with words for right or wrong; nothing where that was not judged."""
    if correct is True:
        return tag("span", "✓ ", t("right", "正确"), cls="right")
    if correct is False:
        return tag("span", "✗ ", t("wrong", "错误"), cls="wrong")
    return None


def spoken(run: Run) -> Html:
    """Captions and answers in both languages beside their images."""
    evaluation, samples = choose(run, lambda s: task_key(s.get("task")) in SPOKEN)
    lead = t(
        "What the model writes about pictures it has never seen, in both languages.",
        "模型用两种语言描述和回答从未见过的图片。",
    )
    if evaluation is None:
        return section("answers", "Captions and answers", "描述与回答", absent(), lead=lead)
    groups: dict[object, list[dict]] = {}
    for sample in samples:
        groups.setdefault(str(image_of(sample)), []).append(sample)
    # Images that show both languages and several tasks come first; results play no part.
    order = sorted(
        groups.values(),
        key=lambda g: (
            -len({s.get("lang") for s in g}),
            -len({task_key(s.get("task")) for s in g}),
        ),
    )
    cards = []
    for group in order[:CARDS]:
        shown = figure(evaluation.image(image_of(group[0])), "Test picture", "测试图片")
        cards.append(
            tag("article", shown, tag("dl", *(_answer(s) for s in _spread(group))), cls="card")
        )
    return section(
        "answers",
        "Captions and answers",
        "描述与回答",
        by_whom(evaluation),
        tag("div", *cards, cls="cards"),
        lead=lead,
    )


def _spread(group: list[dict]) -> list[dict]:
    """Up to `PER_CARD` samples, one of each task and language before a second of any."""
    seen: dict[tuple, int] = {}
    ranked = []
    for sample in group:
        kind = (task_key(sample.get("task")), sample.get("lang"))
        seen[kind] = seen.get(kind, 0) + 1
        ranked.append((seen[kind], SPOKEN.index(kind[0]), sample))
    kept = sorted(ranked[: 10 * PER_CARD], key=lambda item: item[:2])[:PER_CARD]
    return [sample for _, _, sample in sorted(kept, key=lambda item: item[1])]


def _answer(sample: dict) -> Html:
    lang = sample.get("lang")
    task = task_key(sample.get("task"))
    question = "" if task == "caption" else plain(sample.get("question"))
    asked = tag(
        "dt", lang_badge(lang), " ", said(question, lang) if question else t("Caption", "描述")
    )
    lines = [
        said(sample.get("prediction"), lang, "span", cls="prediction"),
        verdict(sample.get("correct")),
    ]
    refs = references(sample)
    if sample.get("correct") is None and any(
        bare(sample.get("prediction")) == bare(ref) for ref in refs
    ):
        lines.append(tag("span", t("word for word as expected", "与参考一致"), cls="reference"))
    elif refs and sample.get("correct") is not True:
        lines.append(tag("span", t("expected: ", "参考："), said(refs[0], lang), cls="reference"))
    return tag("div", asked, tag("dd", join((x for x in lines if x), " ")))


def boxes(run: Run) -> Html:
    """True and predicted boxes drawn over the image."""
    evaluation, samples = choose(run, lambda s: charts.as_box(s.get("box_true")) is not None)
    lead = t(
        "Asked where something is, the model answers with the corners of a box.",
        "问某物在哪里，模型回答方框的坐标。",
    )
    if evaluation is None:
        return section("boxes", "Finding things", "目标定位", absent(), lead=lead)
    legend = tag(
        "p",
        tag("span", cls="key true", aria_hidden="true"),
        t("true box", "真实框"),
        " ",
        tag("span", cls="key predicted", aria_hidden="true"),
        t("the model's box", "模型的框"),
        cls="legend",
    )
    figures = []
    for sample in _alternate(samples)[:BOXES]:
        true, guess = charts.as_box(sample["box_true"]), charts.as_box(sample.get("box_pred"))
        share = None if guess is None else charts.overlap(true, guess)
        met = (
            t("no box in the answer", "回答中没有框")
            if share is None
            else t(f"overlap {share:.2f}", f"重叠 {share:.2f}")
        )
        correct = sample.get("correct")
        shown = figure(
            evaluation.image(image_of(sample)),
            "Test picture with the true and the predicted box",
            "测试图片，带真实框和预测框",
            charts.boxes(true, guess),
        )
        figures.append(
            tag(
                "figure",
                shown,
                tag(
                    "figcaption",
                    said(plain(sample.get("question")), sample.get("lang"), "p"),
                    tag("p", met, " ", verdict(correct), cls="quiet"),
                ),
            )
        )
    return section(
        "boxes",
        "Finding things",
        "目标定位",
        by_whom(evaluation),
        legend,
        tag("div", *figures, cls="tiles"),
        lead=lead,
    )


def _alternate(samples: list[dict]) -> list[dict]:
    """The samples with the languages taking turns."""
    by_lang: dict[object, list[dict]] = {}
    for sample in samples:
        by_lang.setdefault(sample.get("lang"), []).append(sample)
    longest = max((len(group) for group in by_lang.values()), default=0)
    return [group[at] for at in range(longest) for group in by_lang.values() if at < len(group)]


def _found(item: object) -> tuple[str | None, str | None, float | None, bool]:
    """One retrieved item as (image, text, score, marked right)."""
    score, right = None, False
    if isinstance(item, (list, tuple)) and item:
        score = finite(item[1]) if len(item) > 1 else None
        item = item[0]
    if isinstance(item, dict):
        score, right = finite(item.get("score")), item.get("correct") is True
        text = item.get("text", item.get("caption"))
        return item.get("image"), None if text is None else str(text), score, right
    text = str(item)
    is_file = text.startswith("images/") or text.endswith((".png", ".jpg", ".webp"))
    return (text, None, score, right) if is_file else (None, text, score, right)


def retrieval(run: Run) -> Html:
    """Caption to images and image to captions, the right one marked."""
    evaluation, samples = choose(
        run, lambda s: isinstance(s.get("retrieved"), list) and s["retrieved"]
    )
    lead = t(
        "The five best guesses out of the whole test set, best first, with the model's score.",
        "在整个测试集中检索的前五名，由高到低，附模型打分。",
    )
    if evaluation is None:
        return section("retrieval", "Finding by meaning", "图文检索", absent(), lead=lead)
    to_images = [s for s in samples if _found(s["retrieved"][0])[0]]
    to_texts = [s for s in samples if not _found(s["retrieved"][0])[0]]
    blocks = [tag("h3", t("From a caption to pictures", "以文找图"))]
    queries = [_to_images(evaluation, s) for s in _alternate(to_images)[: 2 * QUERIES]]
    blocks.append(
        tag("div", *queries, cls="queries")
        if queries
        else absent("No such example.", "没有此类例子。")
    )
    blocks.append(tag("h3", t("From a picture to captions", "以图找文")))
    texts = [_to_texts(evaluation, s) for s in _alternate(to_texts)[: 2 * QUERIES]]
    blocks.append(
        tag("div", *texts, cls="cards") if texts else absent("No such example.", "没有此类例子。")
    )
    return section(
        "retrieval", "Finding by meaning", "图文检索", by_whom(evaluation), *blocks, lead=lead
    )


def _to_images(evaluation: Evaluation, sample: dict) -> Html:
    true = image_of(sample)
    tiles = []
    for rank, item in enumerate(sample["retrieved"][:5], 1):
        image, _, score, marked = _found(item)
        right = marked or (true is not None and image == true)
        shown = figure(
            evaluation.image(image),
            f"Guess {rank}" + (", right" if right else ""),
            f"第 {rank} 名" + ("，正确" if right else ""),
        )
        tiles.append(
            tag(
                "li",
                shown,
                tag("span", number(score, 2), cls="quiet"),
                " ",
                verdict(True) if right else None,
                cls="hit" if right else None,
            )
        )
    return tag(
        "figure",
        tag(
            "figcaption",
            said(plain(sample.get("question")), sample.get("lang"), "span", cls="quote"),
        ),
        tag("ol", *tiles, cls="ranked"),
        cls="query",
    )


def _to_texts(evaluation: Evaluation, sample: dict) -> Html:
    refs = set(references(sample))
    rows = []
    for item in sample["retrieved"][:5]:
        _, text, score, marked = _found(item)
        right = marked or text in refs
        rows.append(
            tag(
                "li",
                said(text, sample.get("lang")),
                " ",
                tag("span", number(score, 2), cls="quiet"),
                " ",
                verdict(True) if right else None,
                cls="hit" if right else None,
            )
        )
    shown = figure(evaluation.image(image_of(sample)), "Query picture", "查询图片")
    return tag("article", shown, tag("ol", *rows, cls="sentences"), cls="card")


def attention(run: Run) -> Html:
    """Where single queries of the Q-Former look."""
    lead = t(
        "Each learned query of the Q-Former collects its own view of the picture. The light "
        "shows where one query looks.",
        "Q-Former 的每个查询向量各自从图片中收集信息。亮处表示该查询关注的位置。",
    )
    for evaluation in run.best_first():
        groups: dict[str, list[Html]] = {}
        for entry in evaluation.attention:
            over = heat(entry)
            if over is None or len(groups.get(str(entry.get("image")), ())) >= MAPS:
                continue
            name = escape(entry.get("query"))
            shown = figure(
                evaluation.image(entry.get("image")),
                f"Where query {name} looks",
                f"查询 {name} 关注的位置",
                over,
            )
            groups.setdefault(str(entry.get("image")), []).append(
                tag("figure", shown, tag("figcaption", t(f"query {name}", f"查询 {name}")))
            )
        if groups:
            rows = []
            for image, maps in list(groups.items())[:IMAGES]:
                itself = figure(evaluation.image(image), "The picture itself", "原图")
                first = tag("figure", itself, tag("figcaption", t("picture", "原图")))
                rows.append(tag("div", first, *maps, cls="tiles small"))
            who = tag(
                "p",
                t(f"Model: {evaluation.title[0]}.", f"模型：{evaluation.title[1]}。"),
                cls="quiet",
            )
            return section("attention", "Where it looks", "注意力", who, *rows, lead=lead)
    return section("attention", "Where it looks", "注意力", absent(), lead=lead)
