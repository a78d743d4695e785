"""SigLIP as a tagger: every name of a bilingual list that fits an image well enough."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor

from zv_jax.bmmic.annotate import checkpoints
from zv_jax.bmmic.annotate.parts import Tag
from zv_jax.bmmic.config import TaggerModel
from zv_jax.bmmic.filters import concepts
from zv_jax.bmmic.view import View
from zv_jax.errors import ConfigError

_PROMPT = "This is a photo of {}."
_AT_ONCE = 64  # names


class SiglipTagger:
    """Names whose probability, the sigmoid that SigLIP was trained with, is high.

    Raises:
      ConfigError: no SigLIP or SigLIP 2; a tag list that cannot be read.
    """

    def __init__(self, model: TaggerModel, device: str):
        where = "annotate.tagger"
        own = checkpoints.open_model(model, where, AutoModel, AutoProcessor, device)
        if not own.model.config.model_type.startswith("siglip"):
            raise ConfigError(
                f"a {own.model.config.model_type} cannot say how sure it is of one tag",
                where=f"{where}.model: {model.model!r}",
                expected="SigLIP or SigLIP 2",
            )
        self._own, self._settings, self._tags = own, model, tag_list(model.tags)
        self._names = self._embedded([_PROMPT.format(tag.en) for tag in self._tags])
        listed = {"tags": model.tags or "concepts.yaml", "count": len(self._tags)}
        self.about = own.about | listed | {"most": model.most}

    def tags(self, images: Sequence[Image.Image], views: Sequence[View]) -> list[list[Tag]]:
        """The names above the threshold, most probable first."""
        own = self._own
        pixels = own.processor(images=list(images), return_tensors="pt").to(own.device)
        with torch.inference_mode():
            looks = _unit(own.model.get_image_features(**pixels))
            scale, bias = own.model.logit_scale.exp(), own.model.logit_bias
            sure = torch.sigmoid(scale * looks @ self._names.T + bias).float()
        found = []
        for row in sure:
            best = torch.argsort(row, descending=True, stable=True)[: self._settings.most].tolist()
            found.append([self._tags[i] for i in best if row[i] >= self._settings.threshold])
        return found

    def _embedded(self, texts: Sequence[str]) -> torch.Tensor:
        """Unit vectors of texts, each as long as those that the model was trained with."""
        own, rows = self._own, []
        length = min(
            own.model.config.text_config.max_position_embeddings,
            own.processor.tokenizer.model_max_length,
        )
        for start in range(0, len(texts), _AT_ONCE):
            words = own.processor(
                text=list(texts[start : start + _AT_ONCE]),
                return_tensors="pt",
                padding="max_length",
                truncation=True,
                max_length=length,
            )
            with torch.inference_mode():
                rows.append(_unit(own.model.get_text_features(**words.to(own.device))))
        return torch.cat(rows)


def _unit(output: torch.Tensor) -> torch.Tensor:
    vector = getattr(output, "pooler_output", output)
    return vector / vector.norm(dim=-1, keepdim=True)


def tag_list(path: str) -> tuple[Tag, ...]:
    """Tags of a file with a line `english<TAB>chinese` for each, or those of our table of names.

    Raises:
      ConfigError: the file cannot be read, or a line is none of these.
    """
    if not path:
        return tuple(Tag(key.replace("_", " "), zh) for key, zh in concepts.table().chinese.items())
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _no_list(path, str(error)) from None
    found = []
    for number, line in enumerate(lines, 1):
        names = [name.strip() for name in line.split("\t")]
        if not line.strip():
            continue
        if len(names) != 2 or not names[0]:
            raise _no_list(f"{path}:{number}", f"{line!r:.80}")
        found.append(Tag(names[0], names[1] or None))
    if not found:
        raise _no_list(path, "it is empty")
    return tuple(found)


def _no_list(where: str, why: str) -> ConfigError:
    return ConfigError(
        f"no list of tags: {why}",
        where=where,
        expected="a line for each tag: its English name, a tab, its Chinese name",
        fix="set annotate.tagger.tags, or leave it empty for the table of names",
    )
