"""LoRA adapters as PEFT stores them: adapter_config.json and adapter_model.safetensors.

Names follow from the table of the class that the base model is exported as: the adapter of the
linear layer with the tensor `X.weight` is `base_model.model.X.lora_A.weight` and `.lora_B.weight`.
Source: Hu et al. 2021; huggingface/peft, utils/save_and_load.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from zv_jax import casts
from zv_jax.config import Config
from zv_jax.config.build import to_dict, validate
from zv_jax.config.checks import MAX_SIZE
from zv_jax.convert import shards, stream, workdir
from zv_jax.convert.architectures import INSTRUCT_BLIP, read_json
from zv_jax.convert.names import LINEAR, Entry
from zv_jax.convert.own_checkpoint import OwnCheckpoint
from zv_jax.convert.sources import Source, Spec, open_file
from zv_jax.convert.stream import Leaf
from zv_jax.errors import ConversionError
from zv_jax.files import write_json
from zv_jax.models.presets import LoraConfig

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model"
_PREFIX = "base_model.model."
# What changes the meaning of the tensors, and the value at which it does not.
_PLAIN = {
    "peft_type": "LORA",
    "bias": "none",
    "use_dora": False,
    "lora_bias": False,
    "fan_in_fan_out": False,
    "modules_to_save": None,
    "rank_pattern": {},
    "alpha_pattern": {},
    "layer_replication": None,
    "trainable_token_indices": None,
}
# What says how an adapter was made or is found, not what its tensors mean. Everything else that is
# set refuses the adapter: new switches of PEFT change what is computed.
_HARMLESS = {
    "auto_mapping", "base_model_name_or_path", "corda_config", "eva_config", "exclude_modules",
    "inference_mode", "init_lora_weights", "layers_pattern", "layers_to_transform", "loftq_config",
    "lora_alpha", "lora_dropout", "lora_ga_config", "megatron_core", "peft_version",
    "qalora_group_size", "r", "revision", "runtime_config", "target_modules", "task_type",
    "use_rslora",
}  # fmt: skip
# Starts that leave the base as it is. PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA and MiCA do not: what
# they adapt is not the base any more.
_STARTS = (None, True, False, "gaussian", "eva", "orthogonal")
_MERGE = (
    "merge it with PEFT, PeftModel.from_pretrained(BASE, ADAPTER).merge_and_unload()"
    ".save_pretrained(OUT), and convert OUT: zv convert from-hf"
)


@dataclass(frozen=True)
class Layer:
    """A linear layer of ours that can have an adapter, and the modules it is there."""

    entry: Entry

    @property
    def path(self) -> str:
        """Its path in our model, as `LoraConfig.targets` matches it."""
        return self.entry.ours[0].removesuffix("/kernel")

    def module(self, layer: int) -> str:
        """Path of the module there."""
        return self.entry.names(layer)[0].removesuffix(".weight")


def adaptable() -> dict[str, Layer]:
    """By path: the linear layers inside the blocks of ViT and LLM."""
    rows = [r for r in INSTRUCT_BLIP.family.entries if r.transform is LINEAR and r.stacked]
    found = [Layer(row) for row in rows]
    return {layer.path: layer for layer in found if layer.path.startswith(("vision/", "llm/"))}


# --- ours -> theirs -------------------------------------------------------------------------------


def to_peft(model: OwnCheckpoint, out: str | Path, base: str = "") -> int:
    """Writes the adapters of `model` into the new directory `out`.

    They belong on the model without them, which `zv convert to-hf --nomerge-lora` writes.

    Args:
        base: what to note as the base model: a directory or a name on the Hub.

    Returns:
        how many layers are adapted.

    Raises:
        ConversionError: the model has no adapter, or `out` exists.
    """
    adapters, known = model.adapters, adaptable()
    if not adapters:
        raise ConversionError(
            "the model has no adapters",
            where=model.where,
            expected="a checkpoint of stage 2 of the Chat model",
            fix="zv convert to-hf exports a model without adapters",
        )
    modules: dict[str, tuple[str, str, int]] = {}
    for kernel, (a, b) in adapters.items():
        layer = known[kernel.removeprefix("params/").removesuffix("/kernel")]
        for i in range(model.specs[a].shape[0]):
            modules[layer.module(i)] = a, b, i
    specs: dict[str, Spec] = {}
    for module, (a, b, _) in modules.items():
        for name, leaf in (("A", model.specs[a]), ("B", model.specs[b])):
            shape = leaf.shape[:0:-1]  # without the layer axis, transposed
            specs[f"{_PREFIX}{module}.lora_{name}.weight"] = Spec(shape, leaf.dtype)
    lora = model.config.model.lora
    with stream.building(out) as folder:
        writer = shards.Writer(folder, dict(sorted(specs.items())), 1 << 62, WEIGHTS, model.where)
        values = model.read(
            {path: model.specs[path] for pair in adapters.values() for path in pair}
        )
        for module, (a, b, i) in modules.items():
            writer.write(f"{_PREFIX}{module}.lora_A.weight", np.asarray(values[a])[i].T)
            writer.write(f"{_PREFIX}{module}.lora_B.weight", np.asarray(values[b])[i].T)
        writer.close()
        write_json(folder / CONFIG, _config(lora, sorted(modules), base))
    return len(modules)


def _config(lora: LoraConfig, modules: list[str], base: str) -> dict[str, Any]:
    return {
        **_PLAIN,
        "task_type": None,
        "base_model_name_or_path": base,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        # A text is matched as a whole; a list would match ends, and so the Q-Former too.
        "target_modules": "|".join(
            dict.fromkeys(re.sub(r"\\\.\d+\\\.", r"\.\\d+\.", re.escape(m)) for m in modules)
        ),
        "use_rslora": False,
        "init_lora_weights": True,
        "inference_mode": True,
    }


# --- theirs -> ours -------------------------------------------------------------------------------


def from_peft(adapter: str | Path, base: OwnCheckpoint, dst: str | Path) -> int:
    """Writes `base` with the adapter in the directory `adapter` as a new workdir `dst`.

    Returns:
        how many layers are adapted.

    Raises:
        ConversionError: the adapter does something that ours cannot, or does not fit the base.
    """
    config, leaves, count = _adapted(Path(adapter), base)
    with stream.building(dst) as folder:
        provenance = {**base.provenance, "adapter": Path(adapter).resolve().name}
        found = {**workdir.stored(base), **leaves}
        workdir.write(folder, config, found, base.tokenizers, provenance)
    return count


def open_peft(adapter: str | Path, base: OwnCheckpoint) -> OwnCheckpoint:
    """`base` with the adapter in the directory `adapter`, read leaf by leaf.

    Raises:
        ConversionError: as in `from_peft`.
    """
    config, leaves, _ = _adapted(Path(adapter), base)

    def read(wanted: Mapping[str, Spec]) -> dict[str, Any]:
        found = base.read({path: spec for path, spec in wanted.items() if path not in leaves})
        for path in wanted.keys() & leaves.keys():
            spec = wanted[path]
            value = casts.cast(leaves[path].value(), spec.dtype, path, str(adapter))
            found[path] = value if spec.sharding is None else jax.device_put(value, spec.sharding)
        return found

    specs = {path: Spec(leaf.shape, leaf.dtype) for path, leaf in leaves.items()}
    where = f"{base.where} with {adapter}"
    return replace(base, config=config, specs={**base.specs, **specs}, read=read, where=where)


def _adapted(adapter: Path, base: OwnCheckpoint) -> tuple[Config, dict[str, Leaf], int]:
    """The configuration with the adapter, its leaves, and how many layers it has."""
    raw = read_json(adapter / CONFIG)
    lora = _lora(raw, str(adapter / CONFIG))
    source = _open(adapter)
    if base.adapters:
        raise ConversionError(
            "the base has adapters already",
            where=base.where,
            expected="a model without adapters",
            fix="merge them first: zv convert to-hf CKPT OUT --merge-lora",
        )
    leaves, targets = _leaves(source, base, lora)
    model = replace(base.config.model, lora=replace(lora, targets="|".join(targets)))
    stage = replace(base.config.stage, name="stage2", variant="chat")
    config = validate(to_dict(replace(base.config, model=model, stage=stage)))
    return config, leaves, len(source.specs) // 2


def _open(adapter: Path) -> Source:
    """Its weights; of the two forms the one that PEFT takes."""
    for name in (f"{WEIGHTS}.safetensors", f"{WEIGHTS}.bin"):
        if (adapter / name).is_file():
            return open_file(adapter / name)
    raise ConversionError(
        "there are no weights of an adapter here",
        where=str(adapter),
        expected=f"{WEIGHTS}.safetensors or {WEIGHTS}.bin beside {CONFIG}",
        fix="give the directory that PEFT's save_pretrained wrote",
    )


def _lora(raw: Mapping[str, Any], where: str) -> LoraConfig:
    refused = [(field, raw[field], _PLAIN.get(field)) for field in raw if field not in _HARMLESS]
    if "peft_type" not in raw:
        refused.append(("peft_type", None, _PLAIN["peft_type"]))
    start = raw.get("init_lora_weights", True)
    if start not in _STARTS:
        refused.append(("init_lora_weights", start, True))
    for field, value, plain in refused:
        if value != plain and (value or plain):
            raise ConversionError(
                f"{field} is {value!r:.200}", where=where, expected=repr(plain), fix=_MERGE
            )
    rank, alpha, dropout = raw.get("r"), raw.get("lora_alpha"), raw.get("lora_dropout") or 0.0
    for field, value, right in (
        ("r", rank, type(rank) is int and 0 < rank <= MAX_SIZE),
        ("lora_alpha", alpha, type(alpha) in (int, float) and abs(alpha) <= MAX_SIZE),
        ("lora_dropout", dropout, type(dropout) in (int, float) and 0 <= dropout < 1),
    ):
        if not right:
            raise ConversionError(
                f"{field} is {value!r:.100}",
                where=where,
                expected="an adapter of the type LORA, with its numbers",
                fix="copy it again from where the weights came from",
            )
    # Rank-stabilised adapters are scaled by alpha / sqrt(r), ours by alpha / r.
    alpha *= rank**0.5 if raw.get("use_rslora") else 1.0
    return LoraConfig(rank=rank, alpha=float(alpha), dropout=float(dropout))


def _leaves(
    source: Source, base: OwnCheckpoint, lora: LoraConfig
) -> tuple[dict[str, Leaf], list[str]]:
    """Our adapter leaves, and the paths they are at."""
    left = set(source.specs)
    found: dict[str, Leaf] = {}
    targets = []
    for path, layer in adaptable().items():
        kernel = base.specs.get(f"params/{path}/kernel")
        if kernel is None:
            continue
        count, inputs, outputs = kernel.shape
        names = [f"{_PREFIX}{layer.module(i)}.lora_" for i in range(count)]
        have = [f"{name}A.weight" in left and f"{name}B.weight" in left for name in names]
        if not any(have):
            continue
        targets.append(path)
        shapes = {"A": (lora.rank, inputs), "B": (outputs, lora.rank)}
        for end, shape in shapes.items():
            tensors = [f"{n}{end}.weight" if h else None for n, h in zip(names, have, strict=True)]
            _check(source, [t for t in tensors if t], shape)
            pieces = tuple(_piece(source, name, shape) for name in tensors)
            leaf = Leaf((count, *shape[::-1]), np.dtype(np.float32), pieces, stacked=True)
            found[f"lora/{path}/lora_{end.lower()}"] = leaf
            left -= set(tensors)
    if left or not found:
        raise _no_place(source, left)
    return found, targets


def _no_place(source: Source, left: set[str]) -> ConversionError:
    """Whether the base is another, or has the layer and no adapter of it is possible here."""
    name = min(left, default="none")
    module = name.removeprefix(_PREFIX).split(".lora_")[0]
    theirs = {row.removesuffix(".weight") for e in INSTRUCT_BLIP.family.entries for row in e.theirs}
    linear = {row.removesuffix(".weight") for x in adaptable().values() for row in x.entry.theirs}
    layer = re.sub(r"\.\d+\.", ".{}.", module)
    fix = "give the base model that the adapter was trained on"
    if layer in theirs - linear:
        fix = f"{module} can be adapted in PEFT only: {_MERGE}"
    elif f"language_model.{layer}" in theirs:
        fix = f"it is an adapter of a language model alone: {_MERGE}"
    return ConversionError(
        f"the base has no place for {name!r} ({len(left)} such tensors)",
        where=source.where,
        expected="adapters of linear layers of the ViT and of the LLM",
        fix=fix,
    )


def _check(source: Source, names: list[str], shape: tuple[int, int]) -> None:
    for name in names:
        if tuple(source.specs[name].shape) != shape:
            raise ConversionError(
                f"tensor {name!r} has shape {tuple(source.specs[name].shape)}",
                where=source.where,
                expected=f"{shape}: the rank in {CONFIG} and the layer of the base model",
                fix="take both files of one adapter, and the base it was trained on",
            )


def _piece(source: Source, name: str | None, shape: tuple[int, int]) -> Callable[[], np.ndarray]:
    """One layer; zeros where the adapter leaves it as it is."""

    def read() -> np.ndarray:
        if name is None:
            return np.zeros(shape[::-1], np.float32)
        value = casts.finite(source.read(name), name, source.where)
        return casts.cast(value.T, np.float32, name, source.where)

    return read
