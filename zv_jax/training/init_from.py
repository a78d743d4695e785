"""Starts a stage from the weights of other runs: `config.init_from`.

Leaves are matched by name. Nothing is dropped silently: a table lists for every tower what was
loaded, what is new, and what is unused in the sources.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import jax

from zv_jax.checkpoints import manager as checkpoint
from zv_jax.checkpoints.frozen import content_hash
from zv_jax.config import Config
from zv_jax.config.build import of_checkpoint
from zv_jax.errors import CheckpointError, nearest
from zv_jax.models.prompt import PromptConfig
from zv_jax.stages import STAGES, stage_of
from zv_jax.tables import align, rule

Make = Callable[[Sequence[str]], Mapping[str, Any]]
_KINDS = ("loaded", "new", "unused")
# Tables with a row for each word, and the field of the tokenizer that numbers these rows.
WORD_TABLES = (
    ("params/llm/embed/embedding", "tokenizer"),
    ("params/qformer/word/embedding", "qformer_tokenizer"),
)
_GROWN = "zv tokenizer grow SOURCE OUT"
# All leaves that have one, and the flag that gives them more rows.
_GROW = {
    "params/llm/embed/embedding": "tokenizer",
    "params/llm/lm_head/kernel": "tokenizer",
    "params/qformer/word/embedding": "qformer_tokenizer",
    "params/qformer/text_head/bias": "qformer_tokenizer",
}


def initialise(
    wanted: Mapping[str, jax.ShapeDtypeStruct],
    sources: Sequence[str],
    tokenizers: Sequence[str] = (),
    make: Make | None = None,
    carried: Collection[str] = (),
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The leaves of a new run, taken from `sources` where possible.

    Args:
        wanted: shape, dtype and sharding (if any) of every leaf of the model, by name.
        sources: workdirs or checkpoints; if two have the same leaf, the later one wins.
        tokenizers: fingerprints of the tokenizers of LLM and Q-Former, to compare with those of the
            sources; empty, or a source without any, compares nothing.
        make: creates the leaves that no source has, by name; by default there must be none.
        carried: paths that the run keeps beside its model, so that they are not unused.

    Returns:
        The leaves, in the order of `wanted`, and a table of JSON types for the meta that traces
        every weight. `sources`: path, step, planned steps, hash of the frozen leaves, stage, prompt
        and `provenance`, the source's own table. `towers`, for each: numbers of leaves and
        parameters loaded, new and unused; the names of the last two if the tower was loaded in
        part; `from`, the numbers of the sources; `content`, the hash of the loaded leaves.
        `table_text` prints it.

    Raises:
        CheckpointError: a leaf has another shape in a source, or its tokenizer numbers words
            differently; a source has no leaf of this model; no source has a leaf and `make` is
            missing; or a source cannot be read.
    """
    origin: dict[str, int] = {}
    unused: dict[str, jax.ShapeDtypeStruct] = {}
    metas = []
    for number, source in enumerate(sources):
        stored, meta = checkpoint.describe(source)
        meta = checkpoint.of_run(meta, source)
        metas.append(meta)
        shared = [name for name in stored if name in wanted]
        if not shared:
            first = next(iter(stored), "")
            raise CheckpointError(
                "no leaf of this checkpoint belongs to the model" + nearest(first, wanted),
                where=str(source),
                expected="at least one tower in common",
                fix="remove it from init_from, or choose the preset it was trained with",
            )
        for name in shared:
            if tuple(stored[name].shape) != tuple(wanted[name].shape):
                raise CheckpointError(
                    f"leaf {name!r} has shape {tuple(stored[name].shape)} in the source",
                    where=str(source),
                    expected=f"{tuple(wanted[name].shape)}, as in this model",
                    fix="use the same preset and vocabulary as that run"
                    + (f", or {_GROWN} --{_GROW[name]}=DIR" if name in _GROW else ""),
                )
            origin[name] = number
        _check_words(shared, meta, tokenizers, source)
        unused.update(
            (name, leaf)
            for name, leaf in stored.items()
            if name not in wanted and name not in carried
        )
    values: dict[str, Any] = {}
    for number, source in enumerate(sources):
        only = {
            name: wanted[name] for name, source_number in origin.items() if source_number == number
        }
        if only:
            # Naming the step selects the checkpoint described above even if a newer one appears.
            values.update(checkpoint.load_params(source, metas[number]["step"], only)[0])
    missing = [name for name in wanted if name not in values]
    if missing:
        values.update(_made(missing, make, sources))
    table = {
        "sources": [_source(source, meta) for source, meta in zip(sources, metas, strict=True)],
        "towers": _towers(wanted, origin, unused),
    }
    for row in table["towers"]:
        names = [name for name in origin if _tower(name) == row["tower"]]
        row["from"] = sorted({origin[name] for name in names})
        row["content"] = content_hash({name: values[name] for name in names}) if names else None
    return {name: values[name] for name in wanted}, table


def _source(path: str, meta: Mapping[str, Any]) -> dict[str, Any]:
    config = meta.get("config", {})
    train, stage = config.get("train", {}), config.get("stage", {})
    steps, prompt = train.get("steps"), of_checkpoint(config)["model"]["prompt"]
    return {
        "path": str(path),
        "step": meta["step"],
        "steps": steps if isinstance(steps, int) else meta["step"],
        "frozen": meta["frozen"],
        "provenance": meta.get("provenance"),
        "stage": [stage.get("name"), stage.get("variant")],
        "prompt": _fields(PromptConfig()) | (prompt if isinstance(prompt, dict) else {}),
    }


def _fields(prompt: PromptConfig) -> dict[str, Any]:
    """Its fields in JSON types, as checkpoints hold them."""
    return json.loads(json.dumps(asdict(prompt)))


def other_prompts(table: Mapping[str, Any], config: Config) -> list[str]:
    """A warning for each source that was trained with another prompt format than this run's."""
    now, here = _fields(config.model.prompt), stage_of(config)
    lines = []
    for source in table["sources"]:
        there = STAGES.get(tuple(source["stage"]))  # None: a converted checkpoint, or an old one
        asks = here.speaks and (there is None or there.speaks)
        # Only in these stages of Chat does the Q-Former read the question.
        reads = here.one_answer and (there is None or there.one_answer)
        others = {
            field: value
            for field, value in source["prompt"].items()
            if asks and value != now.get(field) and (reads or field != "qformer_text")
        }
        if others:
            said = (f"model.prompt.{f}={v!r} there, {now.get(f)!r} here" for f, v in others.items())
            same = (f"--config.model.prompt.{f}={v!r}" for f, v in others.items())
            lines.append(
                f"WARNING: prompts of {source['path']} were of another form: {'; '.join(said)}. "
                f"To go on as there: {' '.join(same)}"
            )
    return lines


def table_text(table: Mapping[str, Any]) -> str:
    """The table of `initialise` in aligned columns, with partly loaded towers explained below."""
    head = ["tower"] + [f"{kind} {unit}" for kind in _KINDS for unit in ("leaves", "parameters")]
    head += ["from", "content"]
    rows = [head]
    total = {kind: [0, 0] for kind in _KINDS}
    for tower in table["towers"]:
        rows.append([tower["tower"]])
        for kind in _KINDS:
            for i, unit in enumerate(("leaves", "parameters")):
                total[kind][i] += tower[kind][unit]
                rows[-1].append(f"{tower[kind][unit]:,}")
        rows[-1] += [",".join(str(n + 1) for n in tower["from"]), tower["content"] or ""]
    rows.append(["total"] + [f"{number:,}" for kind in _KINDS for number in total[kind]] + ["", ""])
    lines = align(rows, "lr")
    lines.insert(1, rule(lines))
    lines.insert(len(lines) - 1, lines[1])
    for number, source in enumerate(table["sources"], 1):
        at = f"step {source['step']}"
        if source["step"] < source["steps"]:
            at += f" of {source['steps']}: its training has not come to its end"
        lines.append(f"from {number}: {source['path']}, {at}")
    for tower in table["towers"]:
        for kind in ("new", "unused"):
            names = tower.get(f"{kind}_names", [])
            if names:
                more = f" and {len(names) - 3} more" if len(names) > 3 else ""
                listed = ", ".join(names[:3])
                lines.append(f"{tower['tower']} was loaded in part; {kind}: {listed}{more}")
    return "\n".join(lines)


def _check_words(
    loaded: Sequence[str], meta: Mapping[str, Any], tokenizers: Sequence[str], source: str
) -> None:
    """Refuses a word table whose rows were numbered by another tokenizer."""
    theirs = meta.get("tokenizers") or ()
    for (table, field), own, other in zip(WORD_TABLES, tokenizers, theirs, strict=False):
        if table in loaded and own != other:
            raise CheckpointError(
                f"the words of {table!r} are numbered by another tokenizer",
                where=str(source),
                expected=f"the tokenizer of this run, {own[:16]}; it was trained with "
                f"{str(other)[:16]}",
                fix=f"set --config.data.{field}.path={source}/{field}",
            )


def _made(missing: list[str], make: Make | None, sources: Sequence[str]) -> Mapping[str, Any]:
    if make is None:
        raise CheckpointError(
            f"leaf {missing[0]!r} is in no source and has no initial value",
            where=", ".join(map(str, sources)) or "init_from is empty",
            expected="a source with that leaf",
            fix="add its workdir to --config.init_from",
        )
    return make(missing)


def _tower(name: str) -> str:
    collection, tower, *_ = name.split("/") + [""]
    return tower if collection == "params" else f"{tower} ({collection})"


def _towers(
    wanted: Mapping[str, jax.ShapeDtypeStruct],
    origin: Mapping[str, int],
    unused: Mapping[str, jax.ShapeDtypeStruct],
) -> list[dict[str, Any]]:
    groups: dict[str, dict[str, dict[str, int]]] = {}
    for kind, names in (
        ("loaded", {n: s for n, s in wanted.items() if n in origin}),
        ("new", {n: s for n, s in wanted.items() if n not in origin}),
        ("unused", unused),
    ):
        for name, leaf in names.items():
            group = groups.setdefault(_tower(name), {k: {} for k in _KINDS})
            group[kind][name] = math.prod(leaf.shape)
    rows = []
    for tower in sorted(groups):
        row: dict[str, Any] = {"tower": tower}
        for kind in _KINDS:
            sizes = groups[tower][kind]
            row[kind] = {"leaves": len(sizes), "parameters": sum(sizes.values())}
        if groups[tower]["loaded"]:
            for kind in ("new", "unused"):
                row[f"{kind}_names"] = sorted(groups[tower][kind])
        rows.append(row)
    return rows
