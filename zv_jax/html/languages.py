"""The switch between English and Chinese of a page: its buttons, what they look like and do.

Words come in both languages from `markup.t` and `markup.label`; the switch shows one of them. The
colours `--line`, `--sheet`, `--ink`, `--soft` and `--accent` are the page's.
"""

from __future__ import annotations

from importlib import resources

from zv_jax.html.markup import Html, tag


def switch() -> Html:
    """The two buttons."""
    return tag(
        "fieldset",
        tag("legend", "Language / 语言", cls="hidden"),
        tag("input", type="radio", name="lang", id="lang-en", checked=True),
        tag("label", "EN", for_="lang-en", title="English", lang="en"),
        tag("input", type="radio", name="lang", id="lang-zh"),
        tag("label", "中文", for_="lang-zh", title="中文", lang="zh-Hans"),
        cls="switch",
    )


def style() -> str:
    """CSS of the buttons, which also hides the words of the other language."""
    return _file("css")


def script() -> str:
    """What remembers the choice and translates what CSS cannot reach."""
    return _file("js")


def _file(kind: str) -> str:
    return resources.files("zv_jax.html").joinpath(f"language.{kind}").read_text("utf-8")
