"""Checks that a resumed run is the run that was stopped; other differences need permission.

A checkpoint contains the configuration and the fingerprint of the data. Fields that only affect how
a run executes may change freely. Any other difference would change the result unnoticed, so it
stops the run with a list of both values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from zv_jax.checkpoints.reader import FORMAT
from zv_jax.config import Config
from zv_jax.config.build import BEFORE, RETIRED, of_checkpoint, to_dict
from zv_jax.config.fields import leaves, within
from zv_jax.errors import CheckpointError, ConfigError, nearest
from zv_jax.models.presets import ModelConfig

# How and where a run executes; paths are among them because content is compared by its hash.
MUTABLE_FIELDS = (
    "mesh",
    "eval",
    "checkpoint",
    "guards.max_skipped",
    "guards.hang_seconds",
    "train.log_every",
    "train.microbatches",
    "train.loss_chunks",
    "data.max_bad",
    "data.workers",
    "data.cache_images",
    "data.sources[*].path",
    "data.sources[*].image_root",
    "data.tokenizer.path",
    "data.qformer_tokenizer.path",
    "model.remat",
    *RETIRED,
)
ABSENT = "(absent)"
VERSION = "data.version"  # in the fingerprint: of the code that makes batches


class ConfigDiff(NamedTuple):
    """One field of the configuration or the data, in the checkpoint and now."""

    field: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.field}: {_short(self.before)} in the checkpoint, {_short(self.now)} now"


def fields_of(config: Mapping[str, Any], fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """All fields to compare, by name, with JSON values."""
    return {**leaves(dict(config)), **fingerprint}


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[ConfigDiff]:
    """Differences between two `fields_of`, except in `MUTABLE_FIELDS`.

    A field that is missing in the checkpoint was added to the program later; its default describes
    what the program did before.
    """
    defaults = leaves(to_dict(Config(model=ModelConfig())))
    found = []
    for field in dict.fromkeys((*before, *now)):
        default = defaults.get(re.sub(r"\[\d+\]", "[0]", field), ABSENT)
        old, new = before.get(field, default), now.get(field, ABSENT)
        if old != new and not any(within(field, section) for section in MUTABLE_FIELDS):
            found.append(ConfigDiff(field, old, new))
    return found


def check(
    meta: Mapping[str, Any], now: Mapping[str, Any], allowed: Sequence[str], where: str
) -> list[ConfigDiff]:
    """The differences between a checkpoint and `now`, if all of them are `allowed`.

    Args:
        meta: of the checkpoint.
        now: `fields_of` the configuration and the data.
        allowed: names of fields or sections.
        where: the workdir, for errors.

    Raises:
        ConfigError: `allowed` names an unknown field.
        CheckpointError: there are other differences; it lists them with both values.
    """
    if meta["format"] < FORMAT:
        raise CheckpointError(
            f"a checkpoint of format {meta['format']} cannot be continued",
            where=where,
            expected=f"format {FORMAT}",
            fix="start a new --workdir from its weights: --config.init_from=" + where,
        )
    before = fields_of(of_checkpoint(meta.get("config", {})), meta.get("fingerprint", {}))
    known = dict.fromkeys((*now, *before))
    for name in allowed:
        if not any(within(field, name) for field in known):
            raise ConfigError(
                f"there is no field {name!r}{nearest(name, known)}",
                where="--allow_change",
                expected="names of fields or sections, as optimizer.lr,data.sources",
                fix="zv config show --config FILE lists the fields of the configuration",
            )
    found = changes(before, now)
    refused = [c for c in found if not any(within(c.field, name) for name in allowed)]
    if refused:
        raise CheckpointError(
            f"this run was started differently: {len(refused)} "
            + ("field has changed" if len(refused) == 1 else "fields have changed"),
            where=where,
            expected="\n".join(["what its last checkpoint holds"] + [f"- {c}" for c in refused]),
            fix=_fix(refused, leaves(meta.get("config", {})), allowed),
        )
    return found


def _fix(refused: Sequence[ConfigDiff], stored: Mapping[str, Any], allowed: Sequence[str]) -> str:
    """How to fix changes; if `stored` lacks new fields, first how to keep the old behaviour."""
    names = dict.fromkeys(change.field for change in refused)
    fix = "undo the change, use a new --workdir, or say that it is meant: "
    fix += f"--allow_change={','.join(names)}"
    lacking = [c for c in refused if c.field in BEFORE and c.field not in stored]
    if not lacking:
        return fix
    same = [f"--config.{change.field}={change.before}" for change in lacking]
    meant = [*allowed, *(name for name in names if name == VERSION)]
    same += [f"--allow_change={','.join(meant)}"] if meant else []
    return f"keep the run what it was: {' '.join(same)}; or {fix}"


def _short(value: Any) -> str:
    text = repr(value)
    is_hash = isinstance(value, str) and len(value) == 64
    return text[:13] + "...'" if is_hash else text
