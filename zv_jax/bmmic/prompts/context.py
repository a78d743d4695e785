"""The in-context function C of the paper's section 3.1, as messages."""

from __future__ import annotations

import json
from collections.abc import Sequence

from zv_jax.bmmic.pair import Pair
from zv_jax.bmmic.prompts.examples import Example
from zv_jax.bmmic.prompts.pack import Message, Pack
from zv_jax.bmmic.view import View


def in_context(pack: Pack, lang: str, examples: Sequence[Example], view: View) -> list[Message]:
    """C: (User[X_q^C, X_q^B], Assistant[I_q, R_q]) -> p(Assistant[I_k, R_k] | User[X_k^C, X_k^B]).

    Of each example q the captions and boxes as the user's words and the instruction with its
    response as the assistant's, then the captions and boxes of the query k, which the model is to
    continue in the same way. The system message comes first: what does not change is in front.
    """
    messages = [{"role": "system", "content": pack.system[lang]}, *pack.shown.get(lang, ())]
    for example in examples:
        messages.append(symbols(pack, lang, example.pair.view))
        messages.append({"role": "assistant", "content": pair_json(example.pair)})
    return [*messages, symbols(pack, lang, view)]


def symbols(pack: Pack, lang: str, view: View) -> Message:
    """User[X^C, X^B]: a view in words, its boxes only where the pack wants them."""
    return pack.ask(lang, captions=captions(view, lang), boxes=boxes(view, lang))


def rewriting(pack: Pack, pair: Pair) -> list[Message]:
    """The messages that ask for another form of a pair, by one of the four schemes."""
    words = {"captions": captions(pair.view, pair.lang), "boxes": boxes(pair.view, pair.lang)}
    query = pack.ask(pair.lang, **words, pair=pair_json(pair))
    system = {"role": "system", "content": pack.system[pair.lang]}
    return [system, *pack.shown.get(pair.lang, ()), query]


def translation(pack: Pack, lang: str, rows: Sequence[tuple[str, str]]) -> list[Message]:
    """The messages that ask for (question, answer) rows in `lang`; their numbers must come back."""
    numbered = [{"i": i, "q": question, "a": answer} for i, (question, answer) in enumerate(rows)]
    query = pack.ask(lang, rows=json.dumps({"rows": numbered}, ensure_ascii=False))
    return [{"role": "system", "content": pack.system[lang]}, *pack.shown.get(lang, ()), query]


def captions(view: View, lang: str) -> str:
    """The captions, one a line, those of `lang` where there are some; tags behind them."""
    lines = [f"- {text}" for text in view.said(lang)]
    tags = view.tags.get(lang) or next((t for t in view.tags.values() if t), ())
    return "\n".join([*lines, *(["- " + ", ".join(tags)] if tags else [])]) or "-"


def boxes(view: View, lang: str) -> str:
    """The labelled boxes, one a line: `label: [x1, y1, x2, y2]`, three decimals."""
    lines = []
    for thing in view.objects:
        label = thing.tag_zh if lang == "zh" and thing.tag_zh else thing.label
        lines.append(f"{label}: [{', '.join(f'{c:.3f}' for c in thing.box)}]")
    return "\n".join(lines) or "-"


def pair_json(pair: Pair) -> str:
    """Assistant[I, R]: a pair as the model is to write it."""
    turns = [{"question": q, "answer": a} for q, a in pair.exchanges]
    return json.dumps({"turns": turns}, ensure_ascii=False)
