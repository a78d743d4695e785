"""Regular expressions of others: in how many ways they may try to match, before they are used.

A search steps back and tries again: two choices thirty times over are a billion tries for a text of
thirty letters, whichever library searches.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

_ITEM = re.compile(r"\\[pPx]\{[^}]*\}|\\.|\[[^]]*\]", re.DOTALL)  # one character
_KINDS = (  # of groups, as what has their effect
    (r"\(\?<?!", "(x"),  # fails where what is in it matches
    (r"\(\?~", "(x*"),  # Oniguruma: whatever does not hold it
    (r"\(\?(?:<?=|>|<\w+>|[a-zA-Z-]*:)?", "("),
)
_REPETITION = r"[*+?]\+|[*+?]|\{[^}]*\}"  # `*+` never steps back
_TOKEN = re.compile(rf"([()|]|[^()|])((?:{_REPETITION})*)", re.DOTALL)
_OPTIONAL = re.compile(r"[*?]|\{0+(?:,\d*)?\}|\{,\d+\}")
_GROUP = re.compile(r"\([^()]*\)")
_PIECES = re.compile(r"(\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|[()|])", re.DOTALL)


@dataclass(frozen=True)
class Shape:
    """What the time of a search depends on.

    Attributes:
      choices: the most ways through all groups and all that is optional, bounded by `MOST`.
      repeated: how many `*`, `+` and `{` there are.
      stepped_back: how many of them stand before something that must match. Where it does not, each
        is tried again with every shorter length, so that each multiplies the time of a search by
        the length of the text.
      repeats_group: a group is repeated. repeats_choice: one that repeats or chooses itself.
      hidden: a comment may hide any of it.
    """

    choices: int
    repeated: int
    stepped_back: int
    repeats_group: bool
    repeats_choice: bool
    hidden: bool


MOST = 2**40


def shape(pattern: str) -> Shape:
    """The shape of a pattern, which need not be a sound one: then it says more, never less."""
    bare = _ITEM.sub("x", pattern)
    hidden = "(?#" in pattern or re.search(r"\(\?[a-zA-Z-]*x", bare) is not None
    for kind, effect in _KINDS:
        bare = re.sub(kind, effect, bare)
    eager = re.sub(r"([*+?}])\?", r"\1", bare)  # lazy ones are tried as often
    plain = re.sub(r"([*+?])\+", r"\1", eager)
    repeated = len(re.findall("[*+{]", plain))
    group = re.search(r"\)[*+{]", plain) is not None
    return Shape(_choices(plain), repeated, _stepped_back(eager), group, _repeats(plain), hidden)


def _stepped_back(plain: str) -> int:
    """Counted from the end, where it is known what follows."""
    found, must, needs = 0, False, False  # something that must match follows; is in this group
    around: list[tuple[bool, bool, bool]] = []  # what follows a group, and what holds around it
    for mark, repetitions in reversed(_TOKEN.findall(plain)):
        optional = _OPTIONAL.search(repetitions) is not None
        if mark == "|":  # outside groups it may stand in a class: then it changes nothing
            must = around[-1][0] if around else must
        elif mark == "(" and around:
            after, may_lack, outer = around.pop()
            must, needs = after or (needs and not may_lack), outer or (needs and not may_lack)
        elif mark == ")":
            found += must * _may_vary(repetitions)
            around.append((must, optional, needs))
            needs = False
        else:
            found += must * _may_vary(repetitions)
            must, needs = must or not optional, needs or not optional
    return found


def _may_vary(repetitions: str) -> int:
    """How many of them are tried with several lengths."""
    return len(re.findall(r"[*+]|\{\d*,", re.sub(r"[*+?]\+", "", repetitions)))


def _choices(plain: str) -> int:
    chosen, open_groups = 1, [1]
    for mark in plain:
        if mark == "(":
            open_groups.append(1)
        elif mark == "|":
            open_groups[-1] += 1
        elif mark == ")" and len(open_groups) > 1:
            chosen = min(chosen * open_groups.pop(), MOST)
    optional = min(plain.count("?"), 40)
    return min(chosen * math.prod(open_groups[:60]) << optional, MOST)


def _repeats(plain: str) -> bool:
    """Whether what stands in a repeated group repeats or chooses, so that tries multiply."""
    while found := _GROUP.search(plain):
        inside, behind = found[0], plain[found.end() : found.end() + 1]
        chooses = bool(re.search(r"[*+?|~]|\{\d*,", inside))
        if chooses and behind in ("*", "+", "{"):
            return True
        # What is in it counts for the groups around it, too.
        plain = plain[: found.start()] + ("~" if chooses else "x") + plain[found.end() :]
    return False


def alternatives(pattern: str) -> list[str]:
    """The parts of a pattern between `|` outside groups, of which each is tried alone; all of it
    where a class holds another one, or begins with its own end: libraries read such differently."""
    pieces = _PIECES.split(pattern)
    if any(re.match(r"\[\^?\]|\[(?:\\.|[^\\[])*\[", piece, re.DOTALL) for piece in pieces):
        return [pattern]
    depth, found = 0, [""]
    for piece in pieces:
        depth = max(0, depth + (piece == "(") - (piece == ")"))
        if piece == "|" and not depth:
            found.append("")
        else:
            found[-1] += piece
    return found
