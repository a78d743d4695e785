"""Reading which option of a multiple-choice question a reply names, in English and Chinese.

A reply is cut into clauses, and each clause names options by their letter or their words, or
denies them ("not A", "不是猫"). What the reply states to be its answer goes before what it merely
mentions.
"""

from __future__ import annotations

import functools
import re
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from zv_jax.errors import DataError
from zv_jax.evaluation.metrics import exact_match
from zv_jax.evaluation.metrics.reply import HAN, numbers, plain, without_questions
from zv_jax.evaluation.metrics.yes_no import parse_yes_no

PROTOCOL = "letter-or-words-3|unreadable=wrong"
LETTERS = string.ascii_lowercase

# LLaVA's own evaluation of ScienceQA.
_LLAVA = re.compile(r"The answer is ([A-Z]).")

# LETTERS stands for the class of the letters in use: `_lettered`.
_LETTER = (
    r"(?<![A-Za-z0-9'.-])(?:(?![AIai])LETTERS"
    r"|(?=LETTERS)[AIai](?=\s+(?:is|are|and|or|(?!a)LETTERS)\b|\s*(?![\sA-Za-z\d'-])))"
)
_TOKEN = (
    r"(?P<label>[(\[{【]\s*LETTERS\s*[)\]}】]|(?<![A-Za-z0-9'.-])LETTERS\))"
    # "a dog" and "I see" hold words, "e.g." and "T-shirt" no letter of an option
    rf"|(?P<letter>{_LETTER}(?![A-Za-z0-9'-]|\.[A-Za-z]\.))"
    r"|(?P<stated>\b(?:answer|choice|option|solution)\s*(?:\b(?:is|would be|should be|must be)\b|:)"
    r"|\banswer\b|\b(?:choose|chose|pick|select|go with|going with)\b"
    r"|答案|选项\s*(?=[是为:])|选择?(?!项))"
    r"|(?P<thus>\b(?:so|therefore|thus|hence)\b|因此|所以)"
    r"|(?P<right>\b(?:is|are) (?:the )?(?:correct|right|best|true)\b"
    r"|正确|符合|对(?=$|[的。,.;!\n]))"
    r"|(?P<denied>\b(?:not|no|never|neither|nor|none|without|wrong|incorrect|false|unlike|except"
    r"|cannot|rather than|instead of|\w+n't)\b|不(?!错)|没(?!错)|无"
    r"|(?<![除是])非(?![常洲凡])|(?<![不没])错|除了|排除)"
    r"|(?P<why>\b(?:because|since)\b|因为|由于)"
    r"|(?P<stop>[.;:!。\n]+|\b(?:but|while|whereas|however)\b|但是?|而是?)"
    r"|(?P<comma>[,、/&|+()]|\b(?:and|or)\b|[和或与及]者?|还是)"
    r"|(?P<word>选项|[A-Za-z\d]+|[^\W_])"
)
_LABELLED = r"[(\[{【]?\s*LETTERS\s*(?:[)\]}】.:、]|$)"
_ARTICLES = frozenset(("a", "an", "the"))
# Beside a letter these say that it is an option's, not a part of "vitamin C".
_INTRODUCED = frozenset(
    "is be s say think guess probably maybe likely definitely option choice 是 为 项 选项".split()
)
_BEING = frozenset(("is", "s", "是"))
# One character that many words hold must end its phrase to be an option.
_COMMON = frozenset("是有对不没否大小多少上下中里前后好高长红黄")
_MEASURES = "[个只条张本辆朵棵颗块片把件头匹座架艘台支根双串碗杯瓶盘种位幅面枚粒束]"
_EN_NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split()
_ZH_NUMBERS = "零一两三四五六七八九十"
# What an option is found by: its numbers, whole (1/2, 3:30, 50%), its words and its characters.
_WORDS = re.compile(r"-?\d+(?:[.,:/~-]\d+)*[%‰]?(?![A-Za-z\d])|[A-Za-z\d']+|[^\W_]")


@dataclass(frozen=True)
class _Token:
    """A piece of a reply: its kind (a group of `_TOKEN`, or "option"), and the options it names."""

    kind: str
    text: str
    named: frozenset[int] = frozenset()


@dataclass(frozen=True)
class _Clause:
    """The options a clause names and what it does with them: it gives them as the answer, denies
    them, begins with their letter, or only explains."""

    named: frozenset[int]
    stated: bool
    denied: bool
    leading: bool
    explains: bool


def parse_choice(
    text: str, choices: Sequence[str], protocol: str = "tolerant", lang: str | None = None
) -> int | None:
    """Index of the option a reply names, or None; never a guess.

    The words of an option alone name it. Then a statement does ("The answer is B", "答案是B",
    "So it is a dog"), then a leading letter such as ``(b)``, ``b`` or ``B.``, then the only option
    that the reply mentions. What is denied ("not A", "不是猫") is not named; two options, or a
    letter with the words of another option, name none. An article is no letter, and where one
    option holds another ("dog", "hot dog") the longer one counts.

    Args:
      text: the reply; reasoning blocks and questions in it are left out.
      choices: the options in order, at most 26.
      protocol: ``"tolerant"``, or ``"llava"`` for what LLaVA's script reads: a bare capital
        letter, a leading ``B. `` or one single "The answer is B.".
      lang: ``"en"`` or ``"zh"``, how a reply is compared with an option; by default Chinese where
        either has a Chinese character.

    Raises:
      ValueError: unknown protocol, no choice, or more than there are letters.
    """
    if protocol not in ("tolerant", "llava"):
        raise ValueError(f"protocol {protocol!r} is neither tolerant nor llava")
    if not 0 < len(choices) <= len(LETTERS):
        raise ValueError(f"{len(choices)} choices; from 1 to {len(LETTERS)} have a letter")
    if protocol == "llava":
        return _llava(text, len(choices))
    text, *options = (numbers(plain(said)) for said in (text, *choices))
    alone = _alone(text, options, lang or ("zh" if HAN.search(text + "".join(options)) else "en"))
    if alone is not None:
        return alone
    clauses = [_read(tokens) for tokens in _cut(_tokens(without_questions(text), options))]
    denied = _named(c for c in clauses if c.denied)
    asserted = [c for c in clauses if not c.denied]
    mentioned = _named(c for c in asserted if not c.explains)
    leading = _named(c for c in asserted if c.leading) if clauses and clauses[0].leading else set()
    answer = _named(c for c in asserted if c.stated) | leading
    if not answer and _yes_and_no(options) is not None:
        said = parse_yes_no(text)
        return None if said is None else _yes_and_no(options).index(said)
    if leading and leading.isdisjoint(mentioned):
        return None
    answer = answer or mentioned
    index = answer.pop() if len(answer) == 1 else len(options)
    return index if index < len(options) and index not in denied else None


def letter_of(index: int, where: str) -> str:
    """The letter of an option; `where` names the record.

    Raises:
      DataError: the alphabet is too short.
    """
    if index >= len(LETTERS):
        raise DataError(
            f"option {index + 1} has no letter",
            where,
            f"at most {len(LETTERS)} options in a question",
            "leave the record out, or ask it with fewer options",
        )
    return LETTERS[index]


def _named(clauses: Iterable[_Clause]) -> set[int]:
    return set().union(*(clause.named for clause in clauses))


def _yes_and_no(options: Sequence[str]) -> list[bool | None] | None:
    """What the options mean, where they are a yes and a no."""
    meant = [parse_yes_no(option) for option in options]
    return meant if sorted(meant, key=str) == [False, True] else None


def _alone(text: str, options: Sequence[str], lang: str) -> int | None:
    """The option whose words are all that the reply says, without a letter before them."""
    if _lettered(_LABELLED, len(options)).match(text):
        return None
    said = exact_match.normalise(text.strip("*\"'“”` "), lang)
    same = [i for i, o in enumerate(options) if said and exact_match.normalise(o, lang) == said]
    return same[0] if len(same) == 1 else None


def _read(tokens: Sequence[_Token]) -> _Clause:
    """What a clause names: options, letters in brackets, and letters that its words introduce."""
    kinds = [token.kind for token in tokens]
    leading = kinds[0] in ("label", "letter") and kinds[1:2] != ["word"]
    told = kinds.index("stated") if "stated" in kinds else len(kinds)
    thus = kinds.index("thus") if "thus" in kinds else len(kinds)
    named: set[int] = set()
    stated = False
    for at, token in enumerate(tokens):
        if not token.named:
            continue
        before = tokens[at - 1].text.lower() if at else ""
        after = tokens[at + 1].text.lower() if at + 1 < len(tokens) else ""
        answers = told < at or thus < at and (token.kind != "option" or before in _BEING)
        sure = token.kind != "letter" or leading or "right" in kinds
        if sure or answers or before in _INTRODUCED or after in _INTRODUCED:
            named |= token.named
            stated |= answers
    explains = kinds[0] == "why"
    return _Clause(frozenset(named), stated, "denied" in kinds, leading, explains)


def _cut(tokens: Sequence[_Token]) -> list[list[_Token]]:
    """The clauses that hold anything. What lies between two names ("A, B", "B. two cats") cuts
    nothing."""
    clauses: list[list[_Token]] = [[]]
    for at, token in enumerate(tokens):
        if token.kind not in ("stop", "comma", "why"):
            clauses[-1].append(token)
            continue
        sides = [t.named for t in (*tokens[max(at - 1, 0) : at], *tokens[at + 1 : at + 2])]
        lists = token.kind == "comma" or (
            token.text in (".", ":") and tokens[max(at - 1, 0)].kind == "letter"
            and [t.kind for t in tokens[at + 1 : at + 2]] == ["option"]
        )  # fmt: skip
        if not (lists and len(sides) == 2 and all(sides)):
            clauses.append([token] if token.kind == "why" else [])
    return [clause for clause in clauses if clause]


@functools.cache
def _lettered(pattern: str, count: int) -> re.Pattern[str]:
    """The pattern for so many options; up to ten letters are read as letters in any case, so that
    an E of four options names none. `a`: regardless of case a dotless i of Turkish is an I too."""
    last = LETTERS[max(count, 10) - 1]
    return re.compile(pattern.replace("LETTERS", f"(?a:[A-{last.upper()}a-{last}])"))


def _tokens(text: str, options: Sequence[str]) -> list[_Token]:
    """The pieces of a reply. Where one option holds another, the longer one is found."""
    named: dict[str, set[int]] = {}
    for index, option in enumerate(options):
        named.setdefault(_pattern(option, len(options)), set()).add(index)
    named.pop("", None)
    patterns = sorted(named, key=len, reverse=True)
    words = "".join(f"(?P<option{n}>{pattern})|" for n, pattern in enumerate(patterns))
    found = []
    tokens = _lettered(_TOKEN, len(options)).pattern
    for match in re.finditer(words + tokens, text, re.IGNORECASE):
        kind, said = match.lastgroup or "", match.group().strip("()[]{}【】 ")
        if kind.startswith("option"):
            found.append(_Token("option", said, frozenset(named[patterns[int(kind[6:])]])))
        elif kind in ("label", "letter"):
            said = said.strip()  # line ends too
            # An option may itself be a letter, and another one than its place has.
            own = {i for i, option in enumerate(options) if option.lower() == said.lower()}
            found.append(_Token(kind, said, frozenset(own | {LETTERS.index(said.lower())})))
        elif said.lower() not in _ARTICLES:
            found.append(_Token(kind, said))
    return found


def _pattern(option: str, count: int) -> str:
    """A pattern of the option's words in a reply; empty where it has none, or is a bare letter of
    the `count` options."""
    found = _WORDS.findall(option)
    words = [w.lower() for i, w in enumerate(found) if not _is_article(found, i)]
    if not words or (len(words) == 1 and words[0] in set(LETTERS[: max(count, 10)])):
        return ""
    if len(words) == 1 and words[0] in _COMMON:
        return rf"{words[0]}(?=[的了吧呢啊边面侧色]|[^\w]|$)"
    body = _word(words[0])
    for before, word in zip(words, words[1:], strict=False):
        apart = "+" if before[-1].isdigit() and word[0].isdigit() else "*"
        body += rf"(?:[\W_]+(?:(?:an?|the)[\W_]+)?|[\W_]{apart})" + _word(word)
    return f"{_left(words[0])}(?:{body}){_right(words[-1])}"


def _is_article(words: Sequence[str], at: int) -> bool:
    """Whether a word of an option is an article: not the A of "Group A", "A组", "Type A blood"."""
    if words[at].lower() not in _ARTICLES or not re.match(r"[A-Za-z\d]", "".join(words[at + 1 :])):
        return False
    return words[at] != "A" or at == 0 or all(word == word.upper() for word in words)


def _left(word: str) -> str:
    """What must not stand before: the rest of a word, or of another number (1,000, 1/2, -2)."""
    if word[0] == "-":
        return r"(?<!\w)"
    whole = r"(?<![a-z\d])" if re.match(r"[a-z\d]", word) else ""
    return whole + (r"(?<!\d[.,:/~-])(?<![^a-z\d]-)(?<!^-)" if word[0].isdigit() else "")


def _right(word: str) -> str:
    whole = r"(?![a-z\d])" if re.search(r"[a-z\d]$", word) else ""
    return whole + (r"(?![.,:/~-]\d|[%‰])" if word[-1].isdigit() else "")


def _word(word: str) -> str:
    """A number also in words: 2 is two, and 两 before a measure word or at the end."""
    if word == "a":  # the letter, where no noun makes it an article
        return r"(?:(?-i:A)|a(?!\s+[a-z]))"
    if not word.isdecimal() or len(word) > 2 or int(word) > 12:
        return re.escape(word)
    zh = rf"|(?<!第){_ZH_NUMBERS[int(word)]}(?={_MEASURES}|\W|$)" if int(word) <= 10 else ""
    return f"(?:{word}|{_EN_NUMBERS[int(word)]}{zh})"


def _llava(text: str, count: int) -> int | None:
    letters = LETTERS.upper()[:count]
    if text and text in letters and len(text) == 1:
        return letters.index(text)
    if len(text) >= 3 and text[0] in letters and text[1:3] == ". ":
        return letters.index(text[0])
    stated = _LLAVA.findall(text)
    if len(stated) == 1 and stated[0] in letters:
        return letters.index(stated[0])
    return None
