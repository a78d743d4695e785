"""HTML built from escaped pieces, in two languages at once.

Everything passes through `tag`: a plain string is escaped, only `Html` goes in as it is, so a
caption or an answer can never become markup.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable

from zv_jax.json_input import finite

VOID = frozenset({"br", "img", "input", "link", "meta"})


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def escape(value: object) -> Html:
    """`value` as safe markup; `Html` is returned unchanged, `None` becomes nothing."""
    if isinstance(value, Html):
        return value
    return Html("" if value is None else html.escape(str(value), quote=True))


def join(parts: Iterable[object], between: str = "") -> Html:
    """The parts, escaped, one after the other."""
    return Html(between.join(escape(part) for part in parts))


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """One element.

    An attribute of `None` or `False` is left out, `True` stands alone; `cls` is `class`, a
    trailing underscore is dropped and inner ones become hyphens (`data_alt_zh`).
    """
    written = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = "class" if key == "cls" else key.rstrip("_").replace("_", "-")
        written.append(f" {key}" if value is True else f' {key}="{escape(value)}"')
    opening = f"<{name}{''.join(written)}>"
    return Html(opening if name in VOID else f"{opening}{join(children)}</{name}>")


def document(title: object, *body: object, style: str = "", head: Iterable[object] = ()) -> str:
    """A whole page that needs no other file.

    Args:
        title: of the window; `Html` where it is a finished element.
        body: what the page shows.
        style: CSS, as it is.
        head: further elements of the head.
    """
    named = title if isinstance(title, Html) else tag("title", title)
    top = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        *head,
        named,
        tag("style", Html(style)),
    )
    return "<!doctype html>\n" + tag("html", top, tag("body", *body), lang="en") + "\n"


def policy(style: str, script: str) -> Html:
    """The element of a head by which a browser runs this style and this script and nothing else.

    Whatever got into a page as markup after all can neither run nor ask for anything; `style` and
    `script` are the contents of their elements, to the letter.
    """

    def sum_of(text: str) -> str:
        return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

    rules = (
        "default-src 'none'",
        "img-src data:",
        f"style-src 'sha256-{sum_of(style)}'",
        f"script-src 'sha256-{sum_of(script)}'",
        "base-uri 'none'",
        "form-action 'none'",
    )
    return tag("meta", http_equiv="Content-Security-Policy", content="; ".join(rules))


def image(data: bytes, kind: str, alt: str = "image 图片") -> Html:
    """An image inside the page; `kind` is png or jpeg."""
    code = base64.b64encode(data).decode()
    return tag("img", src=f"data:image/{kind};base64,{code}", alt=alt)


def t(en: object, zh: object, element: str = "span") -> Html:
    """The same words in English and Chinese; the page's switch shows one of them."""
    return join((tag(element, en, cls="t", lang="en"), tag(element, zh, cls="t", lang="zh-Hans")))


def said(text: object, lang: str | None, element: str = "span", **attributes: object) -> Html:
    """Words of the data or the model, marked with their own language and never switched."""
    return tag(element, text, lang="zh-Hans" if lang == "zh" else lang, **attributes)


def label(attribute: str, en: str, zh: str) -> dict[str, str]:
    """Attributes for `alt`, `title` or `aria_label` that the page's switch translates."""
    return {attribute: en, f"data_{attribute}_zh": zh}


def absent(en: str = "Not run yet.", zh: str = "尚未运行。") -> Html:
    """Says plainly that there is nothing to show."""
    return tag("p", t(en, zh), cls="absent")


def section(name: str, en: str, zh: str, *children: object, lead: object = None) -> Html:
    """A titled section of the page; `name` is its anchor."""
    return tag(
        "section",
        tag("h2", t(en, zh), id=f"{name}-title"),
        tag("p", lead, cls="lead") if lead else None,
        *children,
        id=name,
        aria_labelledby=f"{name}-title",
    )


def table(
    head: Iterable[object], rows: Iterable[Iterable[object]], caption: object, cls: str = ""
) -> Html:
    """A table in a box of its own that scrolls; the first cell of a row is its header.

    A row may be one `Html` starting with `<tr`: then it goes in as it is.
    """
    body = []
    for row in rows:
        if isinstance(row, Html):
            body.append(row)
            continue
        first, *rest = row
        cells = (cell if is_cell(cell) else tag("td", cell) for cell in rest)
        body.append(tag("tr", tag("th", first, scope="row"), *cells))
    return tag(
        "div",
        tag(
            "table",
            tag("caption", tag("span", caption, cls="hidden")),
            tag("thead", tag("tr", *(tag("th", cell, scope="col") for cell in head))),
            tag("tbody", *body),
            cls=cls or None,
        ),
        cls="scroll",
        tabindex="0",
        role="region",
        **label("aria_label", "Table, scrolls sideways", "表格，可左右滚动"),
    )


def is_cell(value: object) -> bool:
    """Whether `value` is a finished table cell."""
    return isinstance(value, Html) and value.startswith("<td")


def number(value: object, digits: int = 1) -> str:
    """A figure for people; a missing one is an en dash."""
    known = finite(value)
    return "–" if known is None else f"{known:,.{digits}f}"


def count(value: object) -> str:
    """A count in three figures: 950, 12.3 k, 4.56 M, 13.0 B."""
    known = finite(value)
    if known is None:
        return "–"
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(known) >= size:
            return f"{known / size:.3g} {unit}"
    return f"{known:.0f}"


def seconds(value: object) -> str:
    """A duration: 8.4 s, 3 min 05 s, 2 h 10 min."""
    known = finite(value)
    if known is None:
        return "–"
    if known < 60:
        return f"{known:.1f} s"
    whole = round(known)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def seconds_zh(value: object) -> str:
    """A duration in Chinese."""
    units = (("min", "分"), ("h", "小时"), ("s", "秒"))
    text = seconds(value)
    for latin, chinese in units:
        text = text.replace(f" {latin}", f" {chinese}")
    return text


def size(value: object) -> str:
    """A number of bytes in MiB or GiB."""
    known = finite(value)
    if known is None:
        return "–"
    return f"{known / 2**30:.2f} GiB" if known >= 2**30 else f"{known / 2**20:.0f} MiB"
