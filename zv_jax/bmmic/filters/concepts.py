"""Things by their names in both languages: which ones a text mentions, which ones a view supports.

English names are looked for as lemmas, the longest first; Chinese ones by the longest match over
characters, against words in which the name is something else (马路 is no horse).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources

import yaml

from zv_jax.bmmic.filters import words
from zv_jax.bmmic.view import View

_TOKEN = re.compile(r"[a-z]+(?:['’][a-z]+)?(?:-[a-z]+)*|\d+", re.I)
_IRREGULAR = {
    "men": "man", "women": "woman", "children": "child", "people": "people", "geese": "goose",
    "mice": "mouse", "knives": "knife", "wolves": "wolf", "shelves": "shelf", "loaves": "loaf",
    "calves": "calf", "sheep": "sheep", "fish": "fish", "deer": "deer", "scarves": "scarf",
    "bookshelves": "bookshelf", "gentlemen": "gentleman", "policemen": "policeman",
    "firemen": "fireman", "fishermen": "fisherman", "leaves": "leaf", "snowmen": "snowman",
    "ladies": "lady", "housewives": "wife", "wives": "wife", "oxen": "ox", "businessmen": "man",
    "glasses": "glasses", "sunglasses": "sunglasses", "scissors": "scissors", "cookies": "cookie",
    "noodles": "noodles", "pies": "pie", "ties": "tie", "horses": "horse", "skis": "ski",
}  # fmt: skip
_BEFORE = frozenset(
    "a an the this that these those his her its their my your our some any no one two three four "
    "five six seven eight nine ten several many few another each every of and or with red blue "
    "green yellow black white brown grey gray pink purple small large big little tall old new "
    "young wooden single double empty colorful colourful nearby".split()
)
_BEHIND = frozenset(
    "is are was were in on at by of with and or near next behind beside under above over to from "
    "that which has have had sits stands lies runs can could may might will would for beneath "
    "inside outside between around across against along while as but so it they he she there "
    "standing sitting lying parked hanging moving running walking eating drinking covered full "
    "filled placed down up through into onto toward towards surrounded where who what here also "
    "looks seems appears looking flying grazing being did does do then if because than too".split()
)


@dataclass(frozen=True)
class Mention:
    """A thing in a text.

    Attributes:
      concept: its key in the table.
      start, end: place in the text.
      name: as the text has it.
      plural: whether the name is an English plural.
    """

    concept: str
    start: int
    end: int
    name: str
    plural: bool = False


@dataclass(frozen=True)
class Table:
    """The file `concepts.yaml`, ready to be looked into.

    Attributes:
      names: {language: {name: concept}}, with None for phrases that name nothing.
      parents: concept -> what it is directly a kind of.
      kinds: concepts that only name kinds.
      ambiguous: English names that are other words as well.
      implies: word or concept -> concepts that come with it.
      chinese: concept -> its first Chinese name.
      longest: of Chinese names, in characters; of English ones, in words.
    """

    names: Mapping[str, Mapping[str, str | None]]
    parents: Mapping[str, tuple[str, ...]]
    kinds: frozenset[str]
    ambiguous: frozenset[str]
    implies: Mapping[str, tuple[str, ...]]
    chinese: Mapping[str, str]
    longest: Mapping[str, int]


@functools.cache
def table() -> Table:
    """The table of this version."""
    text = resources.files(__package__).joinpath("concepts.yaml").read_text("utf-8")
    data = yaml.safe_load(text)
    names: dict[str, dict[str, str | None]] = {"en": {}, "zh": {}}
    parents, first = {}, {}
    for key, (english, chinese, above) in (data["objects"] | data["kinds"]).items():
        for name in [key.replace("_", " "), *_split(english)]:
            names["en"].setdefault(name, key)
        for name in _split(chinese):
            names["zh"].setdefault(name, key)
            first.setdefault(key, name)
        parents[key] = tuple(_split(above))
    for lang in names:
        # A thing of its own, such as 红绿灯, stays one though a phrase says the same.
        names[lang] = dict.fromkeys(map(str, data[f"phrases_{lang}"])) | names[lang]
    return Table(
        names=names,
        parents=parents,
        kinds=frozenset(data["kinds"]),
        ambiguous=frozenset(data["ambiguous"]),
        implies={word: tuple(found) for word, found in data["implies"].items()},
        chinese=first,
        longest={
            "zh": max(map(len, names["zh"])),
            "en": max(len(name.split()) for name in names["en"]),
        },
    )


@functools.cache
def chinese_name(label: str) -> str | None:
    """What an English label is called in Chinese: the first name of its concept in the table."""
    concept = of_label(label, "en")
    return table().chinese.get(concept) if concept else None


def is_name(word: str) -> bool:
    """Whether an English word, or its singular, names a thing."""
    known = table().names["en"]
    return bool(known.get(word.lower()) or known.get(_lemma(word.lower())))


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


@functools.cache
def above(concept: str) -> frozenset[str]:
    """A concept and everything it is a kind of."""
    found = {concept}
    for parent in table().parents.get(concept, ()):
        found |= above(parent)
    return frozenset(found)


def is_a(concept: str, kind: str) -> bool:
    """Whether a concept is `kind` or one of its kinds."""
    return kind in above(concept)


def mentions(text: str, lang: str) -> list[Mention]:
    """The things that a text names, in order."""
    return list((_english if lang == "en" else _chinese)(text))


def of_label(label: str, lang: str) -> str | None:
    """The concept of a label: of its last name, since `teddy bear` and `wine glass` end in it."""
    whole = table().names[lang].get(_lemma(label.lower()) if lang == "en" else label)
    if whole:
        return whole
    found = mentions(f"a {label.lower()}" if lang == "en" else label, lang)
    return found[-1].concept if found else None


def _chinese(text: str) -> Iterator[Mention]:
    known, longest, start = table().names["zh"], table().longest["zh"], 0
    while start < len(text):
        for size in range(min(longest, len(text) - start), 0, -1):
            name = text[start : start + size]
            if name in known:
                if known[name] is not None:
                    yield Mention(known[name], start, start + size, name)
                start += size
                break
        else:
            start += 1


def _english(text: str) -> Iterator[Mention]:
    tokens = list(_TOKEN.finditer(text))
    i = 0
    while i < len(tokens):
        size, concept, plural = _longest(tokens, i)
        if not size:
            i += 1
            continue
        if concept is not None and _is_thing(tokens, i, size, plural, text):
            start, end = tokens[i].start(), tokens[i + size - 1].end()
            yield Mention(concept, start, end, text[start:end].lower(), plural)
        i += size


def _longest(tokens: list[re.Match], i: int) -> tuple[int, str | None, bool]:
    """Words of the longest name that begins at token i, its concept, whether it is a plural."""
    known = table().names["en"]
    for size in range(min(table().longest["en"], len(tokens) - i), 0, -1):
        span = [t[0].lower().replace("’", "'") for t in tokens[i : i + size]]
        if any(_apart(tokens[k], tokens[k + 1]) for k in range(i, i + size - 1)):
            continue
        span[-1] = re.sub(r"'s?$", "", span[-1])
        name = " ".join(span)
        if name in known:
            return size, known[name], name in ("people", "skis", "cattle", "noodles", "fries")
        single = _lemma(name)
        if single in known:
            return size, known[single], True
    return 0, None, False


def _apart(one: re.Match, other: re.Match) -> bool:
    between = one.string[one.end() : other.start()]
    return bool(between.strip()) or "\n" in between


def _lemma(name: str) -> str:
    """The singular of a name, by its last word."""
    head, _, last = name.rpartition(" ")
    known = table().names["en"]
    if last in _IRREGULAR:
        single = _IRREGULAR[last]
    elif last.endswith("ies") and len(last) > 4:
        single = last[:-3] + "y"
    elif re.search(r"(?:s|x|z|ch|sh|o)es$", last) and f"{head} {last[:-2]}".strip() in known:
        single = last[:-2]
    elif last.endswith("s") and not last.endswith("ss"):
        single = last[:-1]
    else:
        single = last
    return f"{head} {single}".strip()


def _is_thing(tokens: list[re.Match], i: int, size: int, plural: bool, text: str) -> bool:
    """Whether a name is a thing here: no modifier of another noun, no verb, no colour."""
    after = tokens[i + size] if i + size < len(tokens) else None
    joined = after is not None and not _apart(tokens[i + size - 1], after)
    possessive = tokens[i + size - 1][0].lower().endswith(("'s", "’s"))
    if joined and not plural and not possessive and _longest(tokens, i + size)[0]:
        return False  # of `dog bed` only the bed is there
    name = " ".join(t[0].lower() for t in tokens[i : i + size])
    if name not in table().ambiguous and _lemma(name) not in table().ambiguous:
        return True
    before = tokens[i - 1][0].lower() if i and not _apart(tokens[i - 1], tokens[i]) else ""
    alone = len(tokens) == size  # the whole answer
    first = not before and plural
    determined = before in _BEFORE or bool(re.fullmatch(r"\d+|[a-z]+ed|[a-z]+ing|.*['’]s", before))
    free = not joined or possessive or after[0].lower() in _BEHIND or after[0].lower() in _BEFORE
    return alone or (free and (determined or first))


_EN_DENIES = re.compile(
    r"\b(?:no|not|never|without|neither|nor|none|lacks?|absence of|free of|instead of|"
    r"rather than|cannot see|missing)\b|n['’]t\b",
    re.I,
)
_ZH_DENIES = re.compile(
    r"没有?|不是|并非|并无|无(?!论|人机|数|线)|未见|看不到|看不见|不见|不含|缺少|缺乏|"
    r"不存在|而不是|不"
)
_EN_COMPARES = re.compile(
    r"\b(?:like|such as|similar to|shaped|resembl\w+|reminiscent|as if|as though|compared|"
    r"of an?|for example|for instance|inviting|attracting|allowing|(?:ready|enough|meant|"
    r"made|prepared|set|room|space|meal|seats?) for|looks? like|as \w+ as)\b(?: \w+){0,3} ?$",
    re.I,
)
_ZH_COMPARES = re.compile(
    r"(?:像|好像|如同|仿佛|好似|犹如|比如|例如|类似|宛如)[^，。,]{0,8}$|(?:为|给|供|够|"
    r"让)[^，。,]{0,4}$"
)
_ZH_SHAPED = re.compile(r"^(?:形状?|状|一样|般|似的|形的|造型|图案|模样)")
_EN_SUPPOSES = re.compile(
    r"\b(?:might|may|could|would|should|can|perhaps|possibly|probably|likely|if|often|usually|"
    r"typically|generally|commonly|used (?:to|for|as)|suitable|ideal|imagine|whether|suggest\w*|"
    r"need(?:s|ed)?|recommend\w*|advis\w*|for (?:people|someone|anyone)|helps?|require\w*|"
    r"designed|intended|meant|tend to|about to|soon|waiting for|expect\w*)\b",
    re.I,
)
_ZH_SUPPOSES = re.compile(
    r"可能|也许|或许|大概|如果|假如|若|通常|往往|一般|常常|经常|可以|能够|能|会|用来|用于|"
    r"用作|建议|应该|应当|"
    r"需要|适合|推测|推断|猜测|暗示|表明|帮助|等待|等候|等|准备|打算|即将|想要|要|方便|便于|"
    r"以便|防止|避免"
)


def claimed(text: str, lang: str, supposed: bool) -> list[Mention]:
    """The things that a text says are there: neither denied nor compared with.

    Args:
      supposed: whether those count too that may be there, or are spoken of in general.
    """
    denies, supposes = (_EN_DENIES, _EN_SUPPOSES) if lang == "en" else (_ZH_DENIES, _ZH_SUPPOSES)
    found, offset = [], 0
    for clause in words.clauses(text):
        offset = text.index(clause, offset)
        for mention in mentions(clause, lang):
            before, after = clause[: mention.start], clause[mention.end :]
            if _denied(before, lang, denies) or _compared(before, after, lang):
                continue
            if not supposed and supposes.search(clause):
                continue
            found.append(
                Mention(
                    mention.concept,
                    offset + mention.start,
                    offset + mention.end,
                    mention.name,
                    mention.plural,
                )
            )
        offset += len(clause)
    return found


def _denied(before: str, lang: str, denies: re.Pattern) -> bool:
    near = before[-40:] if lang == "en" else before[-10:]
    return bool(denies.search(near if lang == "en" else words.ZH_IDIOM.sub(" ", near)))


def _compared(before: str, after: str, lang: str) -> bool:
    if lang == "zh":
        return bool(_ZH_COMPARES.search(before) or _ZH_SHAPED.match(after))
    return bool(_EN_COMPARES.search(before)) or after.startswith(("-shaped", "-like", "-sized"))


@dataclass(frozen=True)
class Known:
    """What a view supports.

    Attributes:
      seen: concepts of labels, tags and captions, and what they bring along.
      boxes: indices of the objects of each concept, by its most special one.
      text: all that was said, in lower case, for names that the table gives another concept.
    """

    seen: frozenset[str]
    boxes: Mapping[str, tuple[int, ...]]
    text: str

    def supports(self, mention: Mention) -> bool:
        """Whether a thing is there: itself, one of its kinds, or what it is a kind of.

        A `man` may be what the view calls a person; a `dog` is never what it calls an animal, but
        where nothing more special was said than `vehicle`, a car may be meant.
        """
        if mention.name in self.text:
            return True
        if any(is_a(seen, mention.concept) for seen in self.seen):
            return True
        wider = above(mention.concept) & self.seen
        special = {s for s in self.seen if any(s != w and is_a(s, w) for w in wider)}
        kinds = table().kinds
        return bool(wider - kinds) or bool(wider and not special)

    def count(self, concept: str) -> int:
        """Boxes of a concept and of its kinds."""
        return sum(len(at) for own, at in self.boxes.items() if is_a(own, concept))

    def only(self, concept: str) -> int | None:
        """The object that a concept names without doubt; None where several or none could be."""
        found = [k for own, at in self.boxes.items() if is_a(own, concept) for k in at]
        wider = above(concept) - table().kinds  # `man` is the only person, if there is only one
        found = found or [k for own, at in self.boxes.items() if own in wider for k in at]
        return found[0] if len(found) == 1 else None


@functools.lru_cache(4096)
def _concept_of(label: str, tag_zh: str | None) -> str | None:
    own = "zh" if re.search(f"[{words.HAN}]", label) else "en"
    return of_label(label, own) or (of_label(tag_zh, "zh") if tag_zh else None)


def label_concept(view: View, number: int) -> str | None:
    """The concept of object `number` of a view."""
    thing = view.objects[number]
    return _concept_of(thing.label, thing.tag_zh)


def known(view: View) -> Known:
    """What a view supports; see `Known`."""
    boxes: dict[str, list[int]] = {}
    seen: set[str] = set()
    said: list[str] = []
    for number, thing in enumerate(view.objects):
        concept = label_concept(view, number)
        said += [thing.label.lower(), thing.tag_zh or ""]
        if concept is not None:
            boxes.setdefault(concept, []).append(number)
    for texts in (view.captions, view.tags):
        for lang, lines in texts.items():
            said += [line.lower() for line in lines]
            for line in lines:
                bare = line if texts is view.captions else f"a {line.lower()}"
                seen |= {m.concept for m in claimed(bare, lang, supposed=True)}
    seen |= boxes.keys()
    text = "\n".join(said)
    for word, along in table().implies.items():
        if re.search(rf"\b{word}\b", text) if word.isascii() else word in text:
            seen |= set(along)
    return Known(frozenset(seen), {k: tuple(v) for k, v in boxes.items()}, text)
