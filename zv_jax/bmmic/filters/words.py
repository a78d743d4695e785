"""What several filters ask of a text: its normal form, its clauses, its numbers, its negation."""

from __future__ import annotations

import re
import unicodedata

HAN = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_QUOTED = re.compile(r"“[^”]*”|‘[^’]*’|「[^」]*」|『[^』]*』|《[^》]*》|\"[^\"]*\"|`[^`]*`")
_SINGLE = re.compile(r"(?<!\w)'[^']{1,60}'(?!\w)")
BOX = re.compile(r"\[\s*-?\d*\.?\d+(?:\s*[,;\s]\s*-?\d*\.?\d+){3}\s*\]")
PLACEHOLDER = re.compile(r"<(?:image|obj_\d+)>")

EN_NUMBERS = {
    word: value
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        "fifteen sixteen seventeen eighteen nineteen twenty".split()
    )
} | {"dozen": 12, "thirty": 30, "forty": 40, "fifty": 50, "hundred": 100}
_ZH_DIGITS = {c: v for v, c in enumerate("零一二三四五六七八九")} | {
    "两": 2,
    "〇": 0,
    "俩": 2,
    "仨": 3,
}
ZH_NUMBER = r"(?:\d+|[零〇一二两三四五六七八九十百]+)"


def normal(text: str) -> str:
    """NFKC, with the full-width punctuation of boxes as ASCII."""
    return unicodedata.normalize("NFKC", text).replace("【", "[").replace("】", "]")


def bare(text: str) -> str:
    """What two texts have in common that differ in case, width and punctuation only."""
    text = unicodedata.normalize("NFKC", text).lower()
    return "".join(c for c in text if unicodedata.category(c)[0] in "LN")


def unquoted(text: str) -> str:
    """A text without what it quotes: words on signs may be in any language and say anything."""
    return _SINGLE.sub(" ", _QUOTED.sub(" ", text))


def plain(text: str) -> str:
    """A text without quotes, boxes, placeholders and addresses."""
    text = unquoted(PLACEHOLDER.sub(" ", BOX.sub(" ", normal(text))))
    return re.sub(r"https?://\S+|\S+@\S+\.\w+", " ", text)


def clauses(text: str) -> list[str]:
    """Parts of a text that a negation does not leave."""
    parts = re.split(
        r"[.!?;:,。！？；：，、\n]|\b(?:but|however|while|whereas|although)\b|但是?|而", text
    )
    return [part for part in parts if part.strip()]


def sentences(text: str) -> list[str]:
    """Its sentences, of either language."""
    return [s.strip() for s in re.split(r"(?<=[.!?])\s+|(?<=[。！？])|\n+", text) if s.strip()]


def zh_number(text: str) -> int | None:
    """The value of a numeral such as 十二, 3 or 两; None where it is none."""
    if text.isdigit():
        return int(text)
    total, digit = 0, None
    for char in text:
        if char in _ZH_DIGITS:
            if digit is not None and text[0] not in "十百":
                return None  # 一二三 is a list
            digit = _ZH_DIGITS[char]
        elif char in "十百":
            total += (1 if digit is None else digit) * (10 if char == "十" else 100)
            digit = None
        else:
            return None
    return total + (digit or 0)


def number(text: str) -> int | None:
    """The value of a number in English words, digits or Chinese."""
    text = text.lower()
    return EN_NUMBERS.get(text, zh_number(text) if text else None)


_EN_NOT = re.compile(
    r"\b(?:no|not|never|nobody|nothing|none|neither|nor|without|cannot|nowhere)\b|n['’]t\b", re.I
)
_EN_SOFT_NOT = re.compile(
    r"\b(?:un|in|im|ir|il|dis|non)[a-z]{3,}|[a-z]{3,}less\b|\b(?:few|little|hardly|barely|rarely|"
    r"instead|rather|lack\w*|absen\w+|empty|avoid\w*|prevent\w*|fail\w*|only|except|free|"
    r"different\w*|beyond|missing|away|still|regardless|stop\w*|keep\w*|bare|too|long|off|out|"
    r"stainless|wrong|false|against|before|until|yet|soon|just|fewer|less|under|below|least|"
    r"another|other|refus\w+|"
    r"whether|matter|otherwise|far|sold|closed|alone|anything|any|anyone|besides|also|quickly|"
    r"constantly|several|many|wireless|drone|good|nice)\b",
    re.I,
)
ZH_IDIOM = re.compile(
    r"不锈钢|不仅|不但|不只|不错|不过|不同|不断|不久|不少|不远|不停|不时|不一|不论|不管|"
    r"不禁|不由|不得不|不妨|"
    r"不愧|不如|差不多|好不|了不起|对不起|不亦乐乎|是不是|有没有|能不能|会不会|可不可以|"
    r"要不要|好不好|对不对|"
    r"无人机|无线|无论|无比|无数|无疑|无非|非常|非洲|并非不|除非|未来|特别|别墅|别人|告别|"
    r"分别|区别|级别|类别|"
    r"性别|识别|个别|莫非|没关系|毫不|从不间断|目不转睛|络绎不绝|川流不息|无忧无虑|美不胜收|"
    r"不知不觉|无穷|不绝|"
    r"不息|无边|一望无际|无际|不已|不住|不规则|不透|不太|不要|勿忘"
)
_ZH_NOT = re.compile(r"不|没|无|未|非|别|勿|否")


def negation(text: str, lang: str) -> tuple[bool, bool]:
    """(clearly negative, possibly negative): the second is true of every text with a trace."""
    if lang == "en":
        clear = bool(_EN_NOT.search(text))
        return clear, clear or bool(_EN_SOFT_NOT.search(text))
    return bool(_ZH_NOT.search(ZH_IDIOM.sub(" ", text))), bool(_ZH_NOT.search(text))


_YES = {
    "en": re.compile(r"\s*(?:yes|yeah|yep|sure|correct|indeed|true|right)\b", re.I),
    "zh": re.compile(
        r"\s*(?:是的?|对的?|有的?|会的?|能的?|可以|没错|正确|的确|确实|在的?)(?=$|"
        r"[，。,.！!\s]|是|有)"
    ),
}
_NO = {
    "en": re.compile(r"\s*(?:no|nope|not really|incorrect|false|wrong)\b", re.I),
    "zh": re.compile(r"\s*(?:不|没有?(?!错)|否|并没有|并不|并非|无(?=$|[，。])|错误|不是)"),
}


def polarity(text: str, lang: str) -> bool | None:
    """Whether an answer begins with yes or with no; None where it does with neither."""
    if _NO[lang].match(text):
        return False
    return True if _YES[lang].match(text) else None
