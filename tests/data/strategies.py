"""Hypothesis strategies of records in both languages, valid by construction."""

from hypothesis import strategies as st

from zv_jax.data.records import record as R

WORDS = st.sampled_from(["a dog", "two red kites", "狗", "两只猫在草地上", "It's 5 p.m.", "“是”"])
TEXTS = st.lists(WORDS, min_size=1, max_size=4).map(" ".join)
SIDES = st.floats(0, 1, allow_nan=False)


@st.composite
def boxes(draw):
    x1, x2 = sorted(draw(st.lists(SIDES, min_size=2, max_size=2, unique=True)))
    y1, y2 = sorted(draw(st.lists(SIDES, min_size=2, max_size=2, unique=True)))
    return (x1, y1, x2, y2)


@st.composite
def records(draw):
    """A record with 0 to 3 images, objects mentioned in its turns, and all optional fields."""
    images = tuple(
        R.ImageRef(path=f"images/{draw(st.integers(0, 9))}.jpg", width=4, height=3)
        for _ in range(draw(st.integers(0, 3)))
    )
    objects = tuple(
        R.Object(draw(boxes()), draw(WORDS), draw(st.none() | SIDES), draw(st.none() | WORDS))
        for _ in range(draw(st.integers(0, 3)))
    )
    mention = st.sampled_from([f"<obj_{k}>" for k in range(len(objects))]) if objects else WORDS
    turns = []
    for _ in range(draw(st.integers(0, 3))):
        turns.append(R.Turn("user", draw(TEXTS) + draw(mention)))
        turns.append(R.Turn("assistant", draw(TEXTS | mention)))
    answers = draw(st.none() | st.lists(TEXTS, min_size=1, max_size=4).map(tuple))
    choices = draw(st.none() | st.lists(WORDS, min_size=2, max_size=5).map(tuple))
    return R.Record(
        id=f"s/train/{draw(st.integers(0, 10**9))}",
        source="s",
        split="train",
        task=draw(st.sampled_from(R.TASKS)),
        lang=draw(st.sampled_from(R.LANGS)),
        images=images,
        turns=tuple(turns),
        objects=objects,
        answers=answers,
        weights=answers and tuple(draw(SIDES) for _ in answers),
        choices=choices,
        answer_index=choices and draw(st.integers(0, len(choices) - 1)),
        translated_from=draw(st.sampled_from([None, "en"])),
        meta=draw(st.dictionaries(WORDS, st.integers() | WORDS, max_size=2)),
    )
