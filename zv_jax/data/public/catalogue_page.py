"""The catalogue for people: a table, a card, and a page of the documentation, in two languages."""

from __future__ import annotations

from collections.abc import Iterable

from zv_jax.data.public import catalogue
from zv_jax.data.public.catalogue import Card
from zv_jax.tables import align

_WORDS = {
    "en": {
        "twin": "[中文](zh/datasets.md)",
        "title": "Data sets",
        "intro": "Every data set that `zv data convert` and `zv data prepare` read, from the files "
        "as their authors distribute them. This page is made by "
        "`zv data list --markdown --lang=en`.",
        "head": (
            "name",
            "data set",
            "in the paper",
            "tasks",
            "languages",
            "templates",
            "splits that evaluate",
            "licence",
        ),
        "cards": "Cards",
        "licence": "licence",
        "home": "source",
        "files": "files",
        "images": "pictures",
        "obtain": "how to obtain",
        "note": "note",
        "counts": "published counts",
        "guarded": "pictures kept out of training",
        "chat_only": "only for Chat",
        "unknown": "unknown",
        "yes": "yes",
        "no": "no",
        "own": "own questions",
        "none": "none",
    },
    "zh": {
        "twin": "[English](../datasets.md)",
        "title": "数据集",
        "intro": "`zv data convert` 与 `zv data prepare` 能读取的全部数据集，"
        "均按作者发布的文件读取。本页由 `zv data list --markdown --lang=zh` 生成。",
        "head": ("名称", "数据集", "论文中的位置", "任务", "语言", "模板", "评测划分", "许可"),
        "cards": "数据卡",
        "licence": "许可",
        "home": "来源",
        "files": "文件",
        "images": "图片",
        "obtain": "获取方式",
        "note": "说明",
        "counts": "公布的数量",
        "guarded": "不进入训练的图片",
        "chat_only": "仅用于 Chat",
        "unknown": "未知",
        "yes": "是",
        "no": "否",
        "own": "自带问题",
        "none": "无",
    },
}


def cards() -> list[Card]:
    """All cards: those of the paper first, one's own data last."""
    found = [catalogue.card(name) for name in catalogue.names()]
    return sorted(found, key=lambda card: (not card.splits, card.name))


def page(lang: str) -> str:
    """The Markdown page of all data sets in `en` or `zh`."""
    words = _WORDS[lang]
    lines = [f"# {words['title']}", "", words["twin"], "", words["intro"], ""]
    lines += _row(words["head"]), _row(["---"] * len(words["head"]))
    for card in cards():
        evaluates = [name for name, split in card.splits.items() if split.use == "eval"]
        lines.append(
            _row(
                [
                    f"`{card.name}`",
                    card.title,
                    "; ".join(card.paper),
                    ", ".join(card.tasks),
                    card.lang,
                    ", ".join(card.templates) or words["own"],
                    ", ".join(evaluates) or words["none"],
                    card.licence,
                ]
            )
        )
    lines += ["", f"## {words['cards']}"]
    for card in cards():
        lines += ["", f"### {card.name}", "", f"{card.title}", ""]
        lines += [f"- {name}: {value}" for name, value in _facts(card, lang)]
    return "\n".join(lines) + "\n"


def card_text(card: Card, lang: str) -> str:
    """One card as plain text."""
    lines = [f"{card.name}: {card.title}"]
    lines += [f"  {name}: {value.replace('`', '')}" for name, value in _facts(card, lang)]
    return "\n".join(lines)


def table_text() -> str:
    """One line per data set for the terminal."""
    rows = [(c.name, c.lang, ", ".join(c.tasks), "; ".join(c.paper)) for c in cards()]
    return "\n".join(align(rows))


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _facts(card: Card, lang: str) -> list[tuple[str, str]]:
    words = _WORDS[lang]
    counts = []
    for name, split in card.splits.items():
        numbers = [f"{n:,}" for n in (split.records, split.texts) if n is not None]
        if numbers:
            counts.append(f"{name} {' / '.join(numbers)}")
    facts = [
        (words["licence"], card.licence),
        (words["home"], card.home),
        (words["files"], ", ".join(f"`{name}`" for name in card.files)),
        (words["images"], f"`{card.images}`" if card.images else ""),
        (words["obtain"], card.obtain[lang]),
        (words["counts"], ", ".join(counts)),
        (words["guarded"], ", ".join(card.guarded)),
        (words["chat_only"], _chat_only(card, lang)),
        (words["note"], card.note.get(lang, "")),
    ]
    return [(name, value) for name, value in facts if value]


def _chat_only(card: Card, lang: str) -> str:
    if not card.chat_only:
        return ""
    stop = ". " if lang == "en" else "。"
    return _WORDS[lang][card.chat_only] + stop + card.chat_only_evidence[lang]
