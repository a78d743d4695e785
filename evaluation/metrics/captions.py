"""All caption scores at once, from raw texts by id; every text is cut into tokens once."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from zv_jax.errors import DataError
from zv_jax.evaluation.metrics.bleu import bleu
from zv_jax.evaluation.metrics.cider import MAX_N, SIGMA, cider_d
from zv_jax.evaluation.metrics.rouge import rouge_l
from zv_jax.evaluation.metrics.tokens import tokenizer as tokenizer_of
from zv_jax.evaluation.metrics.tokens import version

METRICS = ("cider", *(f"bleu_{n}" for n in range(1, MAX_N + 1)), "rouge_l")
LONE_IMAGE = "one image only: no n-gram has any idf, so CIDEr is 0 whatever the caption"

Id = Hashable


def caption_scores(
    references: Mapping[Id, Sequence[str]],
    predictions: Mapping[Id, str],
    tokenizer: str = "ptb",
    corpus: Mapping[Id, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """CIDEr-D, BLEU and ROUGE-L of raw captions, as the COCO caption tools compute them.

    Args:
      references: id of an image -> its reference captions.
      predictions: id -> the caption to score; the same ids.
      tokenizer: ``"ptb"`` for English, ``"zh_char"`` or ``"zh_jieba"`` for Chinese, ``"none"`` for
        texts that are cut by spaces already. It is part of the metric: `caption_metric`.
      corpus: references whose document frequencies count, where `references` is only a part of the
        evaluated set; by default `references`.

    Returns:
      ``cider`` (0..10, papers print a hundredfold), ``bleu_1`` to ``bleu_4`` and ``rouge_l``
      (0..1) over the corpus; ``per_item``: id -> the same of one image; ``notes``: what a reader
      of the numbers must know.

    Raises:
      DataError: nothing to score, ids differ, or an image has no list of reference texts.
      ConfigError: unknown tokenizer. SetupError: its package is missing.
    """
    cut = functools.cache(tokenizer_of(tokenizer))  # a text may be reference and corpus
    _check(references, predictions)
    ids = list(references)
    said = [cut(predictions[i]) for i in ids]
    refs = [[cut(text) for text in references[i]] for i in ids]
    whole = None if corpus is None else [[cut(text) for text in t] for t in corpus.values()]
    rouge, rouges = rouge_l(said, refs)
    said, refs = list(map(_words, said)), [list(map(_words, several)) for several in refs]
    bleus, each = bleu(said, refs)
    whole = None if whole is None else [list(map(_words, several)) for several in whole]
    cider, ciders = cider_d(said, refs, whole)
    rows = [(c, *b, r) for c, b, r in zip(ciders, each, rouges, strict=True)]
    return {
        **dict(zip(METRICS, (cider, *bleus, rouge), strict=True)),
        "per_item": {
            i: dict(zip(METRICS, row, strict=True)) for i, row in zip(ids, rows, strict=True)
        },
        "notes": [LONE_IMAGE] if len(whole or refs) == 1 else [],
    }


def _words(tokens: list[str]) -> list[str]:
    """Tokens as CIDEr and BLEU see them: both split a number like ``22 3/4``, which is one token
    with a no-break space in it, and ROUGE-L does not."""
    return " ".join(tokens).split()


def caption_metric(tokenizer: str) -> str:
    """Name of CIDEr-D x 100 with a tokenizer; Chinese never is a bare CIDEr."""
    return {"ptb": "CIDEr-D", "none": "cider_none"}.get(tokenizer, f"cider_{tokenizer}")


def caption_protocol(tokenizer: str) -> str:
    """What else the number depends on."""
    return f"cider-d|{version(tokenizer)}|df=refs|n={MAX_N}|sigma={SIGMA:g}|x100"


def _check(references: Mapping[Id, Sequence[str]], predictions: Mapping[Id, str]) -> None:
    if not references:
        raise DataError("no image to score", where="references", expected="id -> list of captions")
    missing = [i for i in references if i not in predictions]
    unknown = [i for i in predictions if i not in references]
    if missing or unknown:
        first = missing[0] if missing else unknown[0]
        raise DataError(
            f"{len(missing)} images have no prediction and {len(unknown)} predictions no image",
            where=f"id {first!r}",
            expected="the same ids in references and predictions",
            fix="score the images you have captions for, under a name that says so",
        )
    for i, texts in references.items():
        if isinstance(texts, str) or not texts or not all(isinstance(t, str) for t in texts):
            raise DataError(
                f"not a list of texts: {texts!r:.80}",
                where=f"references of id {i!r}",
                expected="a list with at least one caption",
            )
        if texts[0].startswith(("['", '["')):
            warnings.warn(
                f"the reference of id {i!r} looks like a list written as text: {texts[0]!r:.60}; "
                "captions must be separate texts"
            )
        if not isinstance(predictions[i], str):
            raise DataError(
                f"not a text: {predictions[i]!r:.80}",
                where=f"prediction of id {i!r}",
                expected="one caption; an empty one scores 0",
            )
