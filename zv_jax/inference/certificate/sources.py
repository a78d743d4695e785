"""The two models of a certificate: the export as it is, and what it should be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax

from zv_jax import casts
from zv_jax.convert import architectures, export, formats, names, peft
from zv_jax.convert.architectures import BLIP2, INSTRUCT_BLIP
from zv_jax.convert.own_checkpoint import OwnCheckpoint
from zv_jax.convert.sources import Spec
from zv_jax.errors import ConversionError
from zv_jax.models.presets import LoraConfig

_OTHER = "give the checkpoint that was exported: --checkpoint=CKPT"


def class_of(out: str | Path) -> architectures.Architecture:
    """The class that the export `out` names.

    Raises:
        ConversionError: it is no export of Base or Chat.
    """
    path = Path(out) / "config.json"
    found = architectures.read_architecture(architectures.read_json(path), str(path))
    if found not in (INSTRUCT_BLIP, BLIP2):
        raise ConversionError(
            f"{found.name} gets no certificate",
            where=str(path),
            expected=f"an export of Base or Chat: {BLIP2.name} or {INSTRUCT_BLIP.name}",
            fix="compare two forms of the model: zv convert verify A B",
        )
    return found


def exported(out: str | Path, adapter: str | Path | None) -> OwnCheckpoint:
    """The export, with the adapter beside it if there is one.

    Raises:
        ConversionError, DataError: one of them cannot be read.
    """
    found = formats.open_any(out)
    return found if adapter is None else peft.open_peft(adapter, found)


def expected(checkpoint: str | Path, found: OwnCheckpoint) -> tuple[OwnCheckpoint, frozenset[str]]:
    """What `zv convert to-hf` makes of `checkpoint`, in memory: each weight rounded as in `found`.

    Adapters are merged, unless `found` has some.

    Returns:
        It, and the paths of the kernels that adapters were merged into.

    Raises:
        CheckpointError, ConversionError: it cannot be read, or is no model of the same class.
    """
    own = formats.open_any(checkpoint)
    architecture = architectures.write_architecture(own.config)
    theirs = architectures.write_architecture(found.config)
    if architecture is not theirs:
        raise ConversionError(
            f"the checkpoint is exported as {architecture.name}",
            where=str(checkpoint),
            expected=f"the checkpoint of the export, which is {theirs.name}",
            fix=_OTHER,
        )
    beside = bool(found.adapters)
    if beside and not own.adapters:
        raise ConversionError(
            "the checkpoint has no adapters", str(checkpoint), "those of --adapter", _OTHER
        )
    vision = found.config.model.vision
    options = export.Options(merge_lora=not beside, image_size=vision.image_size)
    plain = export.as_written(own, options)
    known = {f"params/{path}" for path in names.paths(architecture.family.entries)}
    specs = {path: spec for path, spec in plain.specs.items() if path in known}
    for path, spec in specs.items():
        if path in found.specs and spec.shape != found.specs[path].shape:
            raise ConversionError(
                f"the leaf {path!r} is {spec.shape} in the checkpoint",
                where=str(checkpoint),
                expected=f"{found.specs[path].shape}, as in {found.where}",
                fix=_OTHER,
            )
    lora = {path: spec for path, spec in own.specs.items() if path.startswith("lora/") and beside}
    model = plain.config.model
    config = replace(
        plain.config,
        stage=replace(plain.config.stage, name=found.config.stage.name),
        model=model if beside else replace(model, lora=LoraConfig()),
    )

    def read(wanted: Mapping[str, Spec]) -> dict[str, Any]:
        values = plain.read({path: specs[path] for path in wanted if path in specs})
        values |= own.read({path: lora[path] for path in wanted if path in lora})
        return {path: _rounded(values[path], path, spec) for path, spec in wanted.items()}

    def _rounded(value: Any, path: str, spec: Spec) -> Any:
        stored = found.specs[path].dtype if path in found.specs else value.dtype
        value = casts.cast(casts.cast(value, stored, path, own.where), spec.dtype, path, own.where)
        return value if spec.sharding is None else jax.device_put(value, spec.sharding)

    merged = frozenset() if beside else frozenset(own.adapters)
    return replace(plain, config=config, specs={**specs, **lora}, read=read), merged
