"""Florence-2 as a tagger: the labels of its object detection."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from transformers import AutoProcessor, Florence2ForConditionalGeneration

from zv_jax.bmmic.annotate import checkpoints
from zv_jax.bmmic.annotate.captions import tag_of
from zv_jax.bmmic.annotate.parts import Tag
from zv_jax.bmmic.config import Model
from zv_jax.bmmic.view import View

_TASK = "<OD>"
_TOKENS = 512  # of a reply: some forty boxes


class Florence2Tagger:
    """Names of what Florence-2 detects; it has no scores, and its boxes are not used.

    Raises:
      ConfigError: no Florence-2 in the form of transformers.
    """

    def __init__(self, model: Model, device: str):
        self._own = checkpoints.open_model(
            model, "annotate.tagger", Florence2ForConditionalGeneration, AutoProcessor, device
        )
        self.about = {k: v for k, v in self._own.about.items() if k != "threshold"}

    def tags(self, images: Sequence[Image.Image], views: Sequence[View]) -> list[list[Tag]]:
        """The labels in the order of the reply, each once."""
        own = self._own
        inputs = own.processor(
            text=[_TASK] * len(images), images=list(images), return_tensors="pt", padding=True
        )
        with torch.inference_mode():
            made = own.model.generate(
                **inputs.to(own.device), max_new_tokens=_TOKENS, num_beams=1, do_sample=False
            )
        replies = own.processor.batch_decode(made, skip_special_tokens=False)
        return [self._labels(*row) for row in zip(replies, images, strict=True)]

    def _labels(self, reply: str, image: Image.Image) -> list[Tag]:
        found = self._own.processor.post_process_generation(
            text=reply, task=_TASK, image_size=image.size
        )
        labels = (" ".join(label.lower().split()) for label in found[_TASK]["labels"])
        return [tag_of(label) for label in dict.fromkeys(labels) if label]
