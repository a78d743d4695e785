"""Grounding DINO as the detector: boxes of names, each with its single best name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from PIL import Image
from transformers import AutoProcessor, GroundingDinoForObjectDetection

from zv_jax.bmmic.annotate import boxes, checkpoints
from zv_jax.bmmic.annotate.grounding_dino_text import clean, groups, spans_of
from zv_jax.bmmic.annotate.parts import Found
from zv_jax.bmmic.config import Model


class GroundingDino:
    """Boxes whose best name has a token of at least `threshold`.

    Raises:
      ConfigError: no Grounding DINO.
    """

    def __init__(self, model: Model, device: str):
        self._own = checkpoints.open_model(
            model, "annotate.detector", GroundingDinoForObjectDetection, AutoProcessor, device
        )
        self._threshold, self.about = model.threshold, self._own.about

    def detect(self, images: Sequence[Image.Image], names: Sequence[Sequence[str]]) -> list[Found]:
        """The boxes of each image; names too many for one text take several passes."""
        passes = [
            (number, group)
            for number, own in enumerate(names)
            for group in groups([self._length(name) for name in own], self._room)
        ]
        parts: list[list[Found]] = [[] for _ in images]
        for start in range(0, len(passes), len(images) or 1):
            now = passes[start : start + len(images)]
            chosen = [[names[number][i] for i in group] for number, group in now]
            found = self._pass([images[number] for number, _ in now], chosen)
            for (number, group), one in zip(now, found, strict=True):
                labels = np.asarray(group, np.int64)[one.labels]
                parts[number].append(Found(one.boxes, labels, one.scores))
        return [_joined(own) for own in parts]

    @property
    def _room(self) -> int:
        return int(self._own.model.config.max_text_len) - 2  # its beginning and end

    def _length(self, name: str) -> int:
        """Tokens of a name and its full stop."""
        return len(self._tokens(name)) + 1

    def _tokens(self, name: str) -> list[int]:
        return self._own.processor.tokenizer(clean(name), add_special_tokens=False).input_ids

    def _pass(
        self, images: Sequence[Image.Image], names: Sequence[Sequence[str]]
    ) -> Iterator[Found]:
        own = self._own
        texts = [" ".join(f"{clean(name)}." for name in one) for one in names]
        inputs = own.processor(images=list(images), text=texts, return_tensors="pt", padding=True)
        with torch.inference_mode():
            out = own.model(**inputs.to(own.device))
        tokens = torch.sigmoid(out.logits).float().cpu().numpy()
        places = out.pred_boxes.double().cpu().numpy()  # centre and size, in 0..1
        for row, image in enumerate(images):
            spans = spans_of([len(self._tokens(name)) for name in names[row]])
            labels, scores = boxes.best_labels(tokens[row], spans)
            centre, size = places[row, :, :2], places[row, :, 2:]
            corners = np.concatenate([centre - size / 2, centre + size / 2], -1)
            found = Found(corners * np.tile(image.size, 2), labels, scores)
            yield found[scores >= self._threshold]


def _joined(parts: Sequence[Found]) -> Found:
    if not parts:
        return Found(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0))
    columns = zip(*((p.boxes, p.labels, p.scores) for p in parts), strict=True)
    return Found(*(np.concatenate(column) for column in columns))
