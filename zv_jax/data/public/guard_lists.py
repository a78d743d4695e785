"""Makes the guard lists from local copies of the evaluation sets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from zv_jax.data.public import catalogue, guard
from zv_jax.data.readers import files
from zv_jax.errors import ConfigError


def collect(roots: Mapping[str, str | Path]) -> dict[str, dict[str, set[str]]]:
    """{space: {"<data set>/<split>": image ids}} of the guarded splits of each data set.

    `visual_genome` has no such split; where it is given, its images that are guarded as images
    of COCO are guarded under their own ids too, which also guards GQA and SVIT.

    Args:
      roots: {data set: folder of its files}.

    Raises:
      ConfigError: a data set has no split to guard. DataError: files are missing.
    """
    found: dict[str, dict[str, set[str]]] = {}
    for name, root in roots.items():
        card = catalogue.card(name)
        if not card.guarded and name != "visual_genome":
            raise ConfigError(
                f"{name} has no pictures to guard",
                where="zv data guard",
                expected="some of " + ", ".join(guarded_sets()),
                fix="leave it out",
            )
        for split in card.guarded:
            for record in catalogue.read(name, root, split):
                for space, key in guard.image_ids(record, card.space or name):
                    origin = f"{name}/{split}"
                    found.setdefault(space, {}).setdefault(origin, set()).add(key)
    if "visual_genome" in roots and "coco" in found:
        data = files.find(Path(roots["visual_genome"]), "image_data.json")
        own = {
            str(r["image_id"]): str(r["coco_id"])
            for r in files.json_items(data)
            if r.get("coco_id")
        }
        for origin, ids in found["coco"].items():
            shared = {image for image, coco in own.items() if coco in ids}
            if shared:
                found.setdefault("visual_genome", {})[origin] = shared
    return found


def guarded_sets() -> list[str]:
    """Data sets with splits whose images no training may see."""
    return [name for name in catalogue.names() if catalogue.card(name).guarded]
