"""`/v1/attention`: where the queries look in the images of a dialogue while its question is asked.

It is the last cross-attention of the Q-Former, averaged over heads and queries. That of Base
reads no question, so its maps depend on the image alone.
"""

from __future__ import annotations

import asyncio
from typing import Any

from zv_jax.errors import DataError
from zv_jax.serving import lengths, messages
from zv_jax.serving.follow import Current
from zv_jax.serving.images import Images
from zv_jax.serving.requests import AttentionRequest

_DECIMALS = 6


class Looks:
    """Makes the maps of images, for one request after another."""

    def __init__(self, current: Current, images: Images):
        self.current, self.images = current, images
        self._turn = asyncio.Lock()

    async def reply(self, body: AttentionRequest) -> dict[str, Any]:
        """The body of the reply: a map for each image of the dialogue, in order.

        Raises:
            DataError, ConfigError: a field is wrong, there is no image or one cannot be read, the
                question is too long, or the model sees no images.
        """
        model = self.current.model
        heard = messages.dialogue_of(body.messages)
        if not heard.images:
            raise DataError("no image", "messages", "an image in a message", "send one")
        question = heard.turns[-1].question
        if model.qformer_tokenizer is not None:
            most = model.config.model.llm.max_positions
            lengths.check(len(question), model.qformer_tokenizer, most, "messages")
        pixels = await self.images.read(heard.images)
        async with self._turn:
            maps = await asyncio.to_thread(model.attention_maps, pixels, [question] * len(pixels))
        if model.qformer_tokenizer is not None:
            model.qformer_tokenizer.forget()
        data = [
            {
                "object": "attention",
                "index": number,
                "rows": one.shape[0],
                "columns": one.shape[1],
                "weights": [round(float(weight), _DECIMALS) for weight in one.ravel()],
            }
            for number, one in enumerate(maps.mean(1))
        ]
        return {"object": "list", "data": data, "model": body.model, "step": model.step}
