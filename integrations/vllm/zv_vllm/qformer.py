"""The Q-Former that reads a text beside the image: InstructBLIP's.

Source: Dai et al. 2023, "InstructBLIP", section 2.3: queries and the words of the instruction
attend to each other in every layer; the queries alone attend to the image, and they are the output.
vLLM's layers know texts in `forward`, but have no weights for them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig
from vllm.model_executor.models.blip2 import (
    Blip2QFormerIntermediate,
    Blip2QFormerModel,
    Blip2QFormerOutput,
)


class TextEmbeddings(nn.Module):
    """Queries and words, normalised together; words have positions from 0, queries have none."""

    def __init__(self, config: PretrainedConfig):
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, queries: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """[N, Q + S, D] of `queries` [N, Q, D] and `ids` [N, S]."""
        positions = self.position_embeddings.weight[: ids.shape[1]]
        words = self.word_embeddings(ids) + positions
        return self.layernorm(torch.cat([queries, words], dim=1))


class TextQFormer(Blip2QFormerModel):
    """vLLM's Q-Former with a text. There is no mask: texts of one call have equal lengths."""

    def __init__(self, config: PretrainedConfig, **options: Any):
        super().__init__(config, **options)
        del self.layernorm  # that of the embeddings takes its place
        self.embeddings = TextEmbeddings(config)
        for layer in self.encoder.layer:
            layer.intermediate = Blip2QFormerIntermediate(config)
            layer.output = Blip2QFormerOutput(config)

    def forward(
        self,
        query_embeds: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        input_ids: torch.Tensor,
    ) -> torch.Tensor:
        """Query outputs [N, Q, D].

        Args:
            query_embeds: [N, Q, D]; encoder_hidden_states: image features [N, P, V].
            input_ids: of the texts, [N, S].
        """
        count = query_embeds.shape[1]
        hidden = self.encoder(
            self.embeddings(query_embeds, input_ids),
            encoder_hidden_states=encoder_hidden_states,
            query_length=count,
        )
        return hidden[:, :count]
