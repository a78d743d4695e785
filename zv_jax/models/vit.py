"""The image encoder: a ViT in the EVA form of BLIP-2, or in the CLIP form.

EVA ViT-g/14 as LAVIS uses it: 39 of 40 blocks, pre-norm, no final norm, no relative position bias,
no layer scale, a fused qkv whose k part has no bias. That zero bias is not a parameter, so training
cannot change it.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jax.typing import DTypeLike
from jaxtyping import Float, Key, UInt8

from zv_jax.arrays import Array
from zv_jax.models.attention import attend, split_heads
from zv_jax.models.layers import NORMAL, LayerNorm, Linear, constrain, gelu, quick_gelu, scan_layers
from zv_jax.models.presets import LoraConfig, VisionConfig

# Of red, green and blue in 0..1: CLIP's values, which BLIP-2 uses too.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

Images = UInt8[Array, "B height width 3"] | Float[Array, "B height width 3"]


class FusedAttention(nn.Module):
    """Self-attention with one qkv matrix [D, 3D]; one LoRA pair serves q, k and v together."""

    cfg: VisionConfig
    lora: LoraConfig
    deterministic: bool
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "B P D"]) -> Float[Array, "B P D"]:
        width = self.cfg.width
        common = dict(
            lora=self.lora,
            deterministic=self.deterministic,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )
        clip = self.cfg.family == "clip"
        qkv = Linear(3 * width, ("embed", "heads"), use_bias=clip, name="qkv", **common)(x)
        if not clip:
            zeros = nn.with_logical_partitioning(nn.initializers.zeros, ("heads",))
            q_bias = self.param("q_bias", zeros, (width,), self.param_dtype)
            v_bias = self.param("v_bias", zeros, (width,), self.param_dtype)
            bias = jnp.concatenate([q_bias, jnp.zeros_like(q_bias), v_bias])
            qkv = qkv + bias.astype(self.dtype)
        parts = jnp.split(checkpoint_name(qkv, "qkv"), 3, -1)
        q, k, v = (split_heads(part, self.cfg.heads) for part in parts)
        out = attend(q, k, v)
        return Linear(width, ("heads", "embed"), name="out", **common)(out)


class Block(nn.Module):
    """Pre-norm block: x + drop(attn(ln1 x)), then x + drop(mlp(ln2 x))."""

    cfg: VisionConfig
    lora: LoraConfig
    deterministic: bool
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(
        self, x: Float[Array, "B P D"], drop_rate: Float[Array, ""]
    ) -> tuple[Float[Array, "B P D"], None]:
        kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        common = dict(lora=self.lora, deterministic=self.deterministic, **kinds)
        activation = quick_gelu if self.cfg.family == "clip" else gelu
        y = LayerNorm(self.cfg.norm_eps, name="ln1", **kinds)(x)
        y = FusedAttention(self.cfg, name="attn", **common)(y)
        x = checkpoint_name(x + self._drop_path(y, drop_rate), "residual")
        y = LayerNorm(self.cfg.norm_eps, name="ln2", **kinds)(x)
        y = Linear(self.cfg.mlp_width, ("embed", "mlp"), name="fc1", **common)(y)
        y = activation(checkpoint_name(y, "mlp"))
        y = Linear(self.cfg.width, ("mlp", "embed"), name="fc2", **common)(y)
        x = x + self._drop_path(y, drop_rate)
        return constrain(x, "batch", "patches", "act_embed"), None

    def _drop_path(self, y: Float[Array, "B P D"], rate: Float[Array, ""]) -> Float[Array, "B P D"]:
        """Stochastic depth per sample (Huang et al. 2016), off unless training asks for it."""
        if self.deterministic or not self.cfg.drop_path:
            return y
        keep = jax.random.bernoulli(self.make_rng("dropout"), 1.0 - rate, (y.shape[0], 1, 1))
        return y * keep / (1.0 - rate).astype(y.dtype)


class VisionTransformer(nn.Module):
    """Images to image tokens, the CLS token first."""

    cfg: VisionConfig
    lora: LoraConfig = LoraConfig()
    remat: str = "none"
    deterministic: bool = True
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: Images) -> Float[Array, "B P D"]:
        """The tokens of images as `normalise` takes them.

        For an image size other than the configured one (a multiple of the patch) the position
        table is interpolated as in BLIP-2.
        """
        cfg = self.cfg
        kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        patches = _patchify(normalise(images), cfg.patch_size)
        # A convolution with a stride of its kernel size is this matmul, which is faster on CPU.
        x = Linear(
            cfg.width, ("patch", "embed"), use_bias=cfg.family == "eva", name="patch", **kinds
        )(patches.reshape(patches.shape[0], -1, patches.shape[-1]))
        cls = self.param(
            "cls",
            nn.with_logical_partitioning(NORMAL, (None, None, "embed")),
            (1, 1, cfg.width),
            self.param_dtype,
        )
        side = cfg.image_size // cfg.patch_size
        table = self.param(
            "pos_embed",
            nn.with_logical_partitioning(sincos_positions, (None, "position", "embed")),
            (1, 1 + side * side, cfg.width),
            self.param_dtype,
        )
        cls = jnp.broadcast_to(cls.astype(self.dtype), (x.shape[0], 1, cfg.width))
        x = jnp.concatenate([cls, x], 1)
        x = x + resize_positions(
            table, patches.shape[1:3], align_corners=cfg.family == "clip"
        ).astype(self.dtype)
        if cfg.family == "clip":
            x = LayerNorm(cfg.norm_eps, name="ln_pre", **kinds)(x)
        rates = jnp.linspace(0.0, cfg.drop_path, cfg.layers)
        blocks = scan_layers(Block, cfg.layers, self.remat, scanned_inputs=1)(
            cfg, self.lora, self.deterministic, name="blocks", **kinds
        )
        x, _ = blocks(x, rates)
        return x[:, 1:] if cfg.drop_cls else x


def normalise(images: Images) -> Float[Array, "B height width 3"]:
    """(x / 255 - mean) / deviation of each colour, float32, for bytes; floats are returned as is.

    Images reach the device as bytes, a quarter of their size as floats, and the host does no work
    on them. Floats are taken to be normalised already.
    """
    if images.dtype != jnp.uint8:
        return images
    deviation = np.array(STD, np.float32)
    scale, shift = 1 / (255 * deviation), -np.array(MEAN, np.float32) / deviation
    return images.astype(jnp.float32) * scale + shift


def _patchify(
    images: Float[Array, "B height width 3"], patch: int
) -> Float[Array, "B height//{patch} width//{patch} 3*{patch}**2"]:
    """Each patch as one vector: rows, then columns, then colours."""
    b, h, w, c = images.shape
    grid = images.reshape(b, h // patch, patch, w // patch, patch, c)
    return grid.transpose(0, 1, 3, 2, 4, 5).reshape(b, h // patch, w // patch, -1)


def sincos_positions(
    key: Key[Array, ""], shape: tuple[int, ...], dtype: DTypeLike
) -> Float[Array, "1 P D"]:
    """Initial values of the learned position table: two-dimensional sines (He et al. 2021, MAE).

    An untrained table then shows from the first step which patches are neighbours.

    Args:
        key: unused; initialisers take one.
        shape: (1, P, D) with P = 1 + n * n; the CLS row comes first and is zero.
        dtype: of the table.
    """
    del key
    side, width = int(round((shape[1] - 1) ** 0.5)), shape[2]
    frequency = 1.0 / 10000 ** (np.arange(width // 4) / max(width // 4, 1))
    rows, columns = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    angles = [axis.reshape(-1, 1) * frequency for axis in (rows, columns)]
    waves = np.concatenate([f(angle) for angle in angles for f in (np.sin, np.cos)], 1)
    table = np.zeros(shape)
    table[0, 1:, : waves.shape[1]] = waves
    return jnp.asarray(table, dtype)


def resize_positions(
    table: Float[Array, "1 P D"], grid: tuple[int, int], align_corners: bool = False
) -> Float[Array, "1 1+{grid[0]}*{grid[1]} D"]:
    """Bicubic resize of a position table, equal to torch's (a = -0.75, clamped borders).

    `jax.image.resize` differs: it uses a = -0.5 and renormalises at borders.

    Args:
        table: of n * n patches after the CLS token: P = 1 + n * n.
        grid: rows and columns of the result.
        align_corners: False for EVA in LAVIS and Hugging Face, True for CLIP in LAVIS.
    """
    side = int(round((table.shape[1] - 1) ** 0.5))
    if tuple(grid) == (side, side):
        return table
    rows = cubic_matrix(side, grid[0], align_corners)
    columns = cubic_matrix(side, grid[1], align_corners)
    square = table[0, 1:].reshape(side, side, -1).astype(jnp.float32)
    resized = jnp.einsum("oi,pj,ijD->opD", rows, columns, square)
    resized = resized.reshape(1, -1, table.shape[-1]).astype(table.dtype)
    return jnp.concatenate([table[:, :1], resized], 1)


def cubic_matrix(n: int, m: int, align_corners: bool = False) -> Float[np.ndarray, "{m} {n}"]:
    """Weights of one-dimensional cubic interpolation from n to m samples (Keys, a = -0.75)."""
    a = -0.75
    out = np.arange(m)
    x = out * ((n - 1) / max(m - 1, 1)) if align_corners else (out + 0.5) * n / m - 0.5
    floor = np.floor(x).astype(int)
    weights = np.zeros((m, n))
    for tap in range(-1, 3):
        d = np.abs(x - floor - tap)
        near = (a + 2) * d**3 - (a + 3) * d**2 + 1
        far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
        np.add.at(weights, (out, np.clip(floor + tap, 0, n - 1)), np.where(d <= 1, near, far))
    return weights.astype(np.float32)
