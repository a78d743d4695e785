"""English word tokens as the Penn Treebank tokenizer of the COCO caption tools makes them.

The COCO tools run Java's ``PTBTokenizer -preserveLines -lowerCase`` (Stanford CoreNLP 3.4.1) and
drop a list of punctuation tokens. This module makes the same tokens without Java, from the same
kind of rules: of all rules that match at a place the one that reads furthest wins, what it only
looks ahead at included; of equally long ones the first. Where the Java program looks over the end
of a line, so that the next caption decides about a final period, this one does not. `VERSION` is
part of every score's protocol, because another tokenizer is another metric.
"""

from __future__ import annotations

import functools
import re
import unicodedata

VERSION = "ptb-py-2"

# The brackets of the original list are upper case while its tokens are lower case, so brackets
# stay: part of the metric as everybody reports it.
DROPPED = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])
_BRACKETS = dict(zip("()[]{}", ("-lrb-", "-rrb-", "-lsb-", "-rsb-", "-lcb-", "-rcb-"), strict=True))

_FIRST_BEFORE_SMALL = """
    jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thurs fri
    ala ariz calif colo conn ct dak fla ga ind kan kans ky md mich minn mo mont neb nev okla penn
    tenn va vt wis wisc wyo inc co cos corp pty pte pts ptys ltd plc rt bancorp bhd assn univ intl
    sys tel est ext sq jr bros ed.d ph.d esq etc al seq
""".split()
_FIRST_BEFORE_CAPITAL = """
    mr mrs ms dr drs prof profs sen sens rep reps atty attys lt col gen messrs gov govs adm rev maj
    sgt cpl pvt capt st ste ave pres lieut rt hon brig comdr cmdr pfc spc supt supts det mt ft adj
    adv asst assoc ens insp mlle mme msgr sfc sr invt elec natl mfg mtg dept blvd rd vs alex wm jos
    cie a.k.a cf treas ph
""".split()
# These are words too, so only their usual spelling is an abbreviation.
_SPELT_SO = "Az|Ark|Del|Ill|La|Mass|Miss|Ore|Pa|Tex|Wash|v"
_BEFORE_NUMBERS = (
    "ca fig figs prop no nos sec secs sect sects art arts para paras bldg pp op".split()
)
_SENTENCE_STARTS = (
    "About According Additionally After An A As At But Did During Earlier He Her Here How However "
    "If In It Last Many More Now Once One Other Our She Since So Some Such That The Their Then "
    "There These They This We When While What Who Why Yet You"
).split()

_S = r"[ \t\u00a0\u2000-\u200a\u3000]"  # space inside a line
_FRACTIONS = r"\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u2189"  # digits to Python, symbols to Java
_L = rf"[^\W\d_{_FRACTIONS}]"  # letter
_D = r"\d"
_AN = rf"[^\W_{_FRACTIONS}]"  # letter or digit
_APOS = r"['\u2019\u00b4]"
_APOS2 = r"['\u2019\u00b4`\u2018\u201b]"
_WORD = rf"{_L}{_AN}*(?:[.!?]{_L}{_AN}*)*"
_POINTED = rf"{_D}*(?:[.:,]{_D}+)+"
_NUM = rf"(?:{_POINTED}|{_D}+)"
_NUMBER = rf"[-+]?{_NUM}"
_ACRO2 = r"(?:[A-Za-z](?:\.[A-Za-z])+|(?i:Canada|Sino|Korean|EU|Japan|non)-(?i:U\.S))"
_HYPHEN = r"[-_\u058a\u2010\u2011]"
_PARTICLE = rf"(?:[dDoOlL]{_APOS2}{_AN})?"
# Plain digits are letters-or-digits already: a second way to read them would make the time double
# with every part of "1-1-1-1".
_THING = rf"{_PARTICLE}(?:{_AN}+|{_NUMBER})(?:{_HYPHEN}{_PARTICLE}(?:{_AN}+|{_POINTED}))*"
# Bounded, and not tried in parts: every letter of "a,a,a," would be looked behind to its end.
_HTHING = rf"{_AN}(?:{_AN}|[.,]){{0,253}}+(?:-(?:{_AN}+(?:\.{_D}+)?|{_ACRO2}\.))+"
_AND = r"[A-Z]+(?:[+&][A-Z]+)+"
_LIST = rf"{_AN}+(?:-{_L}+){{0,2}}(?:/{_AN}+(?:-{_L}+){{0,2}}){{1,2}}"
_REDUCED = rf"(?:{_APOS}(?:[msdMSD]|(?i:re|ve|ll)))"
_NOT = rf"(?i:n){_APOS2}(?i:t)"
_BEFORE_NOT = rf"{_L}*(?![nN]){_L}"
_QUOTE = r"(?:['\u2019\u00b4`\u2018-\u201f\u2039\u203a\u00ab\u00bb]{1,2})"
_TAG = r"""</?[A-Za-z][A-Za-z0-9_:.-]*(?:[ ]+[A-Za-z][A-Za-z0-9_:.-]*(?:[ ]*=[ ]*
    (?:'[^']*'|"[^"]*"|[A-Za-z][A-Za-z0-9_:.-]*))?)*[ ]*/?[ ]*>"""
_APOSTROPHED = "|".join(
    [
        rf"{_APOS}(?i:n){_APOS}?", rf"[lLdDjJ]{_APOS}", rf"(?i:dunkin|somethin|ol){_APOS}",
        rf"{_APOS}(?i:em|till?|cause)", rf"{_APOS}[2-9]0(?i:s)",
        rf"[A-HJ-XZn]{_APOS2}{_L}{{2,}}", rf"{_L}+[aeiouyAEIOUY]{_APOS2}[aeiouA-Z]{_L}*",
        r"(?i:cont'd\.?|'twas|nor'easter|c'mon|e'er|s'mores|ev'ry|li'l|nat'l)",
    ]
)  # fmt: skip
# The range from the comma to the underscore holds digits and capitals; the original has it so.
# A name of the internet has at most 253 characters. Without that bound every sign in a row of them
# would be looked for to the end of the text.
_HOST = r"""(?:[^\s"`'<>|!?(){},-_$]{1,253}\.){1,127}(?i:com|net|org|edu)"""
_PATH = r"""(?:/[^\s"<>|()]+[^\s"<>|.!?(){},-])?"""


def _words(names: list[str]) -> str:
    return "(?i:" + "|".join(map(re.escape, sorted(names, key=len, reverse=True))) + ")"


# Name, what becomes the token, what must follow. The name says how the token is written.
_RULES: tuple[tuple[str, str, str], ...] = (
    ("cut3", rf"(?i:cannot|{_APOS}twas)", ""),
    ("cut2", rf"(?i:{_APOS}tis|gonna|gotta|lemme|gimme|wanna)", ""),
    ("plain", r"(?i:c\+\+|[cf]\#)", ""),
    ("tag", _TAG.replace("\n    ", ""), ""),
    ("amp", "&amp;", ""),
    ("dash", r"[\u2013\u2014\u2015]", ""),
    ("plain", _WORD, _REDUCED),
    ("plain", _BEFORE_NOT, _NOT),
    ("plain", _WORD, ""),
    ("plain", _APOSTROPHED, ""),
    ("plain", rf"[yY]{_APOS}", _L),
    (
        "plain",
        r"""https?://[^\s"<>|(){}\[\]]+[^\s"'<>|.!?(){},;:&\[\]-]""",
        "",
    ),
    ("plain", rf"""(?:www\.(?:[^\s"<>|.!?(){{}},]+\.)+[a-zA-Z]{{2,4}}){_PATH}""", ""),
    ("plain", _HOST + _PATH, ""),
    ("plain", r"<?[a-zA-Z0-9._%+-]{1,253}@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])>?", ""),
    ("plain", rf"@[a-zA-Z_][a-zA-Z_0-9]*|\#{_L}\w*{_AN}", ""),
    ("plain", rf"{_REDUCED}|{_NOT}", rf"(?!{_L})[\s\S]"),
    ("plain", rf"{_D}{{1,2}}[-/]{_D}{{1,2}}[-/]{_D}{{2,4}}", ""),
    ("plain", _NUMBER, ""),
    ("plain", r"[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+|[\u2080-\u2089]+", ""),
    ("space", rf"(?:{_D}{{1,4}}[- \u00a0])?{_D}{{1,4}}[/\u2044]{_D}{{1,4}}", ""),
    ("fraction", r"[\u00bc-\u00be\u2153-\u215e]", ""),
    ("plain", rf"(?i:C\.D\.s|pro-|anti-|S&P-500|S&Ls|cap{_APOS}n|c{_APOS}est)", ""),
    ("plain", _LIST, ""),
    ("plain", r"[A-Z]*\$|\#", ""),
    ("currency", r"[\u00a2-\u00a5\u20a0\u20a4\u20aa\u20ac\u20b9]", ""),
    (
        "initials",
        rf"(?:{_ACRO2}|[A-Za-z])\.",
        rf"{_S}+(?:{'|'.join(_SENTENCE_STARTS)}|M[rs]\.)(?:{_S}|[?!])",
    ),
    ("plain", rf"{_words(_BEFORE_NUMBERS)}\.", rf"\s?{_D}"),
    ("plain", r"(?:Pt|rs)\.", rf"\s?{_D}"),
    ("plain", rf"(?:{_words(_FIRST_BEFORE_SMALL)}|{_SPELT_SO})\.", r"[\s\S]{0,2}"),
    ("plain", rf"(?:{_words(_FIRST_BEFORE_CAPITAL)}|{_ACRO2}|[A-Za-z])\.", ""),
    ("plain", rf"{_APOS}[0-9][0-9]", r"\s"),
    ("plain", rf"{_WORD}\.", "[,;:\u3001]"),
    (
        "space",
        r"(?:\([0-9]{2,3}\)[ \u00a0]?|(?:\+\+?)?(?:[0-9]{2,4}[- \u00a0])?[0-9]{2,4}[- \u00a0])"
        r"[0-9]{3,4}[- \u00a0]?[0-9]{3,5}"
        r"|(?:(?:\+\+?)?[0-9]{2,4}\.)?[0-9]{2,4}\.[0-9]{3,4}\.[0-9]{3,5}",
        "",
    ),
    ("quote", r"\"|[`'\u2018\u2019]'", ""),
    ("plain", "[<>]", ""),
    ("face", r"[<>]?[:;=][-o*']?[()DPdpO\\{@|\[\]]", rf"(?!{_AN})[\s\S]"),
    ("face", r"[\^x=~<>]\.[\^x=~<>]|[-^x=~<>']_[-^x=~<>']|\([-^x=~<>'][_.]?[-^x=~<>']\)", ""),
    ("bracket", r"[()\[\]{}]", ""),
    ("hyphens", "-+", ""),
    ("dots", r"\.\.\.+|\u2026|\.[ \u00a0](?:\.[ \u00a0])+\.", ""),
    ("plain", r"@+|\#+|_+|\*+|[?!]+|=+|[,;:\u3001./\u00a1\u00bf\u3002]", ""),
    ("plain", _HTHING, ""),
    ("plain", rf"{_HTHING}\.", "[,;:\u3001]"),
    ("plain", _THING, ""),
    ("plain", rf"{_THING}\.", "[,;:\u3001]"),
    ("plain", _AND, ""),
    ("quote", _QUOTE, rf"{_L}\S"),
    ("quote", _QUOTE, r"[AaIiUu]\s"),
    ("quote", _QUOTE, ""),
    ("plain", rf"{_REDUCED}|{_NOT}", ""),
    (
        "plain",
        r"[+%&~^|\\\u00a6-\u00a9\u00ac\u00ae-\u00ba\u00d7\u00f7\u2016\u2017\u2020-\u2024\u2030-"
        r"\u2038\u203b\u203c\u203e-\u2043\u207a-\u207f\u208a-\u208e\u2100-\u214f\u2190-\u2bff"
        r"\u3001-\u3006\u3008-\u3020\u30fb\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65]",
        "",
    ),
)
_COMPILED = tuple((name, re.compile(f"({token}){after}")) for name, token, after in _RULES)
_WRITTEN = str.maketrans({"\u2019": "'", "\u00b4": "'", "\u2018": "`", "\u201b": "'"})
_CURRENCY = {"\u00a2": "cents", "\u00a3": "#", "\u20a4": "#", "\u20ac": "$"}
_QUOTES = str.maketrans({"\u2019": "'", "\u00b4": "'", "\u2018": "`", '"': "''", "\u201c": "``",
                         "\u201d": "''", "\u00ab": "``", "\u00bb": "''"})  # fmt: skip
_FIXED = {"dash": "--", "dots": "...", "amp": "&"}
_SIMPLE = re.compile(r"[A-Za-z]+(?= )")
_WHOLE_WORDS = frozenset("cannot gonna gotta lemme gimme wanna".split())


def ptb_tokenize(text: str) -> list[str]:
    """Lower-cased tokens of one caption, without the dropped punctuation.

    Every kind of line break counts as a space: in the original one such character shifts all later
    captions to the wrong image.
    """
    text = " ".join(text.splitlines()).strip() + "\n"
    tokens: list[str] = []
    at, end = 0, len(text) - 1
    while at < end:
        if text[at].isspace():
            at += 1
            continue
        # Most words of a caption are letters between spaces, which no rule cuts.
        simple = _SIMPLE.match(text, at)
        if simple and simple.group().lower() not in _WHOLE_WORDS:
            tokens.append(simple.group().lower())
            at = simple.end()
            continue
        at, found = _next(text, at)
        tokens += [token for token in found if token not in DROPPED]
    return tokens


def _next(text: str, at: int) -> tuple[int, list[str]]:
    """Where the token at `at` ends, and how it is written; nothing for unknown characters."""
    best, furthest, name = None, at, ""
    for kind, rule in _COMPILED:
        match = rule.match(text, at)
        if match and match.end() > furthest and match.end(1) > at:
            best, furthest, name = match, match.end(), kind
    if best is None:
        return at + 1, []
    token = best.group(1)
    return best.end(1), _write(name, token)


@functools.lru_cache(1 << 14)
def _written(name: str, token: str) -> tuple[str, ...]:
    lower = token.lower().replace("\u00ad", "")
    if name in ("cut2", "cut3"):
        cut = int(name[-1])
        return lower[:-cut].translate(_WRITTEN), lower[-cut:]
    if name == "bracket":
        return (_BRACKETS[token],)
    if name == "face":
        return ("".join(_BRACKETS.get(c, c) if c in "()" else c for c in lower),)
    if name == "hyphens":
        return ("--",) if 3 <= len(token) <= 4 else (token,)
    if name in _FIXED:
        return (_FIXED[name],)
    if name == "quote":
        return (token.translate(_QUOTES),)
    if name == "fraction":
        return (unicodedata.normalize("NFKC", token).replace("\u2044", "/"),)
    if name == "currency":
        return (_CURRENCY.get(token, token),)
    if name == "initials" and len(token) == 2:
        return (lower[0],)
    if name in ("space", "tag"):
        lower = lower.replace(" ", "\u00a0")
        return ("".join(_BRACKETS[c] if c in "()" else c for c in lower),)
    return (lower.translate(_WRITTEN),)


def _write(name: str, token: str) -> list[str]:
    return list(_written(name, token))
