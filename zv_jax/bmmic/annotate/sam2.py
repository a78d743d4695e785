"""SAM 2 as the segmenter: one mask for each box."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from PIL import Image
from transformers import AutoProcessor, Sam2Model

from zv_jax.bmmic.annotate import checkpoints
from zv_jax.bmmic.config import Model


class Sam2:
    """Masks whose logits are above 0; images go through the vision tower together.

    Raises:
      ConfigError: no SAM 2.
    """

    def __init__(self, model: Model, device: str):
        self._own = checkpoints.open_model(
            model, "annotate.segmenter", Sam2Model, AutoProcessor, device
        )
        self.about = {k: v for k, v in self._own.about.items() if k != "threshold"}

    def masks(
        self, images: Sequence[Image.Image], boxes: Sequence[np.ndarray]
    ) -> Iterator[np.ndarray]:
        """Of each image, masks [N, H, W] for its boxes [N, 4]; those of one image at a time."""
        own = self._own
        shown = [i for i, found in enumerate(boxes) if len(found)]
        features, rows = [], {number: row for row, number in enumerate(shown)}
        if shown:
            pixels = own.processor(images=[images[i] for i in shown], return_tensors="pt")
            with torch.inference_mode():
                values = pixels["pixel_values"].to(own.device)
                features = own.model.get_image_embeddings(values)
        for number, (image, found) in enumerate(zip(images, boxes, strict=True)):
            size = (image.height, image.width)
            if number not in rows:
                yield np.zeros((0, *size), bool)
                continue
            row = rows[number]
            words = own.processor(
                input_boxes=[found.tolist()], original_sizes=[list(size)], return_tensors="pt"
            )
            with torch.inference_mode():
                out = own.model(
                    image_embeddings=[level[row : row + 1] for level in features],
                    input_boxes=words["input_boxes"].to(own.device),
                    multimask_output=False,
                )
            (masks,) = own.processor.post_process_masks(out.pred_masks.cpu(), [list(size)])
            yield masks[:, 0].numpy()
