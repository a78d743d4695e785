"""`/v1/embeddings`: vectors of texts and images, of models with the heads of stage 0.

A text has one vector, and an image one for each query: `embedding` holds these one after another,
and `shape` says [Q, E]. The similarity of an image and a text is the maximum over the queries.
"""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import numpy as np

from zv_jax.errors import DataError
from zv_jax.inference.prompts import existing
from zv_jax.serving import lengths
from zv_jax.serving.follow import Current
from zv_jax.serving.images import Images
from zv_jax.serving.messages import Shown
from zv_jax.serving.requests import EmbeddingRequest, ImagePart, TextPart


class Embeddings:
    """Embeds texts and images, one request after another."""

    def __init__(self, current: Current, images: Images):
        self.current, self.images = current, images
        self._turn = asyncio.Lock()

    async def reply(self, body: EmbeddingRequest) -> dict[str, Any]:
        """The body of the reply.

        Raises:
            DataError, ConfigError: an input is empty, too long or no image, or the model has no
                heads.
        """
        model = self.current.model
        inputs = body.input if isinstance(body.input, list) else [body.input]
        texts, shown = {}, {}
        for number, one in enumerate(inputs):
            where = f"input[{number}]"
            if isinstance(one, ImagePart):
                shown[number] = Shown(one.image_url.url, f"{where}.image_url")
            else:
                texts[number] = one.text if isinstance(one, TextPart) else one
        tokens = await asyncio.to_thread(self._tokens, texts) + len(shown) * self._queries
        pixels = await self.images.read(list(shown.values()))
        found: dict[int, np.ndarray] = {}
        async with self._turn:
            if texts:
                vectors = await asyncio.to_thread(model.embed_texts, list(texts.values()))
                found |= zip(texts, vectors, strict=True)
            if shown:
                vectors = await asyncio.to_thread(model.embed_images, pixels)
                found |= zip(shown, vectors, strict=True)
        existing(model.qformer_tokenizer, "embeddings").forget()
        data = [self._entry(number, found[number], body) for number in range(len(inputs))]
        return {
            "object": "list",
            "data": data,
            "model": body.model,
            "step": model.step,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }

    @property
    def _queries(self) -> int:
        return self.current.model.config.model.qformer.num_queries

    def _tokens(self, texts: dict[int, str]) -> int:
        """Tokens of all texts, those that enclose each counted."""
        model = self.current.model
        tokenizer = existing(model.qformer_tokenizer, "embeddings")
        most = model.config.data.max_text
        total = 0
        for number, text in texts.items():
            where = f"input[{number}]"
            if not text.strip():
                raise DataError("an empty text", where, "words", "leave it out")
            lengths.check(len(text), tokenizer, most, where)
            tokens = len(tokenizer.encode(text.strip())) + 2
            if tokens > most:
                raise lengths.too_long(f"a text of {tokens} tokens", most, where)
            total += tokens
        return total

    def _entry(self, number: int, vectors: np.ndarray, body: EmbeddingRequest) -> dict[str, Any]:
        size = vectors.shape[-1]
        if body.dimensions not in (None, size):
            raise DataError(
                f"{body.dimensions} dimensions", "dimensions", f"{size}", "leave it out"
            )
        flat = np.ascontiguousarray(vectors, "<f4").ravel()
        coded = body.encoding_format == "base64"
        return {
            "object": "embedding",
            "index": number,
            "embedding": base64.b64encode(flat.tobytes()).decode() if coded else flat.tolist(),
            "shape": list(vectors.shape),
        }
