"""Serves the scenes through TensorFlow Datasets, without TensorFlow: import this module, then

    tfds.data_source("zv_openmoji", split="test")            # or "zv_openmoji/all"

Row ``i`` of a split is scene ``i``, so ``ImageRef.shard_key = "zv_openmoji/<split>/<i>"`` is a
random-access address.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from etils import epath

from zv_jax.data.openmoji import concepts as concepts_lib
from zv_jax.data.openmoji import render, scenes, tasks
from zv_jax.data.openmoji.scene import Concept, Scene
from zv_jax.data.records import record as records_lib
from zv_jax.data.records.record import ImageRef, Record

LANGS: tuple[str, ...] = ("en", "zh")
OTHERS = 3  # scenes of the same split offered to multi-image stories

ATTRIBUTION = """\
# Attribution

The pictures of this data set are composed from **OpenMoji**, the open-source emoji and icon project
(https://openmoji.org), and are therefore under **CC BY-SA 4.0**
(https://creativecommons.org/licenses/by-sa/4.0/): you may share and adapt them if you name
OpenMoji and keep this licence. Changes made: drawings were scaled, cropped to their visible pixels
and placed on coloured canvases.

The names of the emoji come from the zv_jax concept list or, for the full set, from the `emoji`
package (BSD licence; short names of the Unicode CLDR). The sentences are composed by zv_jax
(Apache-2.0).
"""


@functools.cache
def drawable_concepts(which: str) -> tuple[Concept, ...]:
    """Returns the ``"everyday"`` or ``"all"`` concepts that have a picture."""
    return render.drawable(concepts_lib.load_concepts(which))


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything the data set depends on. Equal recipes give equal bytes."""

    concepts: str = "everyday"
    seed: int = 0
    train: int = 8000
    val: int = 300
    test: int = 300
    canvas: int = 128

    @property
    def name(self) -> str:
        """``everyday`` or ``all`` for the standard recipes, with a short hash behind it for any
        other."""
        if self in STANDARD.values():
            return self.concepts
        return f"{self.concepts}_{hashlib.sha256(repr(self).encode()).hexdigest()[:10]}"

    def counts(self) -> dict[str, int]:
        """Number of scenes per split."""
        return {split: getattr(self, split) for split in scenes.SPLITS}


STANDARD: dict[str, Recipe] = {
    "everyday": Recipe(),
    "all": Recipe(concepts="all", train=40000, val=1000, test=1000),
}


def reference(scene: Scene, canvas: int) -> ImageRef:
    """The address of a scene's picture."""
    return ImageRef(shard_key=scene.id, width=canvas, height=canvas)


def records_of(
    index: int, drawn: Sequence[Scene], canvas: int, seed: int, langs: Sequence[str] = LANGS
) -> list[Record]:
    """All records of one scene in every language, with ``scenes.kind`` in their meta.

    Args:
      index: which scene.
      drawn: all scenes of the split with exact boxes; a few others are offered to stories about
        several pictures.
      canvas: side of the pictures in pixels.
      seed: with the scene's id it decides wording and companions; both languages get the same
        companions.
      langs: languages, in order.
    """
    scene = drawn[index]
    rng = random.Random(f"zv_openmoji/others/{seed}/{scene.id}")
    picks = rng.sample(range(len(drawn)), min(OTHERS + 1, len(drawn)))
    others = [(drawn[i], reference(drawn[i], canvas)) for i in picks if i != index][:OTHERS]
    out: list[Record] = []
    for lang in langs:
        words = random.Random(f"zv_openmoji/words/{seed}/{scene.id}/{lang}")
        out.extend(tasks.scene_records(scene, reference(scene, canvas), lang, words, others))
    facts = {"scene_kind": scenes.kind(scene)}
    return [dataclasses.replace(record, meta={**record.meta, **facts}) for record in out]


def generate(recipe: Recipe, split: str) -> Iterator[dict[str, Any]]:
    """Yields the rows of one split in scene order.

    A row is ``{"id", "image": PNG bytes, "records": one JSON line each, "kind"}``.
    """
    concepts = drawable_concepts(recipe.concepts)
    nominal = scenes.sample_scenes(split, recipe.counts()[split], recipe.seed, concepts)
    drawn = [render.exact(scene, recipe.canvas) for scene in nominal]
    colours = {key: value[0] for key, value in concepts_lib.COLOURS.items()}
    for i, scene in enumerate(nominal):
        lines = [records_lib.dumps(r) for r in records_of(i, drawn, recipe.canvas, recipe.seed)]
        yield {
            "id": scene.id,
            "image": render.png_bytes(render.compose(scene, recipe.canvas, colours)),
            "records": "\n".join(lines),
            "kind": scenes.kind(scene),
        }


@dataclasses.dataclass
class ZvOpenmojiConfig(tfds.core.BuilderConfig):
    """A recipe as TFDS configuration."""

    recipe: Recipe = dataclasses.field(default_factory=Recipe)


def config_of(recipe: Recipe) -> ZvOpenmojiConfig:
    """Returns the registered config of a standard recipe, or a new one."""
    for config in ZvOpenmoji.BUILDER_CONFIGS:
        if config.recipe == recipe:
            return config
    return ZvOpenmojiConfig(
        name=recipe.name, description=f"OpenMoji scenes: {recipe}", recipe=recipe
    )


class ZvOpenmoji(tfds.core.GeneratorBasedBuilder):
    """Bilingual scenes composed from OpenMoji pictures, with exact boxes and facts."""

    # TFDS would look for its file with a package it does not declare.
    code_path = epath.Path(__file__)
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First version."}
    BUILDER_CONFIGS: ClassVar[list[ZvOpenmojiConfig]] = [
        ZvOpenmojiConfig(name=name, description=f"OpenMoji scenes, {name} concepts", recipe=recipe)
        for name, recipe in STANDARD.items()
    ]

    def __init__(self, *, on_row: Callable[[], None] | None = None, **kwargs: Any):
        # Without TensorFlow only array_record can be written, so it is what one gets unless one
        # asks.
        kwargs.setdefault("file_format", "array_record")
        self._on_row = on_row  # called after each row, for a progress bar over all splits
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        side = self.builder_config.recipe.canvas
        return self.dataset_info_from_configs(
            description="Scenes of OpenMoji pictures with records in English and Chinese.",
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(),
                    "image": tfds.features.Image(shape=(side, side, 3), encoding_format="png"),
                    "records": tfds.features.Text(doc="JSON lines, one record each"),
                    "kind": tfds.features.Text(
                        doc="what is new in the scene to a model trained on train"
                    ),
                }
            ),
            homepage="https://openmoji.org",
            citation="OpenMoji, https://openmoji.org, CC BY-SA 4.0",
            license=ATTRIBUTION,
            # Shuffled rows would break the addresses; training shuffles by index anyway.
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager  # nothing is downloaded
        render.require_packages()
        return {split: self._generate_examples(split) for split in scenes.SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        for i, row in enumerate(generate(self.builder_config.recipe, split)):
            yield i, {**row, "image": io.BytesIO(row["image"])}
            if self._on_row is not None:
                self._on_row()
