"""Chinese sentences about a scene: facts in, words out; `sentences_en` has the same functions."""

from __future__ import annotations

import random
from collections.abc import Sequence

from zv_jax.data.openmoji.concepts import CATEGORIES, COLOURS, PLACES, SIZES
from zv_jax.data.openmoji.facts import Group, Referent, groups, is_eaten
from zv_jax.data.openmoji.scene import Concept, Scene
from zv_jax.data.openmoji.wording import QA, lettered, pick

# Before a measure word the number two is 两, never 二.
NUMBERS = ("零", "一", "两", "三", "四", "五", "六", "七", "八", "九", "十")
_BOX = "<obj_0>"
YES, NO = "是", "不是"


# 词与短语


def counted(concept: Concept, n: int = 1) -> str:
    """一只狗、两只狗。"""
    return f"{NUMBERS[n]}{concept.zh_measure}{concept.zh}"


def the(ref: Referent) -> str:
    """狗；有两只时：小的那只狗。"""
    concept = ref.placed.concept
    if ref.size is None:
        return concept.zh
    return f"{SIZES[ref.size][1]}的那{concept.zh_measure}{concept.zh}"


def joined(parts: Sequence[str]) -> str:
    """甲、甲和乙、甲、乙和丙。"""
    return parts[0] if len(parts) == 1 else "、".join(parts[:-1]) + "和" + parts[-1]


def colour(key: str) -> str:
    """底色的名称，如 蓝色。"""
    return COLOURS[key][2]


def place_name(place: str) -> str:
    """位置的名称，如 左上角。"""
    return PLACES[place][1]


# 整幅图


def captions(scene: Scene) -> tuple[str, ...]:
    """True captions of a scene in three styles, the canonical one first."""
    found = groups(scene)
    single = [g for g in found if g.count == 1]
    several = [counted(g.concept, g.count) for g in found if g.count > 1]
    tone = colour(scene.canvas)
    clauses = [f"{place_name(g.members[0].place)}有{counted(g.concept)}" for g in single]
    if not single:
        first = f"{tone}背景上有{joined(several)}"
        second = f"图里有{joined(several)}，背景是{tone}"
    else:
        rest = [f"还有{joined(several)}"] if several else []
        first = "，".join([f"{tone}背景上", *clauses, *rest])
        second = "，".join([*clauses, *rest, f"背景是{tone}"])
    return first, second, f"一张{tone}的图，里面有{listed(scene)}"


def listed(scene: Scene) -> str:
    """一只狗和两个苹果。"""
    return joined([counted(g.concept, g.count) for g in groups(scene)])


def ask_caption(rng: random.Random) -> str:
    """Asks for a caption."""
    return pick(rng, "描述这张图片。", "用一句话说说这张图。", "这张图里画了什么？")


def detail(scene: Scene, rng: random.Random) -> QA:
    """A description in two or three sentences."""
    found = groups(scene)
    total = NUMBERS[len(scene.objects)]
    sentences = [f"这张图的背景是{colour(scene.canvas)}，图里有{total}个东西。"]
    parts = []
    for g in found:
        where_ = joined([place_name(p.place) for p in g.members])
        parts.append(
            f"{where_}有{counted(g.concept)}"
            if g.count == 1
            else f"{counted(g.concept, g.count)}分别在{where_}"
        )
    sentences.append("，".join(parts) + "。")
    single = [g for g in found if g.count == 1][:2]
    if single:
        sizes = [f"{g.concept.zh}是{SIZES[g.members[0].size][1]}的" for g in single]
        sentences.append("，".join(sizes) + "。")
    question = pick(rng, "请详细描述这张图片。", "说说你在图里看到的一切。")
    return QA(question, "".join(sentences))


# 单个问题


def what(place: str, concept: Concept, rng: random.Random) -> QA:
    """What is at a place."""
    name = place_name(place)
    question = pick(rng, f"{name}有什么？", f"图的{name}是什么？")
    return QA(question, counted(concept), (concept.zh, f"有{counted(concept)}"))


def where(ref: Referent, rng: random.Random) -> QA:
    """Where a thing is."""
    question = pick(rng, f"{the(ref)}在哪里？", f"{the(ref)}在图的什么位置？")
    name = place_name(ref.placed.place)
    return QA(question, name, (f"在{name}",))


def how_many(concept: Concept, n: int, rng: random.Random) -> QA:
    """How many of one kind."""
    unit = concept.zh_measure
    question = pick(rng, f"图里有几{unit}{concept.zh}？", f"有多少{unit}{concept.zh}？")
    return QA(
        question, count_name(concept, n), (f"{n}{unit}", NUMBERS[n], str(n), counted(concept, n))
    )


def how_many_in_all(n: int, rng: random.Random) -> QA:
    """How many things altogether."""
    question = pick(rng, "图里一共有几个东西？", "图里总共有多少个东西？")
    return QA(question, f"{NUMBERS[n]}个", (f"{n}个", NUMBERS[n], str(n), f"{NUMBERS[n]}个东西"))


def background(key: str, rng: random.Random) -> QA:
    """The colour of the canvas."""
    question = pick(rng, "背景是什么颜色？", "图的背景是什么颜色的？")
    return QA(question, colour(key), (f"{colour(key)}的",))


def present(concept: Concept, there: bool, rng: random.Random) -> QA:
    """Whether a kind is there."""
    question = pick(rng, f"图里有{concept.zh}吗？", f"图里有没有{concept.zh}？")
    return QA(question, "有", ("有的", "是")) if there else QA(question, "没有", ("没", "否"))


def food(place: str, concept: Concept, rng: random.Random) -> QA:
    """Whether the thing at a place is food."""
    name = place_name(place)
    question = pick(rng, f"{name}的东西是食物吗？", f"{name}的东西是不是食物？")
    return QA(question, YES, ("是的",)) if is_eaten(concept) else QA(question, NO, ("否",))


def ground(ref: Referent, rng: random.Random) -> QA:
    """The box of a thing."""
    question = pick(
        rng, f"{the(ref)}在哪里？请给出方框。", f"请框出{the(ref)}。", f"找到{the(ref)}，给出方框。"
    )
    return QA(question, _BOX)


def region(concept: Concept, rng: random.Random) -> QA:
    """What a box holds."""
    question = pick(rng, f"{_BOX}里是什么？", f"方框{_BOX}里有什么？", f"说出{_BOX}处的东西。")
    return QA(
        question, counted(concept), (concept.zh, f"是{counted(concept)}", f"有{counted(concept)}")
    )


def choice(question: QA, options: tuple[str, ...], rng: random.Random) -> str:
    """The text of a multiple-choice question."""
    return pick(rng, "{q} {o}", "{q}请选择：{o}").format(q=question.question, o=lettered(options))


def count_name(concept: Concept, n: int) -> str:
    """两只：a number as an answer to `how_many`."""
    return f"{NUMBERS[n]}{concept.zh_measure}"


# 对话中的追问


def size_of_it(size: str, rng: random.Random) -> QA:
    """The size of what was named last."""
    return QA(pick(rng, "它是大的还是小的？", "它是小的还是大的？"), f"{SIZES[size][1]}的")


def and_background(key: str, rng: random.Random) -> QA:
    """The colour of the canvas, in passing."""
    return QA(pick(rng, "那背景是什么颜色？", "背景颜色呢？"), colour(key))


def where_it(place: str, rng: random.Random) -> QA:
    """Where what was named last is."""
    return QA(pick(rng, "它在哪里？", "它在图的什么位置？"), place_name(place))


def and_where(ref: Referent, rng: random.Random) -> QA:
    """Where another thing is."""
    return QA(pick(rng, f"那{the(ref)}呢？", f"{the(ref)}又在哪里？"), place_name(ref.placed.place))


def box_of_it(rng: random.Random) -> QA:
    """The box of what was named last."""
    return QA(pick(rng, "请框出它。", "给出它的方框。"), _BOX)


def and_how_many(concept: Concept, n: int, rng: random.Random) -> QA:
    """How many of another kind."""
    question = pick(rng, f"那{concept.zh}呢？", f"{concept.zh}有几{concept.zh_measure}？")
    return QA(question, count_name(concept, n))


def and_in_all(n: int, rng: random.Random) -> QA:
    """How many things altogether, in passing."""
    return QA(pick(rng, "那一共有几个东西？", "那总共有几个东西？"), f"{NUMBERS[n]}个")


# 说明理由


def reason_food(found: Sequence[Group], rng: random.Random) -> QA:
    """What one can eat, and why."""
    question = pick(rng, "图里什么东西能吃？为什么？", "图里哪些东西可以吃，为什么？")
    eaten = [g for g in found if is_eaten(g.concept)]
    if not eaten:
        return QA(question, "都不能吃，因为图里没有食物")
    names = [g.concept.zh if g.count == 1 else counted(g.concept, g.count) for g in eaten]
    them = "它" if len(eaten) == 1 and eaten[0].count == 1 else "它们"
    return QA(question, f"{joined(names)}，因为{them}是食物")


def reason_more(first: Group, second: Group, rng: random.Random) -> QA:
    """Whether there are more of one kind than of another, and why."""
    question = pick(
        rng,
        f"{first.concept.zh}比{second.concept.zh}多吗？为什么？",
        f"{first.concept.zh}是不是比{second.concept.zh}多，为什么？",
    )
    verdict = YES if first.count > second.count else NO
    return QA(
        question,
        f"{verdict}，因为有{joined([counted(g.concept, g.count) for g in (first, second)])}",
    )


def reason_odd(group: Group, others: str, rng: random.Random) -> QA:
    """Which kind does not belong, and why."""
    question = pick(rng, "哪一种东西和别的不一样？为什么？", "哪一种与众不同，为什么？")
    return QA(question, f"{group.concept.zh}，因为别的都是{CATEGORIES[others][1]}")


# 两张图


def this_picture(scene: Scene, rng: random.Random) -> QA:
    """What the picture just shown has in it."""
    return QA(pick(rng, "这张图里有什么？", "这张图上画了什么？"), listed(scene))


def next_picture(scene: Scene, rng: random.Random) -> QA:
    """What the following picture has in it."""
    return QA(pick(rng, "那这张呢？", "这一张里又有什么？"), listed(scene))


def which_picture(concept: Concept, index: int, rng: random.Random) -> QA:
    """Which of two pictures shows a kind."""
    question = pick(rng, f"哪张图里有{concept.zh}？", f"{concept.zh}在哪张图里？")
    answer = ("第一张", "第二张")[index]
    return QA(question, answer, (f"{answer}图", f"在{answer}"))


def in_both(shared: Sequence[Concept], rng: random.Random) -> QA:
    """What two pictures have in common."""
    question = pick(rng, "两张图里都有什么？", "两张图有什么相同的东西？")
    return QA(question, joined([c.zh for c in shared]) if shared else "没有相同的东西")


def both_backgrounds(first: str, second: str, rng: random.Random) -> QA:
    """Whether two backgrounds have one colour."""
    question = pick(rng, "那背景颜色一样吗？", "它们的背景颜色相同吗？")
    if first == second:
        return QA(question, f"一样，都是{colour(first)}")
    return QA(question, f"不一样，第一张是{colour(first)}，第二张是{colour(second)}")
