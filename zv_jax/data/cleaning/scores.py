"""How well a text fits an image: any scorer, a cache, and thresholds that suit the scorer.

Cosines of different models do not compare (those of Chinese-CLIP lie at 0.3 to 0.6, of CLIP at 0.2
to 0.35), so a threshold is calibrated per model, language and source and never carried over.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from zv_jax.errors import ConfigError

_VERSION = 2  # of how pairs are scored: part of the key that a score is remembered under

Scorer = Callable[[Sequence[Image.Image], Sequence[str]], np.ndarray]
"""Images and as many texts -> float [N]; higher fits better."""

# Share of pairs kept per source: Table 1 of the paper, as printed.
KEEP = {
    "cc12m": 0.85,
    "cc3m": 1.0,
    "sbu": 0.80,
    "coco_caption": 1.0,
    "ai_challenger": 1.0,
    "wukong": 0.12,
    "laion_zh": 0.75,
}


def by_quantile(scores: np.ndarray, keep: float) -> float:
    """The threshold at or above which the share `keep` of the scores lies; equal scores stay
    together, so that the order of records never decides."""
    if not 0 < keep <= 1:
        raise ConfigError(f"a keep rate of {keep}", expected="above 0, at most 1", fix="set --keep")
    if not len(scores) or keep == 1:
        return -np.inf
    ordered = np.sort(np.asarray(scores, np.float64))[::-1]
    return float(ordered[max(1, round(keep * len(ordered))) - 1])


def by_precision(matched: np.ndarray, shuffled: np.ndarray, precision: float) -> float:
    """The lowest threshold at which pairs that pass are real with probability `precision`.

    Args:
      matched: scores of pairs as they are, float [N].
      shuffled: scores of the same images with the texts of others, float [N].
      precision: hits of `matched` over all hits, both kinds being equally many; above 0.5.

    Raises:
      ConfigError: no threshold is so precise.
    """
    matched, shuffled = np.sort(matched), np.sort(shuffled)
    real = 1 - np.arange(len(matched)) / len(matched)  # share at or above each score of `matched`
    false = 1 - np.searchsorted(shuffled, matched) / len(shuffled)
    precise = np.flatnonzero(real >= precision * (real + false))
    if len(precise):
        return float(matched[precise[0]])
    raise ConfigError(
        f"no threshold has a precision of {precision}",
        expected="a scorer that tells real pairs from shuffled ones",
        fix="lower --precision, or use another --scorer",
    )


class Cached:
    """A scorer that remembers, in one SQLite file, what it has scored."""

    def __init__(self, scorer: Scorer, name: str, path: str | Path):
        self._scorer, self._name = scorer, name
        self._file = sqlite3.connect(path)
        self._file.execute("create table if not exists scores (key blob primary key, score real)")

    def __call__(self, images: Sequence[Image.Image], texts: Sequence[str]) -> np.ndarray:
        keys = [self._key(image, text) for image, text in zip(images, texts, strict=True)]
        find = "select score from scores where key = ?"
        rows = [self._file.execute(find, (key,)).fetchone() for key in keys]
        new = [place for place, row in enumerate(rows) if row is None]
        if new:
            scored = self._scorer([images[i] for i in new], [texts[i] for i in new])
            pairs = [(keys[i], float(score)) for i, score in zip(new, scored, strict=True)]
            self._file.executemany("insert or replace into scores values (?, ?)", pairs)
            self._file.commit()
            for place, (_, score) in zip(new, pairs, strict=True):
                rows[place] = (score,)
        return np.array([row[0] for row in rows], np.float64)

    def _key(self, image: Image.Image, text: str) -> bytes:
        about = f"{_VERSION}\x1f{self._name}\x1f{image.size}\x1f{text}\x1f"
        digest = hashlib.sha256(about.encode())
        digest.update(image.tobytes())
        return digest.digest()


def transformers_scorer(path: str, batch: int = 32) -> Scorer:
    """Cosines of a CLIP model of Hugging Face: ChineseCLIP, AltCLIP, MetaCLIP 2, SigLIP 2, CLIP...

    The cosine of a pair does not depend on the pairs it is scored with. SigLIP takes the vector of
    a text at the last place, so all its texts are as long as those it was trained with.

    Args:
      path: a local directory, or a name that is in the local cache.
      batch: pairs at a time.

    Raises:
      ConfigError: the model cannot be loaded, or is no CLIP.
    """
    import torch
    from transformers import AutoModel, AutoProcessor

    try:
        model = AutoModel.from_pretrained(path).eval()
        processor = AutoProcessor.from_pretrained(path)
        embed_text, embed_image = model.get_text_features, model.get_image_features
        positions = model.config.text_config.max_position_embeddings
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"no CLIP model: {error}",
            where=path,
            expected="a directory with a ChineseCLIP, AltCLIP, MetaCLIP 2, SigLIP 2 or CLIP model",
            fix="set --scorer",
        ) from None

    padding = "max_length" if model.config.model_type.startswith("siglip") else True
    length = min(positions, processor.tokenizer.model_max_length)  # some tokenizers know of none

    def unit(output: torch.Tensor) -> torch.Tensor:
        vector = getattr(output, "pooler_output", output)
        return vector / vector.norm(dim=-1, keepdim=True)

    def score(images: Sequence[Image.Image], texts: Sequence[str]) -> np.ndarray:
        found = []
        for start in range(0, len(texts), batch):
            words = processor(
                text=list(texts[start : start + batch]),
                return_tensors="pt",
                padding=padding,
                truncation=True,
                max_length=length,
            )
            pixels = processor(images=list(images[start : start + batch]), return_tensors="pt")
            with torch.inference_mode():
                left, right = unit(embed_text(**words)), unit(embed_image(**pixels))
                found.append((left * right).sum(-1).float().numpy())
        return np.concatenate(found)

    return score
