"""The model: ViT, Q-Former with or without a text, projection, LLaMA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import InstructBlipConfig
from vllm.config import VllmConfig
from vllm.model_executor.models.blip2 import Blip2ForConditionalGeneration
from vllm.model_executor.models.utils import maybe_prefix
from vllm.multimodal import MULTIMODAL_REGISTRY

from zv_vllm import adapters
from zv_vllm.features import Features
from zv_vllm.processing import IMAGE, Dummy, Info, Processor
from zv_vllm.qformer import TextQFormer


@MULTIMODAL_REGISTRY.register_processor(Processor, info=Info, dummy_inputs=Dummy)
class ZiyaVisual(Blip2ForConditionalGeneration):
    """Base and Chat: vLLM's BLIP-2 with images anywhere in the prompt, and for Chat with a text in
    the Q-Former."""

    # "qkv" is one matrix of the image encoder. Unless it is listed, vLLM drops its adapter.
    packed_modules_mapping = {
        "qkv_proj": ["q_proj", "k_proj", "v_proj"],
        "gate_up_proj": ["gate_proj", "up_proj"],
        "qkv": ["qkv"],
    }

    @classmethod
    def get_placeholder_str(cls, modality: str, i: int) -> str:
        """The mark of an image in a prompt."""
        return IMAGE

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = ""):
        """
        Raises:
            Refused: vLLM would serve adapters without their part in the image encoder.
        """
        adapters.check(vllm_config.lora_config)
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        if isinstance(self.config, InstructBlipConfig):
            with self._mark_tower_model(vllm_config, "image"):
                self.qformer = TextQFormer(
                    self.config.qformer_config,
                    cache_config=vllm_config.cache_config,
                    quant_config=vllm_config.quant_config,
                    prefix=maybe_prefix(prefix, "qformer"),
                )
        # With adapters of the image encoder, features belong to an image and an adapter.
        self.features = Features() if vllm_config.lora_config is None else None
        self.hf_to_vllm_mapper = adapters.Names(self, self.packed_modules_mapping)

    def embed_multimodal(self, **kwargs: Any) -> Sequence[torch.Tensor]:
        """The visual tokens [Q, D] of each image.

        Args:
            pixel_values: [N, 3, H, W]; pixel_key: SHA-256 of each, [N, 32].
            qformer_input_ids: for Chat, N texts of ids.
        """
        pixels = kwargs.get("pixel_values")
        if pixels is None:
            return []
        if self.features is None:
            seen = self.vision_model(pixels)
        else:
            keys = [bytes(key) for key in kwargs["pixel_key"].tolist()]
            seen = self.features.of(keys, pixels, self.vision_model)
        if not isinstance(self.config, InstructBlipConfig):
            queries = self.query_tokens.expand(len(seen), -1, -1)
            outputs = self.qformer(query_embeds=queries, encoder_hidden_states=seen)
            return self.language_projection(outputs)
        return self._read(seen, list(kwargs["qformer_input_ids"]))

    def _read(self, seen: torch.Tensor, texts: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        """The visual tokens of each image, of texts of one length those of all at once."""
        rows: dict[int, list[int]] = {}
        for i, text in enumerate(texts):
            rows.setdefault(len(text), []).append(i)
        found: dict[int, torch.Tensor] = {}
        for group in rows.values():
            outputs = self.qformer(
                query_embeds=self.query_tokens.expand(len(group), -1, -1),
                encoder_hidden_states=seen[group],
                input_ids=torch.stack([texts[i] for i in group]),
            )
            found |= zip(group, self.language_projection(outputs), strict=True)
        return [found[i] for i in range(len(texts))]

    def compute_logits(self, hidden_states: torch.Tensor) -> torch.Tensor | None:
        """As vLLM's, but the mark of an image is never a word.

        The export says so in `generation_config.json` (`suppress_tokens`), which vLLM ignores.
        """
        logits = super().compute_logits(hidden_states)
        if logits is None:  # of a process that holds a shard
            return None
        mark = torch.tensor([self.config.image_token_index], device=logits.device)
        return logits.index_fill(-1, mark, float("-inf"))

    def get_mm_lora_token_counts(
        self, *, modality: str, mm_kwargs: Mapping[str, Any] | None, num_mm_embeds: int
    ) -> tuple[int, int]:
        """Tokens of the image encoder and of the Q-Former for so many visual tokens.

        vLLM asks for its whole budget, too, which need not be a multiple of the queries.
        """
        queries = self.config.num_query_tokens
        images = -(-num_mm_embeds // queries)
        return images * self._vision_tokens_per_image, images * queries
