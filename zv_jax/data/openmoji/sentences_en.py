"""English sentences about a scene: facts in, words out; `sentences_zh` has the same functions."""

from __future__ import annotations

import random
from collections.abc import Sequence

from zv_jax.data.openmoji.concepts import CATEGORIES, COLOURS, PLACES
from zv_jax.data.openmoji.facts import Group, Referent, groups, is_eaten
from zv_jax.data.openmoji.scene import Concept, Scene
from zv_jax.data.openmoji.wording import QA, lettered, pick

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_ON = {"left": "on the left", "right": "on the right", "centre": "in the centre"}
_BOX = "<obj_0>"
YES, NO = "yes", "no"


# Words and phrases.


def counted(concept: Concept, n: int = 1) -> str:
    """``a dog``, ``two dogs``."""
    if n == 1:
        return f"{concept.en_article} {concept.en}".strip()
    return f"{NUMBERS[n]} {concept.en_plural}"


def the(ref: Referent) -> str:
    """``the dog``, ``the small dog``."""
    return " ".join(filter(None, ("the", ref.size, ref.placed.concept.en)))


def at(place: str) -> str:
    """``at the top left``, ``in the centre``."""
    return _ON.get(place, f"at the {PLACES[place][0]}")


def joined(parts: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def colour(key: str) -> str:
    """Name of a canvas colour."""
    return COLOURS[key][1]


def place_name(place: str) -> str:
    """``top left``."""
    return PLACES[place][0]


def a(words: str) -> str:
    """Puts ``a`` or ``an`` before a word that is spelt as it sounds."""
    return ("an " if words[0] in "aeiou" else "a ") + words


def is_are(concept: Concept) -> str:
    """``is``, or ``are`` for a name that is a plural itself (``glasses``)."""
    return "is" if concept.en_article else "are"


def _both(concept: Concept, n: int = 1) -> tuple[str, ...]:
    """Spellings accepted beside `counted`."""
    return (concept.en, f"the {concept.en}") if n == 1 else (concept.en_plural,)


def _things(n: int) -> str:
    return "one thing" if n == 1 else f"{NUMBERS[n]} things"


# Whole pictures.


def captions(scene: Scene) -> tuple[str, ...]:
    """True captions of a scene in three styles, the canonical one first."""
    found = groups(scene)
    placed = joined(
        [
            f"{counted(g.concept, g.count)} {at(g.members[0].place)}"
            if g.count == 1
            else counted(g.concept, g.count)
            for g in found
        ]
    )
    short = listed(scene)
    tone = colour(scene.canvas)
    return (
        f"{placed} on {a(tone)} background",
        f"{placed}; the background is {tone}",
        f"{a(tone)} picture with {short}",
    )


def listed(scene: Scene) -> str:
    """``a dog and two apples``."""
    return joined([counted(g.concept, g.count) for g in groups(scene)])


def ask_caption(rng: random.Random) -> str:
    """Asks for a caption."""
    return pick(
        rng, "describe the picture.", "write a short caption.", "what does the picture show?"
    )


def detail(scene: Scene, rng: random.Random) -> QA:
    """A description in two or three sentences."""
    found = groups(scene)
    tone, things = a(colour(scene.canvas)), _things(len(scene.objects))
    sentences = [f"the picture has {tone} background and {things}."]
    parts = []
    for g in found:
        verb = is_are(g.concept) if g.count == 1 else "are"
        where = joined([at(p.place) for p in g.members])
        parts.append(f"{counted(g.concept, g.count)} {verb} {where}")
    sentences.append(", and ".join(parts) + ".")
    single = [g for g in found if g.count == 1][:2]
    if single:
        sizes = [f"the {g.concept.en} {is_are(g.concept)} {g.members[0].size}" for g in single]
        sentences.append(joined(sizes) + ".")
    question = pick(
        rng, "describe the picture in detail.", "tell me everything you see in the picture."
    )
    return QA(question, " ".join(sentences))


# Single questions.


def what(place: str, concept: Concept, rng: random.Random) -> QA:
    """What is at a place."""
    question = pick(rng, f"what is {at(place)}?", f"what can you see {at(place)}?")
    return QA(question, counted(concept), _both(concept))


def where(ref: Referent, rng: random.Random) -> QA:
    """Where a thing is."""
    name, be = the(ref), is_are(ref.placed.concept)
    question = pick(rng, f"where {be} {name}?", f"in which part of the picture {be} {name}?")
    place = ref.placed.place
    return QA(question, place_name(place), (at(place), f"the {place_name(place)}"))


def how_many(concept: Concept, n: int, rng: random.Random) -> QA:
    """How many of one kind."""
    many = concept.en_plural
    question = pick(rng, f"how many {many} are there?", f"how many {many} can you see?")
    return QA(question, NUMBERS[n], (str(n), counted(concept, n)))


def how_many_in_all(n: int, rng: random.Random) -> QA:
    """How many things altogether."""
    question = pick(
        rng, "how many things are there in the picture?", "how many things are there in all?"
    )
    return QA(question, NUMBERS[n], (str(n), _things(n)))


def background(key: str, rng: random.Random) -> QA:
    """The colour of the canvas."""
    question = pick(rng, "what colour is the background?", "what is the colour of the background?")
    return QA(question, colour(key))


def present(concept: Concept, there: bool, rng: random.Random) -> QA:
    """Whether a kind is there."""
    name, be = counted(concept), is_are(concept)
    question = pick(rng, f"{be} there {name} in the picture?", f"can you see {name}?")
    return QA(question, YES if there else NO)


def food(place: str, concept: Concept, rng: random.Random) -> QA:
    """Whether the thing at a place is food."""
    where_ = at(place)
    question = pick(rng, f"is the thing {where_} food?", f"is there food {where_}?")
    return QA(question, YES if is_eaten(concept) else NO)


def ground(ref: Referent, rng: random.Random) -> QA:
    """The box of a thing."""
    name, be = the(ref), is_are(ref.placed.concept)
    question = pick(
        rng,
        f"where {be} {name}? give the box.",
        f"find {name} and give the box.",
        f"give the box of {name}.",
    )
    return QA(question, _BOX)


def region(concept: Concept, rng: random.Random) -> QA:
    """What a box holds."""
    question = pick(
        rng, f"what is in {_BOX}?", f"what is inside the box {_BOX}?", f"name the thing at {_BOX}."
    )
    return QA(question, counted(concept), _both(concept))


def choice(question: QA, options: tuple[str, ...], rng: random.Random) -> str:
    """The text of a multiple-choice question."""
    return pick(rng, "{q} {o}", "{q} choose one: {o}").format(
        q=question.question, o=lettered(options)
    )


def count_name(concept: Concept, n: int) -> str:
    """A number as an option of `how_many`."""
    del concept  # English numbers are the same for all things
    return NUMBERS[n]


# Follow-ups inside a conversation.


def size_of_it(size: str, rng: random.Random) -> QA:
    """The size of what was named last."""
    return QA(pick(rng, "is it large or small?", "is it small or large?"), size)


def and_background(key: str, rng: random.Random) -> QA:
    """The colour of the canvas, in passing."""
    question = pick(rng, "and what colour is the background?", "and the background colour?")
    return QA(question, colour(key))


def where_it(place: str, rng: random.Random) -> QA:
    """Where what was named last is."""
    return QA(pick(rng, "where is it?", "in which part of the picture is it?"), place_name(place))


def and_where(ref: Referent, rng: random.Random) -> QA:
    """Where another thing is."""
    return QA(
        pick(rng, f"and {the(ref)}?", f"and where is {the(ref)}?"), place_name(ref.placed.place)
    )


def box_of_it(rng: random.Random) -> QA:
    """The box of what was named last."""
    return QA(pick(rng, "give its box.", "what is its box?"), _BOX)


def and_how_many(concept: Concept, n: int, rng: random.Random) -> QA:
    """How many of another kind."""
    many = concept.en_plural
    question = pick(
        rng, f"and how many {many}?", f"what about the {many}?" if n > 1 else f"and {many}?"
    )
    return QA(question, NUMBERS[n])


def and_in_all(n: int, rng: random.Random) -> QA:
    """How many things altogether, in passing."""
    return QA(pick(rng, "and how many things in all?", "so how many things are there?"), NUMBERS[n])


# Reasons.


def reason_food(found: Sequence[Group], rng: random.Random) -> QA:
    """What one can eat, and why."""
    question = pick(
        rng, "what can you eat here, and why?", "what in this picture can you eat, and why?"
    )
    eaten = [g for g in found if is_eaten(g.concept)]
    if not eaten:
        return QA(question, "nothing, because there is no food")
    names = [
        f"the {g.concept.en}" if g.count == 1 else f"the {counted(g.concept, g.count)}"
        for g in eaten
    ]
    one = len(eaten) == 1 and eaten[0].count == 1 and eaten[0].concept.en_article
    return QA(question, f"{joined(names)}, because {'it is' if one else 'they are'} food")


def reason_more(first: Group, second: Group, rng: random.Random) -> QA:
    """Whether there are more of one kind than of another, and why."""
    more, fewer = first.concept.en_plural, second.concept.en_plural
    question = pick(
        rng,
        f"are there more {more} than {fewer}? why?",
        f"are there more {more} than {fewer}, and why?",
    )
    verdict = YES if first.count > second.count else NO
    be = is_are(first.concept) if first.count == 1 else "are"
    counts = [
        f"{NUMBERS[g.count]} {g.concept.en if g.count == 1 else g.concept.en_plural}"
        for g in (first, second)
    ]
    return QA(question, f"{verdict}, because there {be} {joined(counts)}")


def reason_odd(group: Group, others: str, rng: random.Random) -> QA:
    """Which kind does not belong, and why."""
    question = pick(
        rng,
        "which kind does not belong with the others, and why?",
        "which one is different, and why?",
    )
    name = group.concept.en if group.count == 1 else group.concept.en_plural
    return QA(question, f"the {name}, because the others are {CATEGORIES[others][0]}")


# Two pictures.


def this_picture(scene: Scene, rng: random.Random) -> QA:
    """What the picture just shown has in it."""
    return QA(pick(rng, "what is in this picture?", "what does this picture show?"), listed(scene))


def next_picture(scene: Scene, rng: random.Random) -> QA:
    """What the following picture has in it."""
    return QA(pick(rng, "and in this one?", "and what is in this one?"), listed(scene))


def which_picture(concept: Concept, index: int, rng: random.Random) -> QA:
    """Which of two pictures shows a kind."""
    name = counted(concept)
    question = pick(rng, f"which picture has {name}?", f"in which picture is there {name}?")
    answer = ("the first", "the second")[index]
    return QA(question, answer, (answer.split()[1], f"{answer} one", f"{answer} picture"))


def in_both(shared: Sequence[Concept], rng: random.Random) -> QA:
    """What two pictures have in common."""
    question = pick(rng, "what is in both pictures?", "what do both pictures have?")
    return QA(question, joined([c.en_plural for c in shared]) if shared else "nothing")


def both_backgrounds(first: str, second: str, rng: random.Random) -> QA:
    """Whether two backgrounds have one colour."""
    question = pick(
        rng, "and are the backgrounds the same colour?", "do they have the same background colour?"
    )
    if first == second:
        return QA(question, f"yes, both are {colour(first)}")
    return QA(question, f"no, the first is {colour(first)} and the second is {colour(second)}")
