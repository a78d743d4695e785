"""`ZiyaVisual`: ViT -> Q-Former -> projector -> LLaMA, for Base and Chat alike (paper section 3.2).

Base and Chat are one class: `qformer_sees_instruction` decides whether the instruction enters the
Q-Former. Submodules are made lazily, so a stage that never calls a tower holds no weights of it.
"""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from zv_jax.models.layers import Array, LayerNorm, Linear
from zv_jax.models.llama import Cache, Llama
from zv_jax.models.placeholders import check_placeholders
from zv_jax.models.presets import LoraConfig, ModelConfig
from zv_jax.models.qformer import QFormer, bidirectional_mask, causal_mask
from zv_jax.models.vit import VisionTransformer


class Heads(nn.Module):
    """What only pre-training and retrieval need: two projections, the ITM head, the temperature."""

    cfg: ModelConfig
    dtype: jnp.dtype
    param_dtype: jnp.dtype

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

    `frozen` names what does not train, as "params/qformer" or "lora/llm", and so runs without
    dropout all the same: nobody could learn to live with its noise, and inference never has it.
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

    def encode_images(self, images: Array) -> Array:
        """Images [B, H, W, 3] -> image features [B, P, Dv], after `ln_vision`."""
        return self.ln_vision(self.vision(images))

    def query(
        self, features: Array, text_ids: Array | None = None, text_mask: Array | None = None
    ) -> Array:
        """Image features [B, P, Dv] (and an instruction int [B, S]) -> query outputs [B, Q, D]."""
        if text_ids is None:
            return self.qformer(features)[0]
        mask = bidirectional_mask(self.cfg.qformer.num_queries, text_mask)
        return self.qformer(features, text_ids, mask)[0]

    def project_queries(self, queries: Array) -> Array:
        """Query outputs [B, Q, D] -> normalised projections, float32 [B, Q, E] (ITC)."""
        return _unit(self.heads.vision_proj(queries))

    def image_embed(self, images: Array) -> Array:
        """Images [B, H, W, 3] -> normalised query projections [B, Q, E]."""
        return self.project_queries(self.query(self.encode_images(images)))

    # --- text side --------------------------------------------------------------------------

    def text_embed(self, text_ids: Array, text_mask: Array) -> Array:
        """Texts int [B, T] -> normalised projection of the first token, float32 [B, E] (ITC)."""
        _, text = self.qformer(None, text_ids, bidirectional_mask(0, text_mask))
        return _unit(self.heads.text_proj(text[:, 0]))

    def caption(self, features: Array, text_ids: Array, text_mask: Array) -> tuple[Array, Array]:
        """One multimodal causal pass: query outputs [B, Q, D] and logits [B, T, V] (ITG).

        Queries never see the text here, so the same query outputs serve ITC.
        """
        mask = causal_mask(self.cfg.qformer.num_queries, text_mask)
        queries, text = self.qformer(features, text_ids, mask)
        return queries, self.qformer.text_logits(text)

    def match(self, features: Array, text_ids: Array, text_mask: Array) -> Array:
        """ITM logits float32 [B, 2], class 1 = match: the head's logits averaged over queries."""
        queries = self.query(features, text_ids, text_mask)
        return self.heads.itm(queries).mean(1)

    # --- language ---------------------------------------------------------------------------

    def visual_tokens(
        self, images: Array, instruction: Array | None = None, instruction_mask: Array | None = None
    ) -> Array:
        """Images [B, I, H, W, 3] -> visual tokens [B, I * Q, D of the LLM].

        When the model is Chat an instruction enters the Q-Former: int [B, S], one for all images of
        a row, or int [B, I, S], one for each of them.
        """
        batch, count = images.shape[:2]
        features = self.encode_images(images.reshape(batch * count, *images.shape[2:]))
        if not self.cfg.qformer_sees_instruction:
            queries = self.query(features)
        else:
            text = (_of_images(array, count) for array in (instruction, instruction_mask))
            queries = self.query(features, *text)
        return self.projector(queries).reshape(batch, -1, self.cfg.llm.width)

    def embed(self, input_ids: Array, visual: Array | None) -> Array:
        """Token embeddings [B, T, D]; the k-th placeholder of a row takes its k-th visual token.

        Args:
            input_ids: int [B, T].
            visual: [B, I * Q, D] or None when no row has an image.
        """
        is_image = input_ids == self.cfg.image_token_id
        embeds = self.llm.embed(jnp.where(is_image, 0, input_ids))
        if visual is None:
            return embeds
        order = jnp.clip(jnp.cumsum(is_image, 1) - 1, 0, visual.shape[1] - 1)
        placed = jnp.take_along_axis(visual, order[..., None], 1)
        return jnp.where(is_image[..., None], placed.astype(embeds.dtype), embeds)

    def hidden(self, visual: Array | None, input_ids: Array, attention_mask: Array) -> Array:
        """Last hidden states [B, T, D of the LLM]; arguments as `embed` and `__call__`."""
        length = input_ids.shape[1]
        causal = jnp.arange(length)[None] <= jnp.arange(length)[:, None]
        mask = causal[None] & attention_mask[:, None].astype(bool)
        hidden, _ = self.llm(self.embed(input_ids, visual), positions_of(attention_mask), mask)
        return hidden

    def __call__(
        self,
        images: Array | None,
        input_ids: Array,
        attention_mask: Array,
        qformer_input_ids: Array | None = None,
        qformer_attention_mask: Array | None = None,
    ) -> Array:
        """Logits of a whole row.

        Args:
            images: uint8 [B, I, H, W, 3], or floats that are normalised already, in the order of
                the row's placeholders; None when no row has an image.
            input_ids: int [B, T], each image as `num_queries` placeholders.
            attention_mask: bool [B, T], False at padding on either side.
            qformer_input_ids: int [B, S] or [B, I, S], the instructions (Chat only).
            qformer_attention_mask: bool, of the same shape.

        Returns:
            float32 [B, T, V].

        Raises:
            DataError: a row's placeholders are not those of its images (see `check_placeholders`).
        """
        check_placeholders(images, input_ids, self.cfg)
        visual = None
        if images is not None:
            visual = self.visual_tokens(images, qformer_input_ids, qformer_attention_mask)
        return self.llm.logits(self.hidden(visual, input_ids, attention_mask))

    def prefill(
        self, visual: Array | None, input_ids: Array, attention_mask: Array, cache: Cache
    ) -> tuple[Array, Cache]:
        """Fill the cache with a left-padded prompt; logits [B, V] of the next token.

        `cache` has length S >= T; later tokens go to T, T + 1, ...
        """
        length, total = input_ids.shape[1], cache[0].shape[2]
        causal = jnp.arange(total)[None] <= jnp.arange(length)[:, None]
        seen = jnp.pad(attention_mask.astype(bool), ((0, 0), (0, total - length)))
        hidden, cache = self.llm(
            self.embed(input_ids, visual),
            positions_of(attention_mask),
            causal[None] & seen[:, None],
            cache,
            0,
        )
        return self.llm.logits(hidden[:, -1]), cache

    def decode(
        self, ids: Array, positions: Array, seen: Array, cache: Cache, index: Array
    ) -> tuple[Array, Cache]:
        """One token per row: ids and positions int [B], seen bool [B, S] -> logits [B, V]."""
        hidden, cache = self.llm(
            self.llm.embed(ids[:, None]), positions[:, None], seen[:, None], cache, index
        )
        return self.llm.logits(hidden[:, 0]), cache


def positions_of(attention_mask: Array) -> Array:
    """Positions int [B, T] that count real tokens only, so that left padding changes nothing."""
    return jnp.maximum(jnp.cumsum(attention_mask.astype(jnp.int32), 1) - 1, 0)


def _of_images(instruction: Array, count: int) -> Array:
    """[B, S], or [B, I, S] -> [B * I, S], where I is `count`."""
    if instruction.ndim == 2:
        return jnp.repeat(instruction, count, 0)
    return instruction.reshape(-1, instruction.shape[-1])


def _unit(x: Array) -> Array:
    """float32 [..., E] -> the same, of length 1."""
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x, -1, keepdims=True), 1e-12))
