"""Yes/no questions: reading the reply in English and Chinese, and the usual numbers (POPE).

Li et al., Evaluating Object Hallucination in Large Vision-Language Models (EMNLP 2023). Yes is the
positive class. A reply that is neither, or both, is wrong and counted, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from zv_jax.evaluation.metrics.reply import plain, without_questions

PROTOCOL = "yes-no-3|answer-alone,denial,assertion|unreadable=wrong"

# What only looks like a yes or a no: phrases, questions put again, characters inside words.
_IDIOMS = re.compile(
    r"\bno\.(?=\s*\d)|\bno (?:doubt|wonder|problem|matter)\b|\bnot (?:only|just|to mention)\b"
    r"|\bwhether or not\b|\bif not\b|\bnone other\b"
    r"|是否(?!定|[。,!]|$)|能否|可否|与否|否则|否认|是不是|有没有|对不对|会不会|能不能"
    r"|对不起|不好意思|不客气|没关系|没问题|没事|没准|不错|不仅|不但(?!是)|不只|不止|不论|不管|不少"
    r"|不光|不单|不同的|没有(?:问题|关系|疑问|错)|不远|不久|不断|不禁|不妨|不愧|不由|不得不|不锈钢|不透明|不规则|差不多|了不起|忍不住"
    r"|无论|无数|无疑|无比|无人机|无线|无袖|无花果|沉没|淹没|没收|出没|埋没|未来|未成年"
    r"|所有|只有|拥有|具有|富有|稀有|特有|原有|占有|持有|享有|有趣|有名|有点|有时|有效|有关|有力"
    r"|有用|有利|有限|有机|有序|有助|有害|有意思|有可能|如果有|若有"
    r"|还是|于是|总是|老是|或是|要是|若是|只是|凡是|尤其是|特别是|倒是|是非|是因为|是什么|如果是"
)
_UNSURE = re.compile(
    r"\bnot (?:\w+ )?(?:sure|certain|clear)\b|\bunsure\b|\buncertain\b|\bunclear\b|\bno idea\b"
    r"|\b(?:do not|don't|cannot|can't|can not|could not|couldn't|unable to|hard to|difficult to"
    r"|impossible to|not possible to)\s+(?:\w+ly\s+)?(?:know|tell|say|determine|judge|decide)\b"
    r"|\bnot enough\b"
    r"|不(?:太|是很|能|敢|大)?(?:确定|清楚|知道|明确|好说)|不一定|说不准|看不清|看不出|难以|无法|没法"
    r"|不能判断|不好判断|未必|(?:不是|并非|不会)没|没有不"
)
_BETWEEN = re.compile(
    r"([,.;:!/、。…\n]+|\b(?:(?<!nothing )but|however)\b|但是|但|可是|不过|而是|然而)"
)
_BOTH = re.compile(
    r"\b(yes|no)[\s|-]+(?:(?:and|or) )?(?=(?:yes|no)\b)|([是有对])[或和与也](?=[否不没])"
)
# "Yes there is no dog", 是的没有狗: a yes before a sentence is a clause of its own.
_AGREEING = re.compile(
    r"(?<!\w)(yes|yeah|yep|yup)(?=\s+[a-z])|(?<!\w)(是的|对的|没错|确实|当然)(?=[^\W的])"
)

_ALONE = {
    "en": re.compile(
        r"(?:(?:oh|well|um|so|and|the|my|answer|reply|is|it|that|would|be|ok|okay) )*(?:"
        r"(?P<polite>sure|certainly|indeed|absolutely|definitely|of course)"
        r"|(?P<yes>yes|yeah|yep|yup|true|correct|right|it is|there is|there are)"
        r"|(?P<no>no|nope|nah|not|never|none|false|incorrect|wrong))"
        r"(?: (?:it is|it does|it isn't|sir|indeed|at all|really|thing))?"
    ),
    "zh": re.compile(
        r"(?:(?:我的)?(?:答案|回答|结论|答)(?:应该)?(?:是|为)?|[嗯哦啊好]|所以|因此)?(?:"
        r"(?P<no>不是|不对|不正确|不存在|没有|不会|不能|不可以|不行|并不|否定|错误|[错否不没无])"
        r"|(?P<polite>确实|当然|肯定)"
        r"|(?P<yes>没错|正确|可以|存在|[是对有会能]))"
        r"(?:的|了|啊|呀|呢|哦|吧|噢|如此|这样)*"
    ),
}
_SAYS_YES = re.compile(r"\b(?:yes|yeah|yep|yup)\b")  # "I would say yes"
# What is denied: that it is there, that it is so, either ("not a cat"), or something else.
_DENIED = {
    "en": re.compile(
        r"(?P<either>\b(?:not|neither|nor)\b(?: an?\b| the\b|$)|^not\b)"
        r"|(?P<there>\b(?:no|none|nothing|nowhere|nobody)\b|\bthere (?:is|are)(?:n't| not)\b)"
        r"|(?P<so>\b(?:is|are|was|were)(?:n't| not)\b|\b(?:false|incorrect)\b)"
        r"|(?:\b(?:not|nope|nah|never|neither|nor|cannot)\b|n't\b)"
    ),
    "zh": re.compile(
        r"(?P<so>不是|(?<![除是])非(?![常洲凡]))|(?P<there>[没无未]|不存在|不含|不包)|不"
    ),
}
_ASSERTED = {
    "en": re.compile(
        r"(?P<there>(?<!if )(?<!whether )\b(?:there (?:is|are)|there's)\b(?! (?:only|just)\b))"
        r"|(?P<so>(?<!if )(?<!whether )\b(?:it|this)(?: is|'s) (?:an?|the) "
        r"(?!.*\b(?:photo(?:graph)?|picture|image|scene|view) (?:of|with|without|that)\b)"
        r"|\b(?:think|believe|guess|suppose|say) so\b|(?:\bis|'s) (?:true|correct)\b)"
    ),
    "zh": re.compile(
        r"(?P<there>有(?![不没无])|存在)"
        r"|(?P<so>(?:(?<!的)是(?![不没无])|(?<=的)是(?=\w))(?!.*(?:照片|图片|图像|画面|场景)))"
    ),
}
# "there is a dog with no collar" denies nothing that was asked
_SHOWN = re.compile(r"\b(?:there (?:is|are)|i (?:can )?see) (?:an?|the|some|one|two|\d+)\b")
# "no other animals, only a dog", 没有别的: whether what was asked is one of the others is not said
_OTHERS = re.compile(
    r"\bno(?:thing|body| one)? (?:other|others|else|but|except)\b"
    r"|(?:没有?|并?无)(?:任何|什么)?(?:其他|其它|其余|别的|另外)"
)
_WITHOUT = re.compile(r"\b(?:without|lacks?|lacking|free of)\b")


@dataclass(frozen=True)
class _Hint:
    """What a clause asserts or denies: that something is ``there``, that it is ``so``."""

    meaning: bool
    about: frozenset[str]
    sentence: int


def parse_yes_no(text: str, protocol: str = "clauses", lang: str | None = None) -> bool | None:
    """What a reply says, or None where it says neither or both.

    ``"clauses"``: questions that the reply repeats are left out, and so is what only looks like an
    answer (no doubt; 但是, 对不起, 所有). An answer that is a clause of its own decides ("No, ...",
    "没有。"); two that disagree say nothing, and so does a yes right before a denial ("Yes, there
    is no dog"), but "Certainly!" and 当然 are only polite there. Without one, a denial in any
    clause is a no ("这是一张照片，没有狗"); without either, "there is", "it is a", "I think so",
    有 and 是 are a yes. A reply that says of one thing that it is and of another that it is not
    ("有猫。没有狗。", "a dog, not a cat") says nothing, unless it begins with what is not and names
    the other in the same sentence ("没有狗，有一只猫"). A reply that only doubts says nothing.

    ``"pope"``: as POPE's script reads English, where everything up to the first period without
    "no" or "not" is a yes, an empty or Chinese reply too.

    Args:
      text: the reply; Chinese in simplified or traditional characters.
      protocol: one of the two above.
      lang: ``"en"`` or ``"zh"``: read the words of one language only; by default of both.

    Raises:
      ValueError: unknown protocol.
    """
    if protocol == "pope":
        words = text.partition(".")[0].replace(",", "").split(" ")
        return not {"No", "not", "no"} & set(words)
    if protocol != "clauses":
        raise ValueError(f"protocol {protocol!r} is neither clauses nor pope")
    langs = (lang,) if lang else ("en", "zh")
    text = without_questions(plain(text)).lower()
    doubtful = bool(_UNSURE.search(text))
    text = _BOTH.sub(r"\1\2. ", _IDIOMS.sub("_", _UNSURE.sub("_", text)))
    said, polite, hints = _clauses(_AGREEING.sub(r"\1\2, ", text), langs)
    if said:
        return said.pop() if len(said) == 1 else None
    meant = _hinted(hints)
    if doubtful or (hints and meant is None):
        return None
    return True if polite and not hints else meant


def _clauses(text: str, langs: Sequence[str]) -> tuple[set[bool], bool, list[_Hint]]:
    """Answers that are clauses of their own, whether one is only polite, and what the other
    clauses assert or deny."""
    pieces = _BETWEEN.split(text)
    said: set[bool] = set()
    hints: list[_Hint] = []
    polite = agreed = False  # agreed: 是的，没有狗 is a yes to a denial
    sentence = 0
    for clause, mark in zip(pieces[::2], ["", *pieces[1::2]], strict=True):
        sentence += bool(set(mark) & set(".!。;\n"))
        clause = clause.strip(" '\"“”*_()")
        if not clause:
            agreed &= not mark.isalpha()
            continue
        alone = _alone(clause, langs)
        hint = _hint(clause, langs, sentence) if alone is None else None
        if alone == "polite":
            polite = True
        elif alone:
            said.add(alone == "yes")
        if hint is not None:
            hints.append(hint)
            if agreed and not hint.meaning and not mark.isalpha():
                said.add(False)
        agreed = alone == "yes"
    return said, polite, hints


def _alone(clause: str, langs: Sequence[str]) -> str | None:
    """``"yes"``, ``"no"`` or ``"polite"`` for a clause that says only that."""
    for lang in langs:
        match = _ALONE[lang].fullmatch(clause)
        if match:
            return match.lastgroup
    return "yes" if "en" in langs and _SAYS_YES.search(clause) else None


def _hint(clause: str, langs: Sequence[str], sentence: int) -> _Hint | None:
    """What a clause asserts or denies; in Chinese, where both may be there, what comes first."""
    if _OTHERS.search(clause):
        return None
    for lang in langs:
        denied, asserted = _DENIED[lang].search(clause), _ASSERTED[lang].search(clause)
        if denied and _SHOWN.search(clause):
            return None
        if denied and (lang == "en" or not asserted or denied.start() <= asserted.start()):
            kind = denied.lastgroup or ""
            about = ("there", "so") if kind == "either" else (kind,)
            return _Hint(False, frozenset(about), sentence)
        if asserted:
            kind = asserted.lastgroup or ""
            # 这是一个没有狗的公园, "a park without dogs": what was asked may be either.
            unsure = denied and kind == "so" or _WITHOUT.search(clause)
            return None if unsure else _Hint(True, frozenset((kind,)), sentence)
    return None


def _hinted(hints: Sequence[_Hint]) -> bool | None:
    """What the clauses mean together; None where they say one thing of this, another of that."""
    denied = [hint for hint in hints if not hint.meaning]
    if not denied:
        return True if hints else None
    against = [h for h in hints if h.meaning and any(h.about & d.about for d in denied)]
    contrast = not hints[0].meaning and all(h.sentence == hints[0].sentence for h in against)
    return False if contrast or not against else None


def yes_no_scores(predicted: Sequence[bool | None], true: Sequence[bool]) -> dict[str, float]:
    """Accuracy, precision, recall, F1 and the shares of yes and of unreadable replies, in 0..1.

    Raises:
      ValueError: the lists are empty or of different length.
    """
    if not len(true) or len(predicted) != len(true):
        raise ValueError(f"{len(predicted)} replies to {len(true)} questions")
    pairs = [
        (None if p is None else bool(p), bool(t)) for p, t in zip(predicted, true, strict=True)
    ]
    right_yes = sum(p is True and t for p, t in pairs)
    said_yes = sum(p is True for p, _ in pairs)
    true_yes = sum(t for _, t in pairs)
    precision = right_yes / said_yes if said_yes else 0.0
    recall = right_yes / true_yes if true_yes else 0.0
    total = precision + recall
    return {
        "accuracy": sum(p is t for p, t in pairs) / len(pairs),
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / total if total else 0.0,
        "yes_share": said_yes / len(pairs),
        "unreadable": sum(p is None for p, _ in pairs) / len(pairs),
    }
