"""The ViT of a LAVIS checkpoint from a file of its own, such as eva_vit_g.pth.

LAVIS freezes the ViT and leaves it out of what it saves; the file it fetched the ViT from has the
same names without their prefix, and more: the blocks and the head behind what BLIP-2 uses.
"""

from __future__ import annotations

import re
from dataclasses import replace

from zv_jax.config import Config
from zv_jax.convert.lavis_names import VISION
from zv_jax.convert.names import Family
from zv_jax.convert.sources import Renamed, Source, open_source, together
from zv_jax.errors import ConversionError

_TABLES = (f"{VISION}pos_embed", f"{VISION}positional_embedding")  # of EVA and of CLIP
_NORM = "ln_vision.weight"  # which is trained, so it is always in the checkpoint itself


def join(source: Source, place: str) -> Source:
    """`source` and the ViT at `place`: a file of a ViT alone, or one of LAVIS that holds it.

    Raises:
        ConversionError: `source` has a ViT, `place` has none, or one of another width.
        SetupError: torch is not installed.
    """
    if any(name.startswith(VISION) for name in source.specs):
        raise ConversionError(
            "this checkpoint has a ViT of its own",
            where=f"--vision={place}",
            expected=f"a checkpoint without {VISION}*",
            fix="leave --vision out",
        )
    weights = open_source(place)
    inside = any(name.startswith(VISION) for name in weights.specs)
    weights = Renamed(weights, _own if inside else lambda name: VISION + name)
    tables = [weights.specs[name] for name in _TABLES if name in weights.specs]
    if not tables:
        raise ConversionError(
            "there is no ViT in this file",
            where=f"--vision={place}",
            expected="tensor pos_embed (EVA) or positional_embedding (CLIP)",
            fix="give eva_vit_g.pth or clip_vit_L.pth, or a file of LAVIS that holds its ViT",
        )
    width = tables[0].shape[-1:]
    norm = source.specs.get(_NORM)
    if norm is not None and norm.shape != width:
        wide, read = (", ".join(map(str, shape)) for shape in (width, norm.shape))
        raise ConversionError(
            f"this ViT is {wide} wide, and the checkpoint reads features of {read}",
            where=f"--vision={place}",
            expected="the ViT that the checkpoint was trained with",
            fix="EVA ViT-g (eva_vit_g.pth) is 1408 wide, CLIP ViT-L (clip_vit_L.pth) 1024",
        )
    return together(source, weights)


def _own(name: str) -> str | None:
    return name if name.startswith(VISION) else None


def as_deep(config: Config, layers: int) -> Config:
    """`config` with a ViT of so many blocks.

    BLIP-2 reads the features before the last block (Li et al. 2023, section 3.4), so the file of
    the ViT has one more than the model.
    """
    model = config.model
    return replace(config, model=replace(model, vision=replace(model.vision, layers=layers)))


def with_rest(family: Family, layers: int) -> Family:
    """The table that also knows what follows the blocks in the file of a ViT: none of it is used.

    Args:
        layers: blocks that the model has.
    """
    used = "|".join(map(str, range(layers)))
    rest = (rf"(transformer\.res)?blocks\.(?!({used})\.)\d+\..*", r"(norm|fc_norm|head)\..*")
    rest += (r"ln_post\..*", "proj")
    return replace(family, derived=(*family.derived, *(re.escape(VISION) + r for r in rest)))
