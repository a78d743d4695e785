"""`zv data peek`: samples as the model gets them, as a page or a sheet of scenes."""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from zv_jax.cli.data import common
from zv_jax.data.storage import array_records
from zv_jax.errors import ConfigError

if TYPE_CHECKING:
    from zv_jax.config import Config
    from zv_jax.data.text.tokenizers import Tokenizer

USAGE = """
usage: zv data peek [NAME | FILE] [--root=DIR] [--out=FILE]
       zv data peek --config FILE[:ARG]
       zv data peek FILE --checkpoint DIR

  zv data peek mine.jsonl --image_root=photos --stage=stage1 --n=20 --out=peek.html
  zv data peek --config configs/quickstart.py:stage1_chat
  zv data peek mine.jsonl --checkpoint runs/quickstart/stage2_chat --out=peek.html
  zv data peek zv_openmoji --n=12 --out=sheet.png      (a sheet of scenes, sheet/1.png, ...)

With a recipe, its own sources are shown, or the file or data set that is named as it reads them.
With a checkpoint, the file or data set is shown as that model gets it: its image size, its prompt,
its lengths and its two tokenizers, piece by piece.
"""
TAKES_CONFIG = "config"
TAKES_WORDS = True


def define(values: flags.FlagValues) -> None:
    common.define_source(values)
    common.define_embedded(values)
    flags.DEFINE_string("out", None, "the page (.html) or sheet (.png)", flag_values=values)
    flags.DEFINE_integer("n", 12, "samples to show", 1, flag_values=values)
    flags.DEFINE_string("checkpoint", None, "the model that gets them", flag_values=values)
    flags.DEFINE_enum(
        "stage",
        None,
        ["language", "stage0", "stage1", "stage2"],
        "whose batches (default: those of the checkpoint, or stage2)",
        flag_values=values,
    )


def run(values: flags.FlagValues, names: list[str]) -> None:
    from zv_jax.data.pipeline import peek

    if (not names or names == [common.EMBEDDED]) and (values.out or "").endswith(".png"):
        from zv_jax.data.openmoji import prepare as openmoji

        path = common.embedded(values)
        print(f"sheet: {openmoji.peek(path, values.split or 'train', values.n, values.out)}")
        return
    with tempfile.TemporaryDirectory() as folder:
        tokenizers = None
        if values.checkpoint:
            config, tokenizers = _of_checkpoint(values, names, Path(folder))
        else:
            config = _config(values, names, Path(folder))
        out = values.out or "peek.html"
        count, lines = peek.write_page(config, values.n, out, tokenizers)
        print(f"{out}: {count} samples", *lines, sep="\n")


def _of_checkpoint(
    values: flags.FlagValues, names: list[str], folder: Path
) -> tuple[Config, tuple[Tokenizer, Tokenizer]]:
    """The configuration of a model, reading what is named, and its tokenizers.

    Raises:
        ConfigError: a recipe is given too, or the model has not both tokenizers.
    """
    from zv_jax.config.schema import SourceConfig
    from zv_jax.convert import formats
    from zv_jax.inference.prompts import existing

    if values.config is not None:
        raise ConfigError(
            "both --checkpoint and --config are given",
            where="--checkpoint",
            expected="one of them: a checkpoint holds its recipe",
            fix="leave one out",
        )
    stored = formats.open_any(values.checkpoint)
    first, second = (existing(words, "samples") for words in stored.tokenizers)
    source = SourceConfig(
        **_source(values, common.one_name("peek", names, common.EMBEDDED), folder)
    )
    config = dataclasses.replace(
        stored.config,
        data=dataclasses.replace(stored.config.data, sources=(source,), paper_mixture=True),
        train=dataclasses.replace(stored.config.train, batch_size=1),
    )
    if values.stage:
        stage = dataclasses.replace(config.stage, name=values.stage)
        config = dataclasses.replace(config, stage=stage)
    return config, (first, second)


def _config(values: flags.FlagValues, names: list[str], folder: Path) -> Any:
    """The recipe that is given, or a small one that reads the file or data set that is named."""
    from zv_jax.config import build

    if values.config is not None and not names:
        return build.validate(values.config)
    source = _source(values, common.one_name("peek", names, common.EMBEDDED), folder)
    if values.config is not None:
        with values.config.unlocked():
            values.config.data.sources = (source,)
        return build.validate(values.config)
    tokens = 8192
    return build.validate(
        build.recipe(
            "tiny_chat",
            stage={"name": values.stage or "stage2"},
            data={
                "sources": (source,),
                "paper_mixture": True,  # looking is not learning
                "max_length": 1024,
                "max_qformer_text": 64,
                "max_images": 4,
            },
            model={
                "vision": {"image_size": 224},
                "llm": {"vocab_size": tokens},
                "qformer": {"vocab_size": tokens},
                "image_token_id": tokens - 1,
            },
            train={"batch_size": 1},
        )
    )


def _source(values: flags.FlagValues, name: str, folder: Path) -> dict[str, Any]:
    """`data.sources[0]` for a name; the first records of a public data set go to `folder`."""
    from zv_jax.data.sources import convert

    if name == common.EMBEDDED:
        return {"name": name, "path": values.data_dir or "", "split": values.split or "train"}
    source = {"name": "jsonl", "path": name, "split": values.split, "image_root": values.image_root}
    if any((Path(name) / part / array_records.MANIFEST).is_file() for part in ("", values.split)):
        return source | {"name": "prepared"}
    if common.is_file(name):
        return source
    records, root = common.records(values, name, training=False)
    first = folder / "first.jsonl"
    convert.write_jsonl(itertools.islice(records, values.n), first)
    return source | {"path": str(first), "image_root": str(root), "split": ""}
