"""The page on which people judge pairs: one file, nothing asked of the network.

Words of data and models are escaped by `markup.tag`, and the page's policy lets no script run but
its own.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import resources

from PIL import Image

from zv_jax.bmmic.audit.origins import Origin
from zv_jax.bmmic.audit.sample import Item
from zv_jax.bmmic.filters.detector import NAMES
from zv_jax.bmmic.pair import Pair
from zv_jax.bmmic.prompts.pack import Message
from zv_jax.data.images import decode
from zv_jax.data.records.record import Object, Turn
from zv_jax.errors import DataError
from zv_jax.html import languages
from zv_jax.html.markup import Html, document, image, join, label, policy, said, t, tag

LONGEST = 640  # pixels of an image on the page
_COLOURS = 6  # of boxes, in page.css
_KINDS = {
    "conversation": ("conversation", "对话"),
    "detail": ("detailed description", "详细描述"),
    "reason": ("complex reasoning", "复杂推理"),
    "translate": ("translation", "翻译"),
}
_REWRITINGS = {
    "deepen": ("deepening", "深化"),
    "concretize": ("concretizing", "具体化"),
    "reasoning": ("increasing reasoning", "增加推理"),
    "constraints": ("adding constraints", "增加约束"),
}
_LANGS = {"en": ("English", "英文"), "zh": ("Chinese", "中文")}
_KEYS = (
    ("A", "accept", "接受"),
    ("R", "reject", "拒绝"),
    ("U", "undo", "撤销"),
    ("J", "next", "下一条"),
    ("K", "previous", "上一条"),
    ("V", "filters", "过滤器"),
    ("S", "save", "保存"),
)


def render(
    items: Sequence[Item], origins: Sequence[Origin], find: Callable[[Pair], Image.Image], name: str
) -> str:
    """The page.

    Args:
      items: in the order in which they are shown; origins: of each.
      find: the image of a pair, or a `DataError`. name: of the page, kept in its decisions.
    """
    style, script = languages.style() + _file("css"), languages.script() + _file("js")
    articles = [
        _article(number, item, origin, find)
        for number, (item, origin) in enumerate(zip(items, origins, strict=True), 1)
    ]
    return document(
        tag("title", "Audit of bilingual instruction data", data_zh="双语指令数据审核"),
        _bar(len(items)),
        tag("main", *articles, id="items", data_audit=name, tabindex="-1"),
        _buttons(),
        tag("script", Html(script)),
        style=style,
        head=(
            policy(style, script),
            tag("meta", name="color-scheme", content="light dark"),
            tag("link", rel="icon", href="data:,"),
        ),
    )


def _file(kind: str) -> str:
    return resources.files("zv_jax.bmmic.audit").joinpath(f"page.{kind}").read_text("utf-8")


def _bar(count: int) -> Html:
    keys = (tag("span", tag("kbd", key), " ", t(en, zh)) for key, en, zh in _KEYS)
    return tag(
        "header",
        tag(
            "div",
            tag("h1", t("Is this pair good?", "这组问答好吗？")),
            languages.switch(),
            cls="line",
        ),
        tag(
            "div",
            tag("span", tag("b", "0", id="done"), f" / {count}", cls="progress"),
            tag("label", t("Name", "姓名"), " ", tag("input", id="who", maxlength="40")),
            tag("button", t("Save decisions", "保存决定"), id="save", type="button"),
            tag("label", t("Continue with a file", "从文件继续"), " ",
                tag("input", id="load", type="file", accept=".json"), cls="load"),
            cls="line",
        ),
        tag("p", *_spaced(keys), t("A or R again: next.", "再按一次 A 或 R：下一条。"), cls="keys"),
        tag("p", id="message", role="status"),
    )  # fmt: skip


def _spaced(keys: Iterable[Html]) -> Iterator[Html]:
    """The keys with a space between them, where lines may break."""
    for key in keys:
        yield join((key, " "))


def _buttons() -> Html:
    made = (
        tag("button", t(en, zh), id=name, type="button", cls=name)
        for name, en, zh in (
            ("previous", "Previous", "上一条"),
            ("reject", "Reject", "拒绝"),
            ("accept", "Accept", "接受"),
            ("next", "Next", "下一条"),
        )
    )
    return tag("footer", *made)


def _article(number: int, item: Item, origin: Origin, find: Callable[[Pair], Image.Image]) -> Html:
    pair = item.pair
    facts = [_LANGS[pair.lang], _KINDS[pair.kind]]
    facts += [_REWRITINGS[pair.rewriting]] if pair.rewriting else []
    return tag(
        "article",
        tag(
            "h2",
            tag("span", f"{number}.", cls="number"),
            *(tag("span", t(en, zh), cls="fact") for en, zh in facts),
            tag("span", cls="mark"),
        ),
        tag("p", pair.id, cls="id"),
        tag(
            "div",
            tag("div", _picture(pair, find), _things(pair.view.objects), cls="seen"),
            tag("div", *_texts(pair), *_background(pair, origin), _verdicts(item), cls="words"),
            cls="both",
        ),
        data_id=pair.id,
        id=f"item-{number}",
    )


def _picture(pair: Pair, find: Callable[[Pair], Image.Image]) -> Html:
    """The image with its boxes, or what is wrong with it."""
    try:
        shown = decode.opaque(find(pair), "white").copy()
    except DataError as error:
        return tag("p", t("no image", "没有图像"), ": ", error.what, cls="none")
    shown.thumbnail((LONGEST, LONGEST))
    buffer = io.BytesIO()
    shown.save(buffer, "JPEG", quality=85)
    boxes = [
        tag(
            "rect",
            x=f"{100 * x1:.2f}", y=f"{100 * y1:.2f}",
            width=f"{100 * (x2 - x1):.2f}", height=f"{100 * (y2 - y1):.2f}",
            cls=f"c{number % _COLOURS}",
        )
        for number, (x1, y1, x2, y2) in enumerate(thing.box for thing in pair.view.objects)
    ]  # fmt: skip
    over = tag("svg", *boxes, viewBox="0 0 100 100", preserveAspectRatio="none", aria_hidden="true")
    return tag("div", image(buffer.getvalue(), "jpeg"), over, cls="picture")


def _things(objects: Sequence[Object]) -> Html | None:
    if not objects:
        return None
    rows = [
        tag(
            "li",
            tag("span", cls=f"key c{number % _COLOURS}"),
            " ".join(filter(None, (thing.label, thing.tag_zh))),
            tag("small", " ", ", ".join(f"{c:.2f}" for c in thing.box)),
        )
        for number, thing in enumerate(objects)
    ]
    return tag("ol", *rows, cls="things")


def _texts(pair: Pair) -> Iterator[Html]:
    """The pair itself, and what it was made from."""
    if pair.turns:
        yield _dialogue(pair.turns, pair.lang)
    else:
        yield tag("p", t("No turns:", "没有问答："), " ", pair.fault, cls="none")
    other = "en" if pair.lang == "zh" else "zh"
    if pair.source:
        yield tag("h3", t("Translated from", "原文"))
        yield _dialogue(pair.source, other)
    if pair.parent:
        yield tag("h3", t("Rewritten from", "改写自"))
        yield _dialogue(pair.parent, pair.lang)


def _dialogue(turns: Sequence[Turn], lang: str) -> Html:
    return tag("div", *(said(turn.text, lang, "p", cls=turn.role) for turn in turns), cls="said")


def _background(pair: Pair, origin: Origin) -> Iterator[Html]:
    """What the model knew, was asked and answered."""
    known = [said(text, lang, "li") for lang, texts in pair.view.captions.items() for text in texts]
    if known:
        yield tag("details", tag("summary", t("Captions", "图像说明")), tag("ul", *known))
    if origin.messages is None:
        words = t(
            "The prompt cannot be made again: the recipe or a prompt pack has changed.",
            "无法重现提示：配方或提示包已经改变。",
        )
        yield tag("details", tag("summary", t("Prompt", "提示")), tag("p", words))
    else:
        shown = map(_message, origin.messages)
        count = f" ({len(origin.messages)})"
        yield tag("details", tag("summary", t("Prompt", "提示"), count), *shown)
    if origin.reply is not None:
        reply = tag("pre", origin.reply)
    else:
        reply = tag("p", t("No ledger has the reply.", "账本中没有这条回复。"))
    yield tag("details", tag("summary", t("Raw reply", "原始回复")), reply, open=not pair.turns)


def _message(message: Message) -> Html:
    return tag("div", tag("b", message["role"]), tag("pre", message["content"]), cls="message")


def _verdicts(item: Item) -> Html:
    """What every filter says; closed until a person has decided, so as not to lead them."""
    rows = []
    for name in NAMES:
        why = item.verdicts.get(name)
        mark = tag("td", "✗" if why else "✓", cls="bad" if why else "good")
        cells = (mark, tag("th", tag("code", name), scope="row"), tag("td", why or ""))
        rows.append(tag("tr", *cells))
    if item.dropped:
        words = join((t("Dropped by", "被剔除："), " ", tag("code", item.dropped)))
    else:
        words = t("Kept", "保留")
    return tag(
        "details",
        tag("summary", t("Filters (open after your decision)", "过滤器（作出决定后展开）")),
        tag("p", words),
        tag("table", tag("tbody", *rows), **label("aria_label", "Verdicts", "判定")),
        cls="verdicts",
    )
