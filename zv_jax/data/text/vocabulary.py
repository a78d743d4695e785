"""The two tokenizers of a run: those the configuration names, or one trained on its sources."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from zv_jax.config import Config
from zv_jax.data.pipeline import symbols
from zv_jax.data.sources.open import Source, open_source
from zv_jax.data.text import dialogue, tokenizers
from zv_jax.data.text.templates import templates
from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.errors import ConfigError, DataError
from zv_jax.models.prompt import PromptConfig
from zv_jax.parallel.runtime import cache_dir

MAX_RECORDS = 200_000  # read of each source to train a tokenizer
_VERSION = 5  # of what `corpus` yields; part of the name a trained tokenizer is kept under


def load_tokenizers(config: Config, cache: str | Path | None = None) -> tuple[Tokenizer, Tokenizer]:
    """The tokenizers of the LLM and of the Q-Former, checked against the model's vocabularies.

    Without a path, one is trained on all records of the sources, whatever the stage's tasks and
    weights, and kept in `cache` (the user's cache by default); the next stage finds it again. One
    model serves both towers where the Q-Former's vocabulary holds it.

    Raises:
      ConfigError: ids do not fit the model, or the vocabulary cannot hold the texts.
      DataError: a file or the sources cannot be read.
    """
    data, model = config.data, config.model
    for section, wanted in (
        ("tokenizer", data.tokenizer),
        ("qformer_tokenizer", data.qformer_tokenizer),
    ):
        if not wanted.path and wanted.kind != "sentencepiece":
            raise ConfigError(
                f"a {wanted.kind} tokenizer cannot be trained here",
                where=f"data.{section}.path",
                expected=f"the path of a {tokenizers.KINDS[wanted.kind]}",
                fix=f"set --config.data.{section}.path, or kind=sentencepiece",
            )
    # Ids from the placeholder on stay free.
    size = min(data.tokenizer.vocab_size, model.image_token_id, model.llm.vocab_size)
    if data.tokenizer.path:
        tokenizer = tokenizers.load(data.tokenizer.path, data.tokenizer.kind)
    else:
        tokenizer = _trained(config, size, cache)
    tokenizers.check_image_token(tokenizer, model.image_token_id, model.llm.vocab_size)
    tokenizers.check_prompt(tokenizer, model.prompt)
    limit = min(data.qformer_tokenizer.vocab_size, model.qformer.vocab_size)
    if data.qformer_tokenizer.path:
        qformer_tokenizer = tokenizers.load(
            data.qformer_tokenizer.path, data.qformer_tokenizer.kind
        )
    elif not data.tokenizer.path and tokenizer.vocab_size <= limit:
        qformer_tokenizer = tokenizer
    else:
        qformer_tokenizer = _trained(config, limit, cache)
    if qformer_tokenizer.vocab_size > model.qformer.vocab_size:
        raise ConfigError(
            f"the tokenizer has {qformer_tokenizer.vocab_size} ids, the Q-Former "
            f"{model.qformer.vocab_size}",
            where="model.qformer.vocab_size",
            expected=f"at least {qformer_tokenizer.vocab_size}",
            fix=f"set --config.model.qformer.vocab_size={qformer_tokenizer.vocab_size}",
        )
    # Each raises where there is none, before a row is made.
    tokenizer.bos_id, tokenizer.eos_id  # noqa: B018
    qformer_tokenizer.cls_id, qformer_tokenizer.sep_id, qformer_tokenizer.dec_id  # noqa: B018
    return tokenizer, qformer_tokenizer


def _trained(config: Config, size: int, cache: str | Path | None) -> Tokenizer:
    chosen = sorted({(s.name, s.path, s.split, s.image_root) for s in config.data.sources})
    sources = [open_source(*key, tolerant=True) for key in chosen]
    decimals, prompt = config.data.box_decimals, config.model.prompt
    about = [_VERSION, size, decimals, tuple(prompt.words), sorted(s.fingerprint for s in sources)]
    name = hashlib.sha256(repr(about).encode()).hexdigest()[:16]
    folder = Path(cache or cache_dir() / "tokenizers") / name
    if (folder / tokenizers.KINDS["sentencepiece"]).is_file():
        return tokenizers.load(folder)
    texts = (t for source in sources for t in corpus(source, decimals, prompt))
    return tokenizers.train_sentencepiece(texts, size, folder, _coordinates(config, size))


def _coordinates(config: Config, size: int) -> list[str]:
    """Every number a box may hold, each one piece, where the vocabulary has room for them.

    Left to the trainer, boxes fall into odd pieces such as `9,0.9`, and a place in the image has
    many spellings.
    """
    decimals = config.data.box_decimals
    count = 10**decimals + 1
    return [f"{n / (count - 1):.{decimals}f}" for n in range(count)] if 8 * count <= size else []


def corpus(source: Source, box_decimals: int, prompt: PromptConfig) -> Iterator[str]:
    """The texts a tokenizer is trained on: turns, answers, choices, and every template."""
    step = -(-len(source) // MAX_RECORDS)
    tasks = set()
    for index in range(0, len(source), step):
        try:
            record = source.record(index)
            turns = dialogue.exchanges(record, box_decimals=box_decimals)
        except DataError:
            continue  # reported when it is asked for in training
        tasks.add(record.meta.get("template", record.task))
        for number, turn in enumerate(turns):
            yield prompt.ask(turn.question, first=number == 0)
            yield turn.answer or ""
        for view in symbols.symbolic_views(record, box_decimals):
            yield from view
        yield from record.answers or ()
        yield from record.choices or ()
        yield from (obj.label for obj in record.objects)
        yield from (obj.tag_zh for obj in record.objects if obj.tag_zh)
    for task in sorted(tasks):
        for lang in ("en", "zh"):
            yield from templates(task, lang)
