"""`ZiyaVisual`: ViT -> Q-Former -> projector -> LLaMA, for Base and Chat alike (paper section 3.2).

Base and Chat are one class: `qformer_sees_instruction` decides whether the Q-Former reads the
instruction. Submodules are created lazily: a stage that never calls a tower holds no weights of it.
"""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, Float32, Int

from zv_jax.arrays import Array
from zv_jax.models.attention import upto_itself
from zv_jax.models.layers import LayerNorm, Linear
from zv_jax.models.llama import Cache, Layers, Llama
from zv_jax.models.placeholders import RowImages, check_placeholders
from zv_jax.models.presets import LoraConfig, ModelConfig
from zv_jax.models.qformer import QFormer, bidirectional_mask, causal_mask
from zv_jax.models.vit import Images, VisionTransformer


class Heads(nn.Module):
    """For pre-training and retrieval only: two projections, the ITM head, the temperature."""

    cfg: ModelConfig
    dtype: DTypeLike
    param_dtype: DTypeLike

    def setup(self) -> None:
        q = self.cfg.qformer
        kinds = dict(logits=True, dtype=self.dtype, param_dtype=self.param_dtype)
        self.vision_proj = Linear(q.embed_dim, ("embed", "projection"), **kinds)
        self.text_proj = Linear(q.embed_dim, ("embed", "projection"), **kinds)
        self.itm = Linear(2, ("embed", None), **kinds)
        self.temperature = self.param(
            "temperature",
            nn.with_logical_partitioning(nn.initializers.constant(q.initial_temperature), ()),
            (),
            jnp.float32,
        )


class ZiyaVisual(nn.Module):
    """The composition. `deterministic=False` turns dropout on; it needs the rng "dropout".

    `frozen` names what does not train, such as "params/qformer" or "lora/llm". It runs without
    dropout even then: it could not learn to cope with the noise, which inference never has.
    """

    cfg: ModelConfig
    deterministic: bool = True
    frozen: frozenset[str] = frozenset()

    def setup(self) -> None:
        cfg = self.cfg
        vision, qformer = cfg.vision, cfg.qformer
        if "params/vision" in self.frozen:
            vision = dataclasses.replace(vision, drop_path=0.0)
        if "params/qformer" in self.frozen:
            qformer = dataclasses.replace(qformer, dropout=0.0)
        kinds = dict(dtype=jnp.dtype(cfg.dtype), param_dtype=jnp.dtype(cfg.param_dtype))
        common = dict(remat=cfg.remat, deterministic=self.deterministic, **kinds)
        self.vision = VisionTransformer(vision, lora=self._lora("vision"), **common)
        self.ln_vision = LayerNorm(cfg.vision.ln_vision_eps, **kinds)
        self.qformer = QFormer(qformer, **common)
        self.heads = Heads(cfg, **kinds)
        self.projector = Linear(cfg.llm.width, ("embed", "embed_out"), **kinds)
        self.llm = Llama(cfg.llm, lora=self._lora("llm"), **common)

    def _lora(self, tower: str) -> LoraConfig:
        frozen = f"lora/{tower}" in self.frozen
        return dataclasses.replace(self.cfg.lora, dropout=0.0) if frozen else self.cfg.lora

    # --- image side -------------------------------------------------------------------------

    def encode_images(self, images: Images) -> Float[Array, "B P Dv"]:
        """Image features, after `ln_vision`."""
        return self.ln_vision(self.vision(images))

    def query(
        self,
        features: Float[Array, "B P Dv"],
        text_ids: Int[Array, "B S"] | None = None,
        text_mask: Bool[Array, "B S"] | None = None,
    ) -> Float[Array, "B Q D"]:
        """Query outputs for image features, and for an instruction if given."""
        if text_ids is None:
            return self.qformer(features)[0]
        mask = bidirectional_mask(self.cfg.qformer.num_queries, text_mask)
        return self.qformer(features, text_ids, mask)[0]

    def project_queries(self, queries: Float[Array, "B Q D"]) -> Float32[Array, "B Q E"]:
        """Normalised projections of query outputs (ITC)."""
        return _unit(self.heads.vision_proj(queries))

    def image_embed(self, images: Images) -> Float32[Array, "B Q E"]:
        """Normalised query projections of images."""
        return self.project_queries(self.query(self.encode_images(images)))

    # --- text side --------------------------------------------------------------------------

    def text_embed(
        self, text_ids: Int[Array, "B T"], text_mask: Bool[Array, "B T"]
    ) -> Float32[Array, "B E"]:
        """Normalised projection of the first token of texts (ITC)."""
        _, text = self.qformer(None, text_ids, bidirectional_mask(0, text_mask))
        return _unit(self.heads.text_proj(text[:, 0]))

    def caption(
        self,
        features: Float[Array, "B P Dv"],
        text_ids: Int[Array, "B T"],
        text_mask: Bool[Array, "B T"],
    ) -> tuple[Float[Array, "B Q D"], Float32[Array, "B T V"]]:
        """One multimodal causal pass: query outputs, and logits of the text (ITG).

        Queries never see the text here, so the same query outputs serve ITC.
        """
        mask = causal_mask(self.cfg.qformer.num_queries, text_mask)
        queries, text = self.qformer(features, text_ids, mask)
        return queries, self.qformer.text_logits(text)

    def match(
        self,
        features: Float[Array, "B P Dv"],
        text_ids: Int[Array, "B T"],
        text_mask: Bool[Array, "B T"],
    ) -> Float32[Array, "B 2"]:
        """ITM logits, class 1 = match: the head's logits averaged over queries."""
        queries = self.query(features, text_ids, text_mask)
        return self.heads.itm(queries).mean(1)

    # --- language ---------------------------------------------------------------------------

    def visual_tokens(
        self,
        images: RowImages,
        instruction: Int[Array, "B S"] | None = None,
        instruction_mask: Bool[Array, "B S"] | None = None,
    ) -> Float[Array, "B I*{self.cfg.qformer.num_queries} {self.cfg.llm.width}"]:
        """Visual tokens of the images of each row, in their order.

        The Q-Former of Chat reads the row's instruction with each of its images.
        """
        batch, count = images.shape[:2]
        features = self.encode_images(images.reshape(batch * count, *images.shape[2:]))
        if self.cfg.qformer_sees_instruction:
            instruction = jnp.repeat(instruction, count, 0)
            instruction_mask = jnp.repeat(instruction_mask, count, 0)
        else:
            instruction = instruction_mask = None
        tokens = self.image_tokens(features, instruction, instruction_mask)
        return tokens.reshape(batch, -1, self.cfg.llm.width)

    def image_tokens(
        self,
        features: Float[Array, "B P Dv"],
        instruction: Int[Array, "B S"] | None = None,
        instruction_mask: Bool[Array, "B S"] | None = None,
    ) -> Float[Array, "B {self.cfg.qformer.num_queries} {self.cfg.llm.width}"]:
        """Visual tokens of one image for each row, given its features."""
        if not self.cfg.qformer_sees_instruction:
            return self.projector(self.query(features))
        return self.projector(self.query(features, instruction, instruction_mask))

    def embed(
        self, input_ids: Int[Array, "B T"], visual: Float[Array, "B IQ D"] | None
    ) -> Float[Array, "B T D"]:
        """Token embeddings; the k-th placeholder of a row takes its k-th visual token.

        Args:
            input_ids: with placeholders.
            visual: I * Q tokens for each row; None when no row has an image.
        """
        is_image = input_ids == self.cfg.image_token_id
        embeds = self.llm.embed(jnp.where(is_image, 0, input_ids))
        if visual is None:
            return embeds
        order = jnp.clip(jnp.cumsum(is_image, 1) - 1, 0, visual.shape[1] - 1)
        placed = jnp.take_along_axis(visual, order[..., None], 1)
        return jnp.where(is_image[..., None], placed.astype(embeds.dtype), embeds)

    def hidden(
        self,
        visual: Float[Array, "B IQ D"] | None,
        input_ids: Int[Array, "B T"],
        attention_mask: Bool[Array, "B T"],
        right_padded: bool = False,
    ) -> Float[Array, "B T D"]:
        """Last hidden states; arguments as in `embed` and `__call__`.

        Args:
            right_padded: padding stands behind all real tokens of its row. None of them sees it
                then, so that attention needs no mask, which is faster on a GPU; states at padding
                are of no use.
        """
        embeds = self.embed(input_ids, visual)
        mask = None if right_padded else _causal(attention_mask)
        return self.llm(embeds, positions_of(attention_mask), mask)

    def __call__(
        self,
        images: RowImages | None,
        input_ids: Int[Array, "B T"],
        attention_mask: Bool[Array, "B T"],
        qformer_input_ids: Int[Array, "B S"] | None = None,
        qformer_attention_mask: Bool[Array, "B S"] | None = None,
    ) -> Float32[Array, "B T V"]:
        """Logits of the next token at every position.

        Args:
            images: bytes, or floats normalised already, in the order of the row's placeholders;
                None when no row has an image.
            input_ids: each image as `num_queries` placeholders.
            attention_mask: False at padding on either side.
            qformer_input_ids: the instruction (Chat only).
            qformer_attention_mask: False at its padding.

        Raises:
            DataError: a row's placeholders do not match its images (see `check_placeholders`).
        """
        check_placeholders(images, input_ids, self.cfg)
        visual = None
        if images is not None:
            visual = self.visual_tokens(images, qformer_input_ids, qformer_attention_mask)
        return self.llm.logits(self.hidden(visual, input_ids, attention_mask))

    def prefill(
        self,
        visual: Float[Array, "B IQ D"] | None,
        input_ids: Int[Array, "B T"],
        attention_mask: Bool[Array, "B T"],
    ) -> tuple[Float32[Array, "B V"], Layers]:
        """Reads left-padded prompts: logits of the next token, keys and values of all layers."""
        embeds = self.embed(input_ids, visual)
        hidden, kept = self.llm.read(embeds, positions_of(attention_mask), _causal(attention_mask))
        return self.llm.logits(hidden[:, -1]), kept

    def decode(
        self,
        ids: Int[Array, " BC"],
        positions: Int[Array, " BC"],
        cache: Cache,
        index: Int[Array, " BC"] | Int[Array, ""] | int,
        parents: Int[Array, "B C"] | None = None,
    ) -> tuple[Float32[Array, "BC V"], Cache]:
        """Reads one token in each of B * C rows, and returns the logits of the next.

        The token goes to place `index` after the prompt, the same one in all rows or one for each;
        `parents` as in `Llama.read_on`.
        """
        places = jax.tree.leaves(cache.new)[0].shape[-2]
        mask = (jnp.arange(places) <= jnp.reshape(index, (-1, 1)))[:, None]
        embeds = self.llm.embed(ids[:, None])
        hidden, cache = self.llm.read_on(embeds, positions[:, None], mask, cache, index, parents)
        return self.llm.logits(hidden[:, 0]), cache

    def read_on(
        self,
        visual: Float[Array, "B T D"],
        input_ids: Int[Array, "B T"],
        cache: Cache,
        index: Int[Array, ""],
        last: Int[Array, ""],
    ) -> tuple[Float32[Array, "B V"], Cache]:
        """Reads T tokens more of rows that have no padding on the left, from place `index` on.

        Args:
            visual: of the placeholders in `input_ids`, then anything.
            input_ids: padded on the right.
            cache: `new` has everything read so far, and room for T more from `index` on.
            index: the number of tokens read before.
            last: of these T the last that is no padding.

        Returns:
            The logits of the token after `last`, and the cache. What padding left in the cache is
            never seen: the next tokens take its places.
        """
        at = index + jnp.arange(input_ids.shape[1])
        places = jax.tree.leaves(cache.new)[0].shape[-2]
        mask = (jnp.arange(places) <= at[:, None])[None]
        embeds = self.embed(input_ids, visual)
        positions = jnp.broadcast_to(at, input_ids.shape)
        hidden, cache = self.llm.read_on(embeds, positions, mask, cache, index)
        hidden = jax.lax.dynamic_index_in_dim(hidden, last, 1, keepdims=False)
        return self.llm.logits(hidden), cache


def _causal(attention_mask: Bool[Array, "B T"]) -> Bool[Array, "B T T"]:
    """Every token sees the real ones up to itself."""
    return upto_itself(attention_mask.shape[1]) & attention_mask[:, None].astype(bool)


def positions_of(attention_mask: Bool[Array, "B T"]) -> Int[Array, "B T"]:
    """Positions that count real tokens only, so that left padding changes nothing."""
    return jnp.maximum(jnp.cumsum(attention_mask.astype(jnp.int32), 1) - 1, 0)


def _unit(x: Float32[Array, "*B E"]) -> Float32[Array, "*B E"]:
    """x scaled to length 1."""
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x, -1, keepdims=True), 1e-12))
