"""The case studies of the paper's Figures 5 to 7: its dialogues, about images that you bring.

Several turns, several images and both languages: what no score of this project measures on
photographs. The answers are for people to read, English and Chinese beside each other as the paper
prints them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import yaml

from zv_jax.errors import DataError
from zv_jax.files import write_atomic

PAGE = "cases.md"
_LANGS = {"en": "English", "zh": "中文"}


class Conversation(Protocol):
    """What `zv_jax.Chat` is."""

    def ask(self, text: str, images: Sequence[Any] = ()) -> str:
        """The answer to `text`, asked about new images and all that came before."""
        ...


@dataclass(frozen=True)
class Figure:
    """The dialogues of one figure.

    Attributes:
      images: how many it shows.
      dialogues: by language, the turns: what is asked, and the number from 1 of the image that it
        brings, 0 for none.
      title: by language.
    """

    number: int
    title: Mapping[str, str]
    images: int
    dialogues: Mapping[str, tuple[tuple[str, int], ...]]


@functools.cache
def figures() -> dict[int, Figure]:
    """All figures by their numbers."""
    text = resources.files("zv_jax.evaluation").joinpath("cases.yaml").read_text("utf-8")
    return {
        number: Figure(
            number,
            found["title"],
            found["images"],
            {
                lang: tuple((turn["ask"], turn.get("image", 0)) for turn in found[lang])
                for lang in _LANGS
            },
        )
        for number, found in yaml.safe_load(text).items()
    }


def check(images: Mapping[int, Sequence[Any]]) -> None:
    """Compares the images of each figure with what it shows.

    Raises:
      DataError: there are none at all, or not as many as a figure shows.
    """
    if not any(images.values()):
        raise DataError(
            "no figure has an image",
            where="zv eval cases",
            expected="the images that the dialogues are about",
            fix="--figure5 FILE, --figure6 FILE, --figure7 FILE,FILE,FILE, or one of them",
        )
    for number, given in images.items():
        if given and len(given) != figures()[number].images:
            raise DataError(
                f"{len(given)} images for Figure {number}",
                where=f"--figure{number}",
                expected=f"{figures()[number].images}, in the order of the figure",
            )


def run(
    new_chat: Callable[[], Conversation],
    images: Mapping[int, Sequence[Any]],
    names: Mapping[int, Sequence[str]],
    workdir: str | Path,
    say: Callable[[str], None] = print,
) -> Path:
    """Holds the dialogues of every figure that has images, in both languages.

    Args:
      new_chat: makes an empty conversation.
      images: by figure, as the conversation takes them; names: what the page calls them.
      workdir: for the page, `PAGE`, in Markdown.

    Returns:
      the page.

    Raises:
      DataError: as `check`, or an image cannot be read.
    """
    check(images)
    blocks = []
    for number, given in images.items():
        figure, held = figures()[number], {}
        for lang in _LANGS if given else ():
            say(f"Figure {number}, {_LANGS[lang]}")
            held[lang] = _held(new_chat(), figure.dialogues[lang], given, say)
        if given:
            blocks.append(_block(figure, held, names[number]))
    page = Path(workdir) / PAGE
    page.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(page, ("\n\n".join(blocks) + "\n").encode())
    return page


def _held(
    chat: Conversation,
    turns: Sequence[tuple[str, int]],
    images: Sequence[Any],
    say: Callable[[str], None],
) -> list[tuple[int, str, str]]:
    """The number of the image, the question and the answer of every turn."""
    found = []
    for asked, image in turns:
        answer = chat.ask(asked, images=[images[image - 1]] if image else [])
        say(f"> {asked}\n{answer}")
        found.append((image, asked, answer))
    return found


def _block(
    figure: Figure, held: Mapping[str, Sequence[tuple[int, str, str]]], names: Sequence[str]
) -> str:
    """A table with a column for each language and two rows for each turn."""
    lines = [f"### Figure {figure.number}: {figure.title['en']} / {figure.title['zh']}", ""]
    lines += ["| | " + " | ".join(_LANGS.values()) + " |", "|---|---|---|"]
    for turns in zip(*(held[lang] for lang in _LANGS), strict=True):
        shown = names[turns[0][0] - 1] if turns[0][0] else ""
        asked = (f"**{_cell(question)}**" for _, question, _ in turns)
        lines.append("| " + " | ".join([_cell(shown), *asked]) + " |")
        lines.append("| | " + " | ".join(_cell(answer) for *_, answer in turns) + " |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.strip().replace("|", "\\|").replace("\n", "<br>")
