"""SAM 3 as detector and segmenter in one pass: boxes of a name, tightened to its masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from transformers import AutoProcessor, Sam3Model

from zv_jax.bmmic.annotate import boxes, checkpoints
from zv_jax.bmmic.annotate.parts import Found
from zv_jax.bmmic.config import Model


class Sam3:
    """Instances of at least `threshold`, one name at a time; the vision tower runs once an image.

    Args:
      tighten: IoU that the bounds of a mask need with its box to take its place.

    Raises:
      ConfigError: no SAM 3.
    """

    def __init__(self, model: Model, device: str, tighten: float):
        self._own = checkpoints.open_model(
            model, "annotate.detector", Sam3Model, AutoProcessor, device
        )
        self._threshold, self._tighten, self.about = model.threshold, tighten, self._own.about

    def detect(self, images: Sequence[Image.Image], names: Sequence[Sequence[str]]) -> list[Found]:
        """The boxes of each image."""
        return [self._one(*row) for row in zip(images, names, strict=True)]

    def _one(self, image: Image.Image, names: Sequence[str]) -> Found:
        own, size = self._own, (image.height, image.width)
        places, labels, scores = [np.zeros((0, 4))], [], []
        if names:
            pixels = own.processor(images=image, return_tensors="pt")["pixel_values"]
            with torch.inference_mode():
                look = own.model.get_vision_features(pixel_values=pixels.to(own.device))
        for number, name in enumerate(names):
            text = own.processor(text=name, return_tensors="pt")
            words = {key: text[key].to(own.device) for key in ("input_ids", "attention_mask")}
            with torch.inference_mode():
                out = own.model(vision_embeds=look, **words)
            (found,) = own.processor.post_process_instance_segmentation(
                out, threshold=self._threshold, target_sizes=[size]
            )
            own_boxes = found["boxes"].double().cpu().numpy()
            masks = found["masks"].cpu().numpy().astype(bool)
            for box, mask in zip(own_boxes, masks, strict=True):
                places.append(boxes.tightened(box, mask, self._tighten)[None])
                labels.append(number)
            scores += found["scores"].float().cpu().tolist()
        return Found(np.concatenate(places), np.array(labels, np.int64), np.array(scores))
