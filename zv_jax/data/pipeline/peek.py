"""Samples as a model gets them, on one HTML page: images with boxes, tokens, what is learned.

Everything is taken from a batch of the pipeline, decoded again: what the page shows is what
training sees, not what the record says it should be.
"""

from __future__ import annotations

import collections
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from zv_jax.config import Config
from zv_jax.data.pipeline import pipeline
from zv_jax.data.records import record as records_lib
from zv_jax.data.records.record import Record
from zv_jax.data.text import dialogue
from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.data.text.vocabulary import load_tokenizers
from zv_jax.files import write_atomic
from zv_jax.html.markup import Html, document, image, tag

_INK = ("#d00", "#00c", "#070", "#909", "#960", "#066")
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70em; margin: 1em auto; padding: 0 1em }
section { border-top: 1px solid #ccc; padding: .5em 0 }
h2 { font-size: 1em; margin: .3em 0; overflow-wrap: anywhere }
.facts { color: #555; margin: 0 }
img { margin: .3em .5em 0 0; max-width: 100% }
.tokens span { display: inline-block; border: 1px solid #bbb; border-radius: 3px; margin: 1px;
  padding: 0 3px; white-space: pre }
.tokens i { display: block; font-size: .65em; color: #555; font-style: normal }
.tokens .learned { background: #cfe8cf }
.tokens .image { background: #dde }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: .85em }
"""
_MIN_SIDE = 224  # of an image on the page


@dataclass(frozen=True)
class Sample:
    """One row of a batch and where it comes from."""

    record: Record
    template: str | None
    row: dict[str, np.ndarray]


def samples(
    config: Config, count: int, tokenizers: tuple[Tokenizer, Tokenizer]
) -> Iterator[Sample]:
    """The first `count` rows of the stream of `config`."""
    batches = pipeline.make_pipeline(config, tokenizers=tokenizers)
    seen: collections.Counter[int] = collections.Counter()
    try:
        while True:
            batch = next(batches)
            for place, index in enumerate(batch["index"]):
                if not count:
                    return
                count -= 1
                source, number, _ = pipeline.located(config, int(index))
                record = source.record(number)
                turns = dialogue.exchanges(
                    record,
                    box_decimals=config.data.box_decimals,
                    seed=config.seed,
                    epoch=seen[int(index)],
                )
                seen[int(index)] += 1
                rows = {name: values for name, values in batch.items() if values.ndim}
                row = {name: values[place] for name, values in rows.items()}
                yield Sample(record, turns[0].template, row)
    finally:
        batches.close()


def write_page(
    config: Config,
    count: int,
    out: str | Path,
    tokenizers: tuple[Tokenizer, Tokenizer] | None = None,
) -> tuple[int, list[str]]:
    """Writes the page of `count` samples.

    Args:
      tokenizers: of the LLM and the Q-Former; those of `config`, or trained ones, by default.

    Returns:
      How many samples it shows, and for each tower the line that says what its vocabulary lacks.
    """
    tokenizers = tokenizers or load_tokenizers(config)
    found = list(samples(config, count, tokenizers))
    shown = [_section(sample, config, *tokenizers) for sample in found]
    lines = _lacking(found, config, *tokenizers)
    name, number = config.stage.name, len(shown)
    page = document(
        "zv data peek",
        tag("h1", f"{number} samples of {name} · {name} 的 {number} 个样本"),
        tag(
            "p",
            "Green tokens are learned; numbers are ids. 绿色词元计入损失，数字为词元编号。",
        ),
        *(tag("p", line) for line in lines),
        *shown,
        style=_STYLE,
    )
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, page.encode())
    return number, lines


def _lacking(
    found: Sequence[Sample], config: Config, tokenizer: Tokenizer, qformer_tokenizer: Tokenizer
) -> list[str]:
    """How much of the texts each vocabulary does not know, or spells in parts of characters."""
    lines = []
    for name, words, arrays in (
        ("language model 语言模型", tokenizer, (("input_ids", "attention_mask"),)),
        (
            "Q-Former",
            qformer_tokenizer,
            (("text_ids", "text_mask"), ("qformer_input_ids", "qformer_attention_mask")),
        ),
    ):
        ids = [
            int(token)
            for sample in found
            for array, mask in arrays
            if array in sample.row
            for token in sample.row[array][sample.row[mask]]
            if token != config.model.image_token_id
        ]
        if ids:
            unknown = sum(token == words.unknown_id for token in ids) / len(ids)
            parts = sum(_is_part(words.spelling(token)) for token in ids) / len(ids)
            lines.append(
                f"{name}: {len(ids):,} tokens, [UNK] {unknown:.1%}, "
                f"single bytes of a character 字符的单个字节 {parts:.1%}"
            )
    return lines


def _is_part(spelling: bytes) -> bool:
    """Whether a token is no more than a part of a character."""
    try:
        spelling.decode()
    except UnicodeDecodeError:
        return True
    return False


def _section(
    sample: Sample, config: Config, tokenizer: Tokenizer, qformer_tokenizer: Tokenizer
) -> Html:
    record, row = sample.record, sample.row
    parts = _images(record, row)
    if "text_ids" in row:
        parts += _tokens("text 文本", row["text_ids"][row["text_mask"]], None, qformer_tokenizer)
    if "input_ids" in row:
        kept = row["attention_mask"]
        ids, labels = row["input_ids"][kept], row["labels"][kept]
        parts += _tokens("language model 语言模型", ids, labels, tokenizer, config)
        learned = [int(i) for i in labels if i != dialogue.IGNORE]
        parts.append(tag("p", tag("b", "learned 学习内容"), " ", tokenizer.decode(learned)))
    if "qformer_input_ids" in row:
        ids = row["qformer_input_ids"][row["qformer_attention_mask"]]
        parts += _tokens("Q-Former", ids, None, qformer_tokenizer)
    facts = " · ".join(filter(None, [record.task, record.lang, sample.template]))
    return tag(
        "section",
        tag("h2", record.id),
        tag("p", facts, cls="facts"),
        *parts,
        tag("details", tag("summary", "record 记录"), tag("pre", records_lib.dumps(record))),
    )


def _tokens(
    name: str,
    ids: Sequence[int],
    labels: Sequence[int] | None,
    tokenizer: Tokenizer,
    config: Config | None = None,
) -> list[Html]:
    """Every token with its id; learned ones are marked, a run of image places is one."""
    cells, run = [], 0
    image_id = config.model.image_token_id if config else None
    for place, token in enumerate([*map(int, ids), None]):
        if token is not None and token == image_id:
            run += 1
            continue
        if run:
            cells.append(tag("span", f"image 图片 × {run}", tag("i", image_id), cls="image"))
            run = 0
        if token is None:
            break
        learned = labels is not None and labels[place] != dialogue.IGNORE
        piece = tokenizer.piece(token)
        cells.append(tag("span", piece, tag("i", token), cls="learned" if learned else None))
    return [tag("p", tag("b", name), f" ({len(ids)})"), tag("div", *cells, cls="tokens")]


def _images(record: Record, row: dict[str, Any]) -> list[Html]:
    if "images" not in row:
        return []
    shown = row["images"] if row["images"].ndim == 4 else row["images"][None]
    return [
        image(_png(pixels, record, number), "png")
        for number, pixels in enumerate(shown[: len(record.images)])
    ]


def _png(pixels: np.ndarray, record: Record, number: int) -> bytes:
    """The image of a batch with the boxes of its record."""
    drawn = Image.fromarray(pixels)
    scale = -(-_MIN_SIDE // drawn.width)
    drawn = drawn.resize((drawn.width * scale,) * 2, Image.Resampling.NEAREST)
    draw, side = ImageDraw.Draw(drawn), drawn.width
    boxes = [(k, o.box) for k, o in enumerate(record.objects) if o.image == number]
    for k, box in boxes:
        x1, y1, x2, y2 = (min(round(v * side), side - 1) for v in box)
        draw.rectangle((x1, y1, max(x1, x2), max(y1, y2)), outline=_INK[k % len(_INK)], width=2)
        draw.text((x1 + 4, y1 + 2), str(k), fill=_INK[k % len(_INK)])
    out = io.BytesIO()
    drawn.save(out, "PNG")
    return out.getvalue()
