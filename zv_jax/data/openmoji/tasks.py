"""Turns a scene into records of every task, in one language.

`facts` says what may be asked, `sentences_en` and `sentences_zh` say it; here the two meet. What is
asked follows from the scene alone, so that both languages ask the same; how it is worded follows
from ``rng``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

from zv_jax.data.openmoji import facts, sentences_en, sentences_zh
from zv_jax.data.openmoji.concepts import COLOURS, PLACES
from zv_jax.data.openmoji.scene import PLACE_KEYS, Concept, Placed, Scene
from zv_jax.data.openmoji.wording import IMAGE, QA
from zv_jax.data.records.record import ImageRef, Object, Record, Turn
from zv_jax.errors import DataError, unknown_name

LANGS: dict[str, ModuleType] = {"en": sentences_en, "zh": sentences_zh}
SOURCE = "zv_openmoji"
CAPTION_STYLES = (2.0, 1.0, 1.0)
"""Weights of the caption styles in training; the canonical one comes first."""

Story = Sequence[tuple[Scene, ImageRef]]


class _Writer:
    """Writes the records of one scene in one language."""

    def __init__(self, scene: Scene, image: ImageRef, lang: str, words: random.Random):
        self.scene, self.image, self.lang, self.words = scene, image, lang, words
        self.say = LANGS[lang]
        # Not from the caller's generator: both languages must choose the same facts.
        self.choose = random.Random(f"{scene.id}/{scene.canvas}/{[p.box for p in scene.objects]}")
        self.groups = facts.groups(scene)
        self.referents = facts.referents(scene)
        self.clear = facts.clear_places(scene)

    def record(
        self,
        task: str,
        kind: str,
        dialogue: Sequence[QA],
        shown: Sequence[Placed] = (),
        about: Sequence[Concept] = (),
        asked: Sequence[Placed] | None = None,
        **fields: Any,
    ) -> Record:
        """Makes a record; the first question gets an image placeholder unless it has one.

        `asked` are the pictures that the answers follow from, None where it is the whole scene.
        """
        turns = []
        for i, said in enumerate(dialogue):
            missing = IMAGE if i == 0 and not said.question.startswith(IMAGE) else ""
            for role, text in (("user", missing + said.question), ("assistant", said.answer)):
                turns.append(Turn(role, text, ((0,),) if "<obj_0>" in text else ()))
        last = dialogue[-1]
        answers = fields.pop("answers", (last.answer, *last.variants))
        # Variants are accepted, never taught.
        sure = (1.0,) + (0.0,) * (len(answers) - 1) if len(answers) > 1 else None
        weights = fields.pop("weights", sure)
        scenes = fields.pop("scenes", (self.scene,))
        return Record(
            id=f"{self.scene.id}#{self.lang}-{task}-{kind}",
            source=SOURCE,
            split=self.scene.split,
            task=task,
            lang=self.lang,
            images=fields.pop("images", (self.image,)),
            turns=tuple(turns),
            objects=tuple(self._object(p) for p in shown),
            answers=answers,
            weights=weights,
            meta={
                "question_type": kind.split("-")[0],
                "about": [c.key for c in about],
                "views": [self.view(scene, asked) for scene in scenes],
            },
            **fields,
        )

    def view(self, scene: Scene, asked: Sequence[Placed] | None) -> dict[str, Any]:
        """The scene in symbols: what is where, row by row (the paper's captions and boxes).

        In the words of all languages, since a picture has none of its own. `asked` in it are the
        indices of the objects that were asked about, None for all.
        """
        ordered = sorted(scene.objects, key=lambda p: PLACE_KEYS.index(p.place))
        return {
            "background": " ".join(say.colour(scene.canvas) for say in LANGS.values()),
            "objects": [[_named(p), list(p.box)] for p in ordered],
            "asked": None if asked is None else [i for i, p in enumerate(ordered) if p in asked],
        }

    def _object(self, placed: Placed) -> Object:
        label = placed.concept.zh if self.lang == "zh" else placed.concept.en
        return Object(placed.box, label, tag_zh=placed.concept.zh)

    def pictures(self) -> Iterator[Record]:
        """Caption and detailed description."""
        captions = self.say.captions(self.scene)
        style = self.words.choices(range(3), CAPTION_STYLES)[0]
        about = [g.concept for g in self.groups]
        said = QA(self.say.ask_caption(self.words), captions[style])
        yield self.record(
            "caption", "caption", [said], about=about, answers=captions, weights=CAPTION_STYLES
        )
        yield self.record(
            "detail", "detail", [self.say.detail(self.scene, self.words)], about=about
        )

    def questions(self) -> Iterator[Record]:
        """Short questions with one right answer each."""
        say, words = self.say, self.words

        def vqa(kind: str, said: QA, *asked: Placed, about: Sequence[Concept] = ()) -> Record:
            about = about or [p.concept for p in asked[:1]]
            return self.record("vqa", kind, [said], about=about, asked=asked)

        if self.clear:
            placed = self.choose.choice(self.clear)
            yield vqa("what", say.what(placed.place, placed.concept, words), placed)
        if self.referents:
            ref = self.choose.choice(self.referents)
            yield vqa("where", say.where(ref, words), ref.placed)
        group = self.some_group()
        yield vqa("how_many", say.how_many(group.concept, group.count, words), *group.members)
        in_all = say.how_many_in_all(len(self.scene.objects), words)
        yield self.record("vqa", "how_many_in_all", [in_all])
        yield vqa("colour", say.background(self.scene.canvas, words))
        there = self.choose.choice(self.groups)
        absent = facts.distractors(self.scene, self.choose, 1, like=there.concept)[0]
        yield vqa("yes_no-yes", say.present(there.concept, True, words), *there.members)
        yield vqa("yes_no-no", say.present(absent, False, words), about=[absent])
        yield from (
            vqa(kind, say.food(p.place, p.concept, words), p) for kind, p in self.food_pair()
        )

    def some_group(self) -> facts.Group:
        """A group to count: mostly one of several pictures where there is one."""
        several = [g for g in self.groups if g.count > 1]
        return self.choose.choice(
            several if several and self.choose.random() < 0.75 else self.groups
        )

    def food_pair(self) -> Iterator[tuple[str, Placed]]:
        """One picture that is food and one that is not, or none: yes and no stay balanced."""
        asked = [p for p in self.clear if p.concept.category != "drink"]
        eaten = [p for p in asked if facts.is_eaten(p.concept)]
        other = [p for p in asked if not facts.is_eaten(p.concept)]
        if eaten and other:
            yield "food-yes", self.choose.choice(eaten)
            yield "food-no", self.choose.choice(other)

    def boxes(self) -> Iterator[Record]:
        """Words to box, for everything that words can tell apart, and box to words."""
        for number, ref in enumerate(self.referents):
            said, placed = self.say.ground(ref, self.words), ref.placed
            yield self._of_one("ref_ground", f"ground-{number}", said, placed)
        for number, placed in enumerate(self.scene.objects):
            said = self.say.region(placed.concept, self.words)
            yield self._of_one("ref_caption", f"region-{number}", said, placed)

    def _of_one(self, task: str, kind: str, said: QA, placed: Placed) -> Record:
        return self.record(task, kind, [said], [placed], [placed.concept], asked=[placed])

    def multiple_choice(self) -> Record:
        """One question with three options."""
        say, words, choose = self.say, self.words, self.choose
        kinds: list[str] = ["colour", "how_many"]
        kinds += ["what"] if self.clear else []
        kinds += ["where"] if self.referents else []
        kind = choose.choice(kinds)
        about: list[Concept] = []
        asked: Sequence[Placed] = ()
        if kind == "colour":
            said = say.background(self.scene.canvas, words)
            wrong = choose.sample([c for c in COLOURS if c != self.scene.canvas], 2)
            others = [say.colour(c) for c in wrong]
        elif kind == "how_many":
            group = self.some_group()
            said, about = say.how_many(group.concept, group.count, words), [group.concept]
            asked = group.members
            wrong = choose.sample([n for n in range(1, 5) if n != group.count], 2)
            others = [say.count_name(group.concept, n) for n in wrong]
        elif kind == "what":
            placed = choose.choice(self.clear)
            said, about = say.what(placed.place, placed.concept, words), [placed.concept]
            asked = [placed]
            others = [
                say.counted(c) for c in facts.distractors(self.scene, choose, 2, placed.concept)
            ]
        else:
            ref = choose.choice(self.referents)
            said, about = say.where(ref, words), [ref.placed.concept]
            asked = [ref.placed]
            wrong = choose.sample([p for p in PLACES if p != ref.placed.place], 2)
            others = [say.place_name(p) for p in wrong]
        index = choose.randrange(3)
        options = (*others[:index], said.answer, *others[index:])
        letter = "abc"[index]
        offered = QA(
            say.choice(said, options, words),
            said.answer,
            (f"({letter})", letter, f"({letter}) {said.answer}", *said.variants),
        )
        return self.record(
            "mc_vqa",
            f"mc_{kind}",
            [offered],
            about=about,
            asked=asked,
            choices=options,
            answer_index=index,
        )

    def conversation(self) -> Record | None:
        """Three turns; the second and third lean on the words before them."""
        say, words, choose = self.say, self.words, self.choose
        # English pronouns are singular, so names that are plurals stay out.
        single = [r for r in self.referents if r.size is None and r.placed.concept.en_article]
        clear = [p for p in self.clear if p.concept.en_article]
        flows: list[Callable[[], tuple[str, list[QA], list[Placed]]]] = []

        def look() -> tuple[str, list[QA], list[Placed]]:
            placed = choose.choice(clear)
            first = say.what(placed.place, placed.concept, words)
            rest = [
                say.size_of_it(placed.size, words),
                say.and_background(self.scene.canvas, words),
            ]
            return "look", [first, *rest], [placed]

        def find() -> tuple[str, list[QA], list[Placed]]:
            ref = choose.choice(single)
            others = [r for r in single if r is not ref]
            first = say.present(ref.placed.concept, True, words)
            second = say.where_it(ref.placed.place, words)
            if others and choose.random() < 0.5:
                return (
                    "find",
                    [first, second, say.and_where(choose.choice(others), words)],
                    [ref.placed],
                )
            return "find_box", [first, second, say.box_of_it(words)], [ref.placed]

        def count() -> tuple[str, list[QA], list[Placed]]:
            one, two = choose.sample(self.groups, 2)
            first = say.how_many(one.concept, one.count, words)
            second = say.and_how_many(two.concept, two.count, words)
            third = say.and_in_all(len(self.scene.objects), words)
            return "count", [first, second, third], [one.members[0]]

        flows += [look] if clear else []
        flows += [find] if single else []
        flows += [count] if len(self.groups) > 1 else []
        if not flows:
            return None
        kind, dialogue, about = choose.choice(flows)()
        shown = about if any("<obj_0>" in said.answer for said in dialogue) else []
        return self.record("conversation", kind, dialogue, shown, [p.concept for p in about])

    def reason(self) -> Record | None:
        """A question with its reason; those mostly answered by "no" are asked less often."""
        say, words, choose = self.say, self.words, self.choose
        drinks = any(g.concept.category == "drink" for g in self.groups)
        fed = any(facts.is_eaten(g.concept) for g in self.groups)
        kinds = ["eat"] if not drinks and (fed or choose.random() < 0.3) else []
        pairs = [(a, b) for a in self.groups for b in self.groups if a is not b]
        if choose.random() < 0.8:
            pairs = [(a, b) for a, b in pairs if a.count != b.count]
        kinds += ["more"] if pairs else []
        odd = facts.odd_one(self.groups)
        kinds += ["odd"] * 2 if odd else []
        if not kinds:
            return None
        kind = choose.choice(kinds)
        if kind == "eat":
            said = say.reason_food(self.groups, words)
        elif kind == "more":
            said = say.reason_more(*choose.choice(pairs), words)
        else:
            said = say.reason_odd(*odd, words)
        return self.record("reason", kind, [said], about=[g.concept for g in self.groups])

    def shares_with(self, other: Scene) -> bool:
        """Whether another scene has the background or a concept of this one."""
        mine = {g.concept.key for g in self.groups}
        return other.canvas == self.scene.canvas or any(
            p.concept.key in mine for p in other.objects
        )

    def story(self, others: Story) -> Record:
        """Three turns about this picture and another one, shown together or one after the other."""
        say, words, choose = self.say, self.words, self.choose
        alike = [pair for pair in others if self.shares_with(pair[0])]
        partner = choose.choice(alike if alike and choose.random() < 0.5 else others)
        pair = [(self.scene, self.image), partner]
        choose.shuffle(pair)
        scenes = [scene for scene, _ in pair]
        inside = [{p.concept.key: p.concept for p in scene.objects} for scene in scenes]
        shared = [c for key, c in inside[0].items() if key in inside[1]]
        # For each picture the concepts that only it has.
        only = [[c for k, c in inside[i].items() if k not in inside[1 - i]] for i in (0, 1)]
        order = choose.sample((0, 1), 2)
        which = [say.which_picture(choose.choice(only[i]), i, words) for i in order if only[i]]
        backgrounds = say.both_backgrounds(scenes[0].canvas, scenes[1].canvas, words)
        if choose.random() < 0.5:
            kind = "story_together"
            if shared or len(which) < 2 or choose.random() < 0.1:
                which = [*which[:1], say.in_both(shared, words)]
            dialogue = [*which, backgrounds]
            dialogue[0] = _showing(dialogue[0], 2)
        else:
            kind = "story_in_turn"
            first, second = say.this_picture(scenes[0], words), say.next_picture(scenes[1], words)
            dialogue = [_showing(first), _showing(second), *(which[:1] or [backgrounds])]
        about = [*inside[0].values(), *inside[1].values()]
        images = tuple(image for _, image in pair)
        return self.record(
            "conversation", kind, dialogue, about=about, images=images, scenes=scenes
        )


def _named(placed: Placed) -> str:
    """Where a picture is and what it shows, in all languages."""
    english, chinese = (say.place_name(placed.place) for say in (LANGS["en"], LANGS["zh"]))
    return f"{english} {placed.concept.en} {chinese} {placed.concept.zh}"


def _showing(said: QA, images: int = 1) -> QA:
    """Introduces pictures with a question."""
    return QA(IMAGE * images + said.question, said.answer, said.variants)


def scene_records(
    scene: Scene,
    image: ImageRef,
    lang: str,
    rng: random.Random,
    others: Story = (),
) -> list[Record]:
    """Writes the records of one scene in one language.

    Every text is true of the scene. The first of `Record.answers` is the text of the last assistant
    turn (for captions: the canonical style); further answers are other spellings, with weight 0 so
    that they are accepted but never taught (for captions: the other styles).
    `Record.objects` holds the one picture that ``<obj_0>`` stands for, if any.

    Args:
      scene: with exact boxes and at least one picture.
      image: where its picture is.
      lang: ``"en"`` or ``"zh"``.
      rng: decides the wording. The facts follow from the scene, so both languages ask the same.
      others: scenes with their pictures for a dialogue about two pictures; none leaves it out.

    Returns:
      Records of the tasks caption, detail, vqa, ref_ground, ref_caption, mc_vqa, conversation and
      reason, with ``meta["question_type"]`` and, in ``meta["about"]``, the keys of the concepts
      asked about, and in ``meta["views"]`` each picture in symbols.

    Raises:
      DataError: an unknown language or an empty scene.
    """
    if lang not in LANGS:
        raise unknown_name("language", lang, LANGS, scene.id, error=DataError)
    if not scene.objects:
        raise DataError(
            "A scene without pictures has nothing to say",
            where=scene.id,
            expected="one picture or more",
        )
    writer = _Writer(scene, image, lang, rng)
    made = [
        *writer.pictures(),
        *writer.questions(),
        *writer.boxes(),
        writer.multiple_choice(),
        writer.reason(),
    ]
    made.append(writer.conversation())
    if others:
        made.append(writer.story(others))
    return [record for record in made if record is not None]
