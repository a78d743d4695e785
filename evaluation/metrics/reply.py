"""What all readers of a model's reply share: its plain form, without the reasoning before it."""

from __future__ import annotations

import re
import unicodedata

HAN = re.compile("[\u4e00-\u9fff]")

_REASONING = re.compile(r"<(think|thinking|reasoning)>.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
# Some chat formats open the block in the prompt: the reply then only ends it.
_UNOPENED = re.compile(r"\A.*</(?:think|thinking|reasoning)>", re.DOTALL | re.IGNORECASE)
_SENTENCE_END = re.compile(r"([.!?。\n吗])")
# The traditional characters of the words that readers know; others are left as they are.
_SIMPLIFIED = str.maketrans(
    "對沒無選項應該確錯為圖這會個們還於總過論說難隻張條輛無關係問題實際來僅斷準擁僅雙兩測評價"
    "別獲給滿據寫點時後並從嗎",
    "对没无选项应该确错为图这会个们还于总过论说难只张条辆无关系问题实际来仅断准拥仅双两测评价"
    "别获给满据写点时后并从吗",
)


def plain(text: str) -> str:
    """A reply without its reasoning block, NFKC, in simplified characters where readers know them.

    Case is kept. A reasoning block that never ends leaves nothing: there is no answer yet.
    """
    text = _UNOPENED.sub("", _REASONING.sub(" ", text))
    text = unicodedata.normalize("NFKC", text).translate(_SIMPLIFIED)
    return text.replace("\u2019", "'").replace("\u2018", "'").strip()


def without_questions(text: str) -> str:
    """A plain reply without the questions it repeats: "Is it a dog? No." answers No."""
    pieces = _SENTENCE_END.split(text)  # a sentence, its end, a sentence, ...
    pairs = zip(pieces[::2], [*pieces[1::2], ""], strict=True)
    return "".join(sentence + end for sentence, end in pairs if end not in ("?", "吗"))
