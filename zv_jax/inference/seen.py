"""What has been computed from an image is kept: its pixels are read once, whatever is asked."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Shaped, UInt8

from zv_jax.arrays import Array
from zv_jax.data.text import dialogue
from zv_jax.inference.model import Model
from zv_jax.inference.program import compiled
from zv_jax.inference.prompts import existing
from zv_jax.models.presets import ModelConfig
from zv_jax.models.ziya_visual import ZiyaVisual


class Kept:
    """The most recent results of computations, by what they were computed from.

    Args:
        most: how many are kept; the one that was used longest ago goes first.

    Attributes:
        hits, misses: how often a result was there, and was not.
    """

    def __init__(self, most: int):
        self.most, self.hits, self.misses = most, 0, 0
        self._kept: OrderedDict[bytes, np.ndarray] = OrderedDict()

    def of(
        self, key: bytes, compute: Callable[[], Shaped[np.ndarray, "*any"]]
    ) -> Shaped[np.ndarray, "*any"]:
        """The result with this key, computed if it is not there."""
        if key in self._kept:
            self.hits += 1
            self._kept.move_to_end(key)
            return self._kept[key]
        self.misses += 1
        found = self._kept[key] = compute()
        if len(self._kept) > self.most:
            self._kept.popitem(last=False)
        return found

    def clear(self) -> None:
        """Forgets all results."""
        self._kept.clear()


def key_of(*arrays: Shaped[np.ndarray, "*any"]) -> bytes:
    """SHA-256 of the content, shape and dtype of arrays."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(repr((array.shape, array.dtype.str)).encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.digest()


class VisualTokens:
    """The visual tokens of images for one model, from two small programs.

    The Q-Former of Chat reads the last question, so its tokens are kept by image and question; the
    features of an image do not depend on what is asked.

    Args:
        model: with a vision tower.
        most: images whose features are kept; and as many visual tokens.
        compile_: `compile_(function, *arguments)` makes the program for arguments of these shapes.

    Attributes:
        features, tokens: what is kept of images, by their pixels: resized, with nothing
            transparent, so that the preprocessing is part of the key.
    """

    def __init__(self, model: Model, most: int, compile_: Callable[..., Any] = compiled):
        self._model, self._compile = model, compile_
        self.features, self.tokens = Kept(most), Kept(most)
        self._programs: tuple[Callable[..., Any], Callable[..., Any]] | None = None

    def prepare(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """Compiles the programs, which `of` does otherwise: of the features of an image, and of its
        visual tokens."""
        cfg = self._model.config.model
        size, variables = cfg.vision.image_size, self._model.variables
        pixels = self._model.repeated(np.zeros((size, size, 3), np.uint8))
        asked = self._instruction([])
        encode, query = (_first(cfg, name) for name in ("encode_images", "image_tokens"))
        encoded = self._compile(encode, variables, pixels)
        features = jax.eval_shape(encode, variables, pixels)
        features = np.zeros((len(pixels), *features.shape), features.dtype)
        self._programs = encoded, self._compile(query, variables, features, *asked)
        return self._programs

    def take(self, model: Model) -> None:
        """Goes on with a model that is the same but for its weights."""
        self._model = model
        self.features.clear()
        self.tokens.clear()

    def of(
        self, image: UInt8[np.ndarray, "height width 3"], qformer_ids: list[int]
    ) -> tuple[bytes, Float[np.ndarray, "Q D"]]:
        """The visual tokens of an image, and a key that is equal where they are.

        Args:
            image: resized.
            qformer_ids: what the Q-Former of Chat reads; that of Base reads nothing.
        """
        asked, image_key = self._instruction(qformer_ids), key_of(image)
        key = image_key + key_of(*asked)
        return key, self.tokens.of(key, lambda: self._look(image, image_key, asked))

    def _look(self, image: np.ndarray, key: bytes, asked: tuple[np.ndarray, ...]) -> np.ndarray:
        encode, query = self._programs or self.prepare()
        variables, repeated = self._model.variables, self._model.repeated
        features = self.features.of(key, lambda: np.asarray(encode(variables, repeated(image))))
        return np.asarray(query(variables, repeated(features), *asked))

    def _instruction(self, ids: list[int]) -> tuple[np.ndarray, ...]:
        """What the Q-Former of Chat reads; nothing in Base."""
        model = self._model
        if not model.config.model.qformer_sees_instruction:
            return ()
        length = model.config.data.max_qformer_text
        pad_id = existing(model.qformer_tokenizer, "prompts").pad_id
        rows = [ids] * model.rows
        return dialogue.pad_right(rows, pad_id, length), dialogue.mask_of(rows, length)


def _first(cfg: ModelConfig, method: str) -> Callable[..., Array]:
    """The first row of what a method of the model gives for equal rows."""
    return lambda variables, *rows: ZiyaVisual(cfg).apply(variables, *rows, method=method)[0]
