"""Makes concepts of all emoji from their CLDR short names, with rules for the grammar around them.

The `emoji` package (BSD) carries the names in English and Chinese. CLDR writes them for menus
("flag: China", "man: bald", "按键: 1"); here they become nouns that a sentence can hold.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from zv_jax.data.openmoji.files import data_file
from zv_jax.data.openmoji.scene import Concept
from zv_jax.errors import SetupError

_PEOPLE = "man men woman women person people boy girl baby child adult".split()
_ROLES = (
    "family couple kiss prince princess elf fairy mage vampire zombie merman mermaid merperson"
    " genie superhero supervillain ninja guard detective officer worker teacher judge farmer"
    " cook student singer artist pilot astronaut firefighter mechanic scientist technologist"
    " skier snowboarder troll Claus Santa"
).split()
_PAST_HEAD = re.compile(
    " (of|with|in|on|at|over|marked|behind|without|showing|holding|under|and|or|facing) "
    r"|(?<=man|son|ple) mountain biking$"
    r"|(?<=man|son|men|ple|ace) \w+ing( |$)"
    r"| (curving|increasing|decreasing|tilted|pointing|shaking|fluttering|exhaling) ?"
)
_PERSON_ENDING = re.compile(
    "[人者员生女男子师家工医长警孩爷奶贝兵手主仙鬼客精怪魔童灵神丑士使侣庭吻官探巫妖尸父母]$"
)
_IRREGULAR = {
    "person": "people",
    "man": "men",
    "woman": "women",
    "child": "children",
    "mouse": "mice",
    "goose": "geese",
    "foot": "feet",
    "tooth": "teeth",
    "leaf": "leaves",
    "knife": "knives",
    "wolf": "wolves",
    "scarf": "scarves",
    "sheaf": "sheaves",
    "loaf": "loaves",
    "fish": "fish",
    "sheep": "sheep",
    "deer": "deer",
    "moose": "moose",
    "bison": "bison",
    "squid": "squid",
    "ox": "oxen",
    "shrimp": "shrimps",
    "potato": "potatoes",
    "tomato": "tomatoes",
    "mango": "mangoes",
    "volcano": "volcanoes",
    "hero": "heroes",
    "superhero": "superheroes",
    "people": "people",
    "men": "men",
    "women": "women",
    "children": "children",
    "dice": "dice",
    "rice": "bowls of rice",
}
_SINGULAR_S = (
    "ss",
    "us",
    "is",
    "ceros",
    "gas",
    "Claus",
    "lens",
    "canvas",
    "Texas",
    "Aries",
    "Mars",
)
_THE = re.compile(
    r"^(United|Central African|Dominican Rep|European|British|Cayman|Cook|Faroe|Falkland)"
)
_THE_END = re.compile(
    r"(Islands|Territories|Bahamas|Gambia|Maldives|Netherlands|Philippines|Comoros|Republic)$"
)

_NOT_PEOPLE = {"cat", "dragon", "Japanese", "mark", "bottle", "dolls", "chick", "face"}
_MEASURES = {"animal": "只", "flag": "面", "vehicle": "辆"}


def _vehicle_measure(zh: str) -> str:
    for ending, measure in (
        ("机", "架"),
        ("船", "艘"),
        ("艇", "艘"),
        ("轮", "艘"),
        ("火箭", "枚"),
        ("列车", "列"),
    ):
        if zh.endswith(ending):
            return measure
    return "辆" if zh.endswith("车") else "个"


def article(en: str, plural: str) -> str:
    """Returns ``"a"``, ``"an"`` or, for a name that is a plural itself, ``""``."""
    if en == plural and en not in ("fish", "sheep", "deer", "moose", "bison", "squid"):
        return ""
    word = re.split(r"[ -]", en)[0]
    if re.match(r"(?i)(uni|eu|ewe|use|one|u-)", word) and not word.startswith("unin"):
        return "a"
    if re.fullmatch(r"[A-Z]{1,4}!?", word):  # read letter by letter: an ATM, a UP
        return "an" if word[0] in "AEFHILMNORSX" else "a"
    return "an" if word[0].lower() in "aeio8" or re.match(r"(?i)u[a-z]|hour|x-", en) else "a"


def plural(en: str) -> str:
    """Returns the plural of a noun phrase: ``flags of China``, ``men running``."""
    cut = None if en.endswith("button") else _PAST_HEAD.search(en)
    end = cut.start() if cut else len(en)
    *before, noun = en[:end].split()
    if before and before[0] in ("man", "woman"):  # women pilots, not woman pilots
        before[0] = _IRREGULAR[before[0]]
    return " ".join([*before, _plural_word(noun)]) + en[end:]


def _plural_word(noun: str) -> str:
    for single, many in _IRREGULAR.items():
        if noun == single or noun.endswith(("-" + single, "woman")) and noun.endswith(single):
            return noun[: -len(single)] + many
    if noun.endswith("s") and not noun.endswith(_SINGULAR_S):
        return noun
    if noun.endswith(("s", "x", "z", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def _english(en: str, flag: bool) -> str:
    """Turns a CLDR short name, colons already lost, into a countable noun phrase."""
    if flag:
        the = "the " if _THE.match(en) or _THE_END.search(en) else ""
        return f"flag of {the}{en}"
    if en.startswith("keycap "):
        mark = {"#": "a hash sign", "*": "a star"}.get(en[7:], en[7:])
        return f"key marked {mark}"
    if match := re.fullmatch(
        r"(family|couple with heart|kiss) ((?:man|woman|boy|girl|adult)(?: \w+)+)", en
    ):
        who = _listed([("an " if w == "adult" else "a ") + w for w in match[2].split()])
        head = {"couple with heart": "couple in love", "kiss": "kissing couple"}.get(
            match[1], match[1]
        )
        return f"{head} of {who}"
    if match := re.fullmatch(r"(man|woman|person) (bald|(?:red|curly|white|blond) hair)", en):
        return f"bald {match[1]}" if match[2] == "bald" else f"{match[1]} with {match[2]}"
    if re.search(r"o’clock$|-thirty$", en):
        return f"clock at {en}"
    return en


def _chinese(zh: str, en: str, flag: bool, category: str) -> str:
    """Turns a CLDR short name, colons turned into ``_``, into a noun phrase."""
    if flag:
        return re.sub("_(.+)", r"（\1）", zh) + "的旗帜"
    head, _, rest = zh.partition("_")
    if head == "按键":
        return f"标着{ {'#': '井号', '*': '星号'}.get(rest, rest) }的按键"
    if re.fullmatch("[一-龥]{1,3}", zh) and en.startswith("Japanese") and en.endswith("button"):
        return f"写着{zh}的按钮"
    if head in ("家庭", "情侣", "亲吻") and rest:
        who = re.findall("男人|女人|男孩|女孩|成人|孩子|大人", rest) or [rest]
        end = {"家庭": "组成的家庭", "情侣": "组成的情侣", "亲吻": "的亲吻"}[head]
        return ("、".join(who[:-1]) + "和" if who[1:] else "") + who[-1] + end
    if rest:
        return f"{rest}的{head}"
    if match := re.fullmatch("(.+)手势([男女])", zh):
        return f"做{match[1]}手势的{match[2]}人"
    turned = zh.endswith("面向右边")
    zh = zh.removesuffix("面向右边")
    if match := re.fullmatch("(男生|女生)(.+)", zh):
        zh = f"{match[2]}的{match[1]}"
    if turned:
        zh = f"面向右边的{zh}"
    if re.fullmatch("[一二两三四五六七八九十]+点半?", zh):
        return f"指着{zh}的钟"
    if category == "person" and not _PERSON_ENDING.search(zh):
        return f"{zh}的人"
    if category == "face" and not re.search("脸|头|笑|猫|猴|表情|天使|恶魔", zh):
        return f"{zh}的表情"
    if category == "body" and not re.search("手|拳|腿|脚|耳|鼻|眼|舌|嘴|脑|肺|心|牙|肌|指$", zh):
        return f"{zh}的手势"
    return zh


def _category(chars: str, en: str) -> str:
    words = set(en.split())
    if (
        0x1F1E6 <= ord(chars[0]) <= 0x1F1FF
        or words & {"flag", "flags", "England", "Scotland", "Wales"}
        and ("mailbox" not in words and "hole" not in words)
    ):
        return "flag"
    if "\u20e3" in chars:
        return "symbol"
    if words & {*_PEOPLE, *_ROLES} and not words & _NOT_PEOPLE:
        return "person"
    code = ord(chars[0])
    return next((category for category, low, high in _ranges() if low <= code <= high), "thing")


@functools.cache
def _ranges() -> tuple[tuple[str, int, int], ...]:
    """``(category, first, last)`` code points, to be tried in order."""
    found = []
    for category, spans in data_file("emoji_names.yaml")["categories"]:
        for span in spans.split():
            low, _, high = span.partition("-")
            found.append((category, int(low, 16), int(high or low, 16)))
    return tuple(found)


def _hex(chars: str) -> str:
    """The file name OpenMoji uses: variation selectors stay only inside sequences."""
    if "\u200d" not in chars and "\u20e3" not in chars:
        chars = chars.replace("\ufe0f", "")
    return "-".join(f"{ord(c):04X}" for c in chars)


def emoji_concepts(taken: Sequence[Concept]) -> tuple[Concept, ...]:
    """Returns one concept per emoji without skin tone, sorted by code points.

    Args:
      taken: concepts that come first; an emoji with the picture, key or name of one of them, or of
        an earlier emoji, is left out.

    Raises:
      SetupError: the `emoji` package is not installed.
    """
    try:
        import emoji
    except ImportError as error:
        raise SetupError(
            f"Package 'emoji' is needed for the names of all concepts: {error}",
            where="import emoji",
            expected="a plain wheel with names in English and Chinese",
            fix="pip install emoji",
        ) from error
    emoji.config.load_language("zh")
    better = data_file("emoji_names.yaml")["names"]
    seen = {name for c in taken for name in (c.hex, c.key, c.en, c.zh)}
    found = []
    for chars, names in sorted(emoji.EMOJI_DATA.items()):
        toned = any(0x1F3FB <= ord(c) <= 0x1F3FF for c in chars)
        if names["status"] != emoji.STATUS["fully_qualified"] or toned or "zh" not in names:
            continue
        en = names["en"].strip(":").replace("_", " ")
        category = _category(chars, en)
        nation = category == "flag" and "flag" not in en  # nothing but the name of a land
        code = _hex(chars)
        zh = _chinese(names["zh"].strip(":"), en, nation, category)
        en, zh = better.get(code, (_english(en, nation), zh))
        many = plural(en)
        key = re.sub(r"[^0-9a-z]+", "_", en.lower()).strip("_")
        if seen & {code, key, en, zh}:
            continue
        seen |= {code, key, en, zh}
        measure = _vehicle_measure(zh) if category == "vehicle" else _MEASURES.get(category, "个")
        eaten = category in ("food", "drink")
        found.append(Concept(key, code, en, many, article(en, many), zh, measure, category, eaten))
    return tuple(found)
