"""To Hugging Face: a model of ours becomes a directory that transformers loads as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from zv_jax.checkpoints import contents
from zv_jax.convert import (
    architectures,
    card,
    chat_template,
    config_json,
    hf,
    own_checkpoint,
    reader,
    shards,
    stream,
)
from zv_jax.convert.architectures import Architecture
from zv_jax.convert.card import Options
from zv_jax.convert.names import Entry
from zv_jax.convert.own_checkpoint import OwnCheckpoint
from zv_jax.convert.sources import Spec
from zv_jax.convert.tokenizer_json import hf_files
from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.errors import ConversionError
from zv_jax.files import write_json
from zv_jax.models import vit

IMAGE, PAD = "<image>", "[PAD]"
_TOGETHER = 1 << 28  # bytes of leaves that are read together


@dataclass(frozen=True)
class _Row:
    """One row of the table with what an export makes of it."""

    entry: Entry
    count: int
    specs: tuple[dict[str, Spec], ...]  # of their tensors, layer by layer

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(f"params/{path}" for path in self.entry.ours)


def to_hf(model: OwnCheckpoint, out: str | Path, options: Options | None = None) -> Architecture:
    """Writes `model` into the new directory `out`: weights, configuration, processor, tokenizers
    and a model card in two languages.

    Stage 0 has a temperature and an ITG head that no class of transformers has; they go into a
    file of their own, which `open_hf` reads back.

    Returns:
        the class it was written as.

    Raises:
        ConversionError, ConfigError, CheckpointError: the model cannot be expressed, an option is
            wrong or the weights cannot be read; `out` is then as it was before.
    """
    options = options or Options()
    limit = shards.parse_size(options.max_shard_size)
    architecture = architectures.write_architecture(model.config)
    model = as_written(model, options)
    rows = _rows(architecture, model, options)
    with stream.building(out) as folder:
        side = {n for n in _names(rows) if n == "temp" or n.startswith("cls.predictions.")}
        _write_weights(folder, rows, model, limit, side)
        _write_rest(folder, model, architecture, _dtype(rows), options)
    return architecture


# --- which leaves ---------------------------------------------------------------------------------


def as_written(model: OwnCheckpoint, options: Options) -> OwnCheckpoint:
    """The model whose leaves an export holds, its values not yet in another dtype.

    Raises:
        ConversionError: it has adapters, and the options do not say what to do with them.
    """
    return _resized(_plain(model, options), options)


def _plain(model: OwnCheckpoint, options: Options) -> OwnCheckpoint:
    """The model without adapters: added to the weights, or left out.

    Raises:
        ConversionError: it has some, and the options do not say what to do with them.
    """
    adapters = model.adapters
    if adapters and options.merge_lora is None:
        raise ConversionError(
            f"the model has {len(adapters)} adapted layers",
            where=model.where,
            expected="to be told what to do with the adapters",
            fix="--merge-lora adds them to the weights; --nomerge-lora leaves them out, for use "
            "with the adapter that zv convert to-peft writes",
        )
    lora = model.config.model.lora

    def read(wanted: Mapping[str, Spec]) -> dict[str, Any]:
        pairs = {p: adapters[p] for p in wanted if options.merge_lora and p in adapters}
        more = {leaf: model.specs[leaf] for pair in pairs.values() for leaf in pair}
        found = model.read({**wanted, **more})
        for path, pair in pairs.items():
            kernel, a, b = found[path], *(found.pop(leaf) for leaf in pair)
            for i in range(len(kernel)):  # in place: every adapted kernel is a stack of layers
                kernel[i] = own_checkpoint.merged(kernel[i], a[i], b[i], lora, path)
        return found

    specs = {path: spec for path, spec in model.specs.items() if path.startswith("params/")}
    return replace(model, specs=specs, read=read)


def _resized(model: OwnCheckpoint, options: Options) -> OwnCheckpoint:
    """The model for another image size, its position table resized."""
    vision = model.config.model.vision
    if options.image_size in (None, vision.image_size):
        return model
    vision = replace(vision, image_size=options.image_size)
    config = replace(model.config, model=replace(model.config.model, vision=vision))
    config = config_json.checked(config, "--image-size")
    side = options.image_size // vision.patch_size
    old = model.specs[reader.POSITIONS]
    new = Spec((1, 1 + side * side, old.shape[-1]), old.dtype)

    def read(wanted: Mapping[str, Spec]) -> dict[str, Any]:
        if reader.POSITIONS not in wanted:
            return model.read(wanted)
        found = model.read({**wanted, reader.POSITIONS: old})
        found[reader.POSITIONS] = reader.resized_positions(found[reader.POSITIONS], side)
        return found

    return replace(model, config=config, specs={**model.specs, reader.POSITIONS: new}, read=read)


def _rows(architecture: Architecture, model: OwnCheckpoint, options: Options) -> list[_Row]:
    """The rows of the table that the model has, checked to be all of the model.

    Raises:
        ConversionError: a leaf is missing, or has no place in the class.
    """
    wanted = reader.wanted(model.config, architecture)
    missing = [
        path
        for path in wanted
        if path not in model.specs and not stream.matches(path, architecture.optional)
    ]
    carried = contents.beside(model.config)  # the heads of stage 0, which no such class has
    surplus = [path for path in model.specs if path not in wanted and path not in carried]
    for paths, what, expected in (
        (missing, "is missing", "all leaves of the model"),
        (surplus, f"has no place in {architecture.name}", "leaves of that class only"),
    ):
        if paths:
            raise ConversionError(
                f"leaf {paths[0]!r} {what} ({len(paths)} such leaves)",
                where=model.where,
                expected=expected,
                fix="export the checkpoint of a finished stage",
            )
    rows = []
    for entry in architecture.family.entries:
        held = [model.specs.get(f"params/{path}") for path in entry.ours]
        if None not in held:
            count = held[0].shape[0] if entry.stacked else 1
            rows.append(_Row(entry, count, _their_specs(entry, count, held, options.dtype)))
    return rows


def _their_specs(
    entry: Entry, count: int, held: list[Spec], dtype: str | None
) -> tuple[dict[str, Spec], ...]:
    hollow = [stream.hollow(Spec(s.shape[1:] if entry.stacked else s.shape, s.dtype)) for s in held]
    tensors = entry.transform.save(*hollow)
    specs = [Spec(t.shape, np.dtype(dtype) if dtype else t.dtype) for t in tensors]
    return tuple(dict(zip(entry.names(i), specs, strict=True)) for i in range(count))


def _names(rows: list[_Row]) -> list[str]:
    return [name for row in rows for specs in row.specs for name in specs]


def _dtype(rows: list[_Row]) -> str:
    """The dtype that most of the bytes have."""
    sizes: dict[str, int] = {}
    for row in rows:
        for specs in row.specs:
            for spec in specs.values():
                name = np.dtype(spec.dtype).name
                sizes[name] = sizes.get(name, 0) + int(np.prod(spec.shape))
    return max(sizes, key=lambda name: sizes[name])


# --- files ----------------------------------------------------------------------------------------


def _write_weights(
    folder: Path, rows: list[_Row], model: OwnCheckpoint, limit: int, side: set[str]
) -> None:
    """All tensors, leaf by leaf as they are read; in the files they stand layer by layer."""
    # Depth first, as loaders want them: everything of layer 0, then of layer 1.
    numbered = [
        (_place(row.entry, i), at, name, spec)
        for at, row in enumerate(rows)
        for i, specs in enumerate(row.specs)
        for name, spec in specs.items()
    ]
    numbered.sort(key=lambda item: (_tower(rows[item[1]].entry), item[0], item[1]))
    main = {name: spec for *_, name, spec in numbered if name not in side}
    writers = [shards.Writer(folder, main, limit, where=model.where)]
    if side:
        extra = {name: spec for *_, name, spec in numbered if name in side}
        stem = hf.SIDE_FILE.removesuffix(".safetensors")
        writers.append(shards.Writer(folder, extra, limit, stem, model.where))
    for group in _groups(rows, model):
        found = model.read({path: model.specs[path] for row in group for path in row.paths})
        for row in group:
            # Nothing here may hold a leaf while the next group is read.
            _write_row(row, [found.pop(path) for path in row.paths], writers, side)
    for writer in writers:
        writer.close()


def _groups(rows: list[_Row], model: OwnCheckpoint) -> Iterator[list[_Row]]:
    """Rows that are read together: as many as fit `_TOGETHER`, at least one."""
    group: list[_Row] = []
    filled = 0
    for row in rows:
        size = sum(shards.byte_size(model.specs[path]) for path in row.paths)
        if group and filled + size > _TOGETHER:
            yield group
            group, filled = [], 0
        group.append(row)
        filled += size
    yield group


def _write_row(
    row: _Row, leaves: list[np.ndarray], writers: list[shards.Writer], side: set[str]
) -> None:
    for i in range(row.count):
        layers = [leaf[i] if row.entry.stacked else leaf for leaf in leaves]
        for name, value in zip(row.entry.names(i), row.entry.transform.save(*layers), strict=True):
            writers[name in side].write(name, value)


def _place(entry: Entry, layer: int) -> int:
    """Where a tensor stands in its tower: -1 before the layers, then the number of its layer."""
    return entry.first + entry.step * layer if entry.stacked else -1


def _tower(entry: Entry) -> str:
    return entry.theirs[0].split(".")[0]


def _write_rest(
    folder: Path, model: OwnCheckpoint, architecture: Architecture, dtype: str, options: Options
) -> None:
    tokenizer, qformer_tokenizer = model.tokenizers
    special: dict[str, int] = {}
    added: dict[str, int] = {}
    if tokenizer is not None and architecture is not architectures.RETRIEVAL:
        special = {"bos": tokenizer.bos_id, "eos": tokenizer.eos_id, "pad": tokenizer.pad_id}
        if architecture is not architectures.LLAMA:
            added[IMAGE] = model.config.model.image_token_id
        if tokenizer.pad_id == tokenizer.unk_id and tokenizer.vocab_size < added.get(IMAGE, 0):
            # LLaMA has no padding; like the placeholder it takes one of the spare rows.
            added[PAD] = special["pad"] = tokenizer.vocab_size
        prompt, longest = model.config.model.prompt, model.config.model.llm.max_positions
        _write_tokenizer(folder, tokenizer, added, longest=longest, bos=prompt.words.first_bos)
        generation = _generation(special)
        if IMAGE in added:  # the placeholder is never a word
            generation["suppress_tokens"] = [added[IMAGE]]
        write_json(folder / "generation_config.json", generation)
        image = IMAGE if IMAGE in added else ""
        text = chat_template.chat_template(prompt, tokenizer, image)
        (folder / chat_template.FILE).write_text(text, "utf-8")
    if qformer_tokenizer is not None and architecture is architectures.RETRIEVAL:
        longest = model.config.data.max_text
        _write_tokenizer(folder, qformer_tokenizer, {}, longest=longest, keep="start", qformer=True)
    if qformer_tokenizer is not None and architecture is architectures.INSTRUCT_BLIP:
        inside = folder / "qformer_tokenizer"
        inside.mkdir()
        longest = model.config.data.max_qformer_text
        _write_tokenizer(
            folder / "qformer_tokenizer", qformer_tokenizer, {}, longest=longest, qformer=True
        )
    if qformer_tokenizer is not None:
        special["qformer_pad"] = qformer_tokenizer.pad_id
    raw = config_json.write_config(model.config, architecture, dtype, special)
    write_json(folder / "config.json", raw)
    if architecture is not architectures.LLAMA:
        _write_processor(folder, model, architecture)
    text = card.model_card(model, architecture.name, dtype, options)
    (folder / "README.md").write_text(text, "utf-8")


def _generation(special: Mapping[str, int]) -> dict[str, Any]:
    ids = {f"{key}_token_id": special[key] for key in ("bos", "eos", "pad")}
    return {**ids, "do_sample": False, "max_new_tokens": 128, "num_beams": 1}


def _write_tokenizer(
    folder: Path,
    tokenizer: Tokenizer,
    added: Mapping[str, int],
    *,
    longest: int,
    keep: str = "end",
    qformer: bool = False,
    bos: bool = True,
) -> None:
    # No "image_token": with it the processors of InstructBLIP and BLIP-2 fail.
    more: dict[str, Any] = {"pad_token": PAD} if PAD in added else {}
    # truncation=True cuts a text where we do.
    side = "left" if keep == "end" else "right"
    more |= {"model_max_length": longest, "truncation_side": side}
    for name, text in hf_files(tokenizer, added, qformer=qformer, bos=bos, **more).items():
        (folder / name).write_text(text, "utf-8")
    if tokenizer.kind != "hf":  # the file it was made from, whose ids it has
        tokenizer.save(folder)


def _write_processor(folder: Path, model: OwnCheckpoint, architecture: Architecture) -> None:
    size = model.config.model.vision.image_size
    processor = "Blip2Processor"
    if architecture is architectures.INSTRUCT_BLIP:
        processor = "InstructBlipProcessor"
    image = {
        "image_processor_type": "BlipImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"height": size, "width": size},
        "resample": 3,  # bicubic
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [round(float(x), 8) for x in vit.MEAN],
        "image_std": [round(float(x), 8) for x in vit.STD],
    }
    about: dict[str, Any] = {"image_processor": image, "processor_class": processor}
    if architecture is not architectures.RETRIEVAL:
        about["num_query_tokens"] = model.config.model.qformer.num_queries
    if architecture is architectures.INSTRUCT_BLIP:
        about["max_qformer_text"] = model.config.data.max_qformer_text
    write_json(folder / "processor_config.json", about)
    # Releases before 5 read the image part from here.
    write_json(folder / "preprocessor_config.json", {**image, "processor_class": processor})
