"""Samples scenes from a seed and keeps the splits apart. Pure: no drawing, no files, no words.

What is held out is decided by hashes of the facts alone, never by the seed, so that data sets
built with different seeds or sizes cannot contaminate each other:

* a *combination* (the set of concepts, two or more) belongs to exactly one split; so does the
  whole arrangement of a scene that shows a single concept (test, if it has a held-out triple);
* about 5 % of all (concept, canvas colour, place) *triples* occur in no train or val scene; a
  share of the test scenes has one.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence

from zv_jax.data.openmoji.scene import PLACE_KEYS, SIZE_KEYS, Concept, Placed, Scene
from zv_jax.errors import DataError, unknown_name

SPLITS: tuple[str, ...] = ("train", "val", "test")
SPLIT_SHARES: tuple[float, ...] = (0.8, 0.08, 0.12)
"""Shares of all combinations that belong to each split."""

PICTURES: dict[int, float] = {1: 0.3, 2: 0.35, 3: 0.2, 4: 0.15}
"""Share of scenes with 1, 2, 3, 4 pictures."""

GROUPS: dict[int, tuple[tuple[int, ...], ...]] = {
    1: ((1,),),
    2: ((1, 1), (1, 1), (2,)),
    3: ((1, 1, 1), (2, 1), (2, 1), (3,)),
    4: ((2, 2), (2, 1, 1), (3, 1)),
}
"""Ways to form groups of equal concepts; each scene picks one of its row evenly."""

SIZES: dict[str, float] = {"small": 0.24, "large": 0.32}
"""Longer side of a picture as a share of the canvas: below one third, a cell, so none overlap."""

HELD_OUT_TRIPLES = 0.05
TEST_SHARE_WITH_TRIPLE = 0.3
KINDS: tuple[str, ...] = ("seen", "new_combination", "new_arrangement", "held_out_triple")

_CELL = 1 / 3
_TRIES = 4000


def _fraction(*facts: str) -> float:
    """A number in 0..1 that depends on the facts only (equal on every machine and Python)."""
    digest = hashlib.sha256("\x1f".join(facts).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def combination(scene: Scene) -> frozenset[str]:
    """Keys of the concepts in the scene."""
    return frozenset(placed.concept.key for placed in scene.objects)


def arrangement(scene: Scene) -> tuple:
    """What is where on which colour, as a caption says it; sizes and jitter do not count."""
    facts = sorted((placed.place, placed.concept.key) for placed in scene.objects)
    return scene.canvas, tuple(facts)


def split_of(scene: Scene) -> str:
    """Returns the only split that scenes with these concepts (or with this look of one) are in."""
    keys = sorted(combination(scene))
    facts = ["combination", *keys]
    if len(keys) == 1:
        if has_held_out_triple(scene):
            return "test"
        facts = [
            "arrangement",
            *keys,
            scene.canvas,
            *sorted(placed.place for placed in scene.objects),
        ]
    where = _fraction(*facts)
    for split, share in zip(SPLITS, SPLIT_SHARES, strict=True):
        where -= share
        if where < 0:
            return split
    return SPLITS[-1]


def is_held_out(concept: str, canvas: str, place: str) -> bool:
    """Whether train never shows this concept on this colour at this place."""
    return _fraction("triple", concept, canvas, place) < HELD_OUT_TRIPLES


def has_held_out_triple(scene: Scene) -> bool:
    """Whether any picture of the scene is a held-out triple."""
    return any(
        is_held_out(placed.concept.key, scene.canvas, placed.place) for placed in scene.objects
    )


def kind(scene: Scene) -> str:
    """Names what is new in a scene to a model trained on the train split: one of `KINDS`."""
    if has_held_out_triple(scene):
        return "held_out_triple"
    if scene.split == "train":
        return "seen"
    return "new_combination" if len(combination(scene)) > 1 else "new_arrangement"


def _layout(
    rng: random.Random,
    scene_id: str,
    split: str,
    concepts: Sequence[Concept],
    colours: Sequence[str],
    groups: tuple[int, ...],
) -> Scene:
    """Chooses concepts, places, sizes and jitter for groups of these sizes; boxes are nominal."""
    members = [
        c for c, n in zip(rng.sample(concepts, len(groups)), groups, strict=True) for _ in range(n)
    ]
    cells = rng.sample(range(len(PLACE_KEYS)), len(members))
    objects = []
    for cell, concept in sorted(zip(cells, members, strict=True), key=lambda pair: pair[0]):
        size = rng.choice(SIZE_KEYS)
        side = SIZES[size]
        x = cell % 3 * _CELL + rng.random() * (_CELL - side)
        y = cell // 3 * _CELL + rng.random() * (_CELL - side)
        objects.append(Placed(concept, (x, y, x + side, y + side), PLACE_KEYS[cell], size))
    return Scene(scene_id, split, rng.choice(colours), tuple(objects))


def sample_scenes(
    split: str,
    count: int,
    seed: int,
    concepts: Sequence[Concept],
    colours: Sequence[str] | None = None,
) -> list[Scene]:
    """Samples the scenes of one split.

    Pure and deterministic; scene ``i`` does not depend on ``count``, so a smaller set is the
    beginning of a larger one.

    Args:
      split: one of `SPLITS`.
      count: number of scenes.
      seed: changes every scene, but not what is held out.
      concepts: what may be drawn; at least three.
      colours: canvas keys; by default all of ``concepts.COLOURS``.

    Returns:
      ``count`` scenes with ids ``"zv_openmoji/<split>/<index>"`` and nominal square boxes
      (`render.exact` makes them exact). Arrangements differ from each other within val and within
      test.

    Raises:
      DataError: an unknown split, or too few concepts for so many different scenes.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS, "zv_openmoji", error=DataError)
    if len({c.key for c in concepts}) < 3:
        raise DataError(
            f"{len(concepts)} concepts are too few",
            where="sample_scenes",
            expected="at least 3, with unique keys",
        )
    if colours is None:
        from zv_jax.data.openmoji.concepts import COLOURS

        colours = tuple(COLOURS)
    seen: set[tuple] = set()
    return [_sample(split, i, seed, concepts, colours, seen) for i in range(count)]


def _sample(
    split: str,
    index: int,
    seed: int,
    concepts: Sequence[Concept],
    colours: Sequence[str],
    seen: set[tuple],
) -> Scene:
    rng = random.Random(f"zv_openmoji/{seed}/{split}/{index}")
    # The number of pictures is fixed before anything can be rejected, so rejection does not bend
    # its shares.
    pictures = rng.choices(list(PICTURES), list(PICTURES.values()))[0]
    groups = rng.choice([g for g in GROUPS[pictures] if len(g) <= len(concepts)])
    wants_triple = split == "test" and rng.random() < TEST_SHARE_WITH_TRIPLE
    for _ in range(_TRIES):
        scene = _layout(rng, f"zv_openmoji/{split}/{index}", split, concepts, colours, groups)
        if split_of(scene) != split or has_held_out_triple(scene) != wants_triple:
            continue
        if split != "train":
            if arrangement(scene) in seen:
                continue
            seen.add(arrangement(scene))
        return scene
    raise DataError(
        f"No further {split} scene with {pictures} pictures exists after the first {index}",
        where="sample_scenes",
        expected=f"more concepts than {len(concepts)} for so many different scenes",
        fix="ask for fewer scenes or give more concepts",
    )
