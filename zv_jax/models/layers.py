"""Linear layers, norms and embeddings with logical axes; the only place that makes a parameter.

Letters of shapes: B batch, T text length, S keys or instruction length, Q queries, P image tokens,
N all tokens of a row, D width, H heads, G heads of keys, K head dimension, V vocabulary, L layers,
I images of a row, E projection of retrieval, R LoRA rank.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Float, Float32, Int, Shaped

from zv_jax.arrays import Array
from zv_jax.errors import unknown_name
from zv_jax.models.presets import LoraConfig
from zv_jax.parallel.sharding import single_cpu

Initializer = Callable[..., Array]
NORMAL = nn.initializers.normal(0.02)  # embeddings, queries, positions, as BERT and ViT
# 1 / sqrt(fan_in): close to BERT's and EVA's 0.02 at their widths, and right at small ones too,
# where 0.02 would leave the branches of a post-norm block almost silent.
KERNEL = nn.initializers.lecun_normal()
# Kaiming uniform with a = sqrt(5), PEFT's initialisation of lora_a: bound 1 / sqrt(fan_in).
LORA_A = nn.initializers.variance_scaling(1.0 / 3.0, "fan_in", "uniform")

gelu = functools.partial(jax.nn.gelu, approximate=False)  # BERT and EVA use the exact erf form


def quick_gelu(x: Float[Array, " ..."]) -> Float[Array, " ..."]:
    """CLIP's approximation of GELU: x * sigmoid(1.702 x)."""
    return x * jax.nn.sigmoid(1.702 * x)


def matmul(
    x: Float[Array, "*B D"], kernel: Float[Array, "D N"], dtype: DTypeLike | None = None
) -> Float[Array, "*B N"]:
    """x times kernel, of `dtype` if given.

    On one CPU the rows are flattened first: XLA copies and transposes the operands of a
    gradient that sums over several axes, which takes as long as the product itself.
    """
    if not single_cpu():
        return jnp.matmul(x, kernel, preferred_element_type=dtype)
    rows = jnp.matmul(x.reshape(-1, x.shape[-1]), kernel, preferred_element_type=dtype)
    return rows.reshape(*x.shape[:-1], kernel.shape[1])


@jax.custom_vjp
def float32_matmul(x: Float[Array, "*B D"], kernel: Float[Array, "D N"]) -> Float32[Array, "*B N"]:
    """`matmul` with a float32 result, whatever the dtype of its operands: for logits.

    Rounding a logit of 20 to bfloat16 changes it by up to 0.06. The gradient has the dtype of `x`,
    as in every other layer, so products of the backward pass cost no more.
    """
    return matmul(x, kernel, jnp.float32)


def _float32_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return float32_matmul(x, kernel), (x, kernel)


def _float32_backward(kept: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    _, back = jax.vjp(matmul, *kept)
    return back(gradient.astype(kept[0].dtype))


float32_matmul.defvjp(_float32_forward, _float32_backward)


def path_of(module: nn.Module) -> str:
    """The path of a module as in checkpoints, without the number of a separate layer."""
    return "/".join(name for name in module.path if not name.isdecimal())


class Linear(nn.Module):
    """y = x W (+ b), with an adapter y += (alpha / rank) * drop(x) A B where the path matches.

    With `logits` y stays float32 instead of being rounded to `dtype`.

    `kernel` is [in, out] with logical axes `axes`. A frozen one may be int8; a float32 leaf
    `kernel_scale` [out] then undoes the quantisation column by column. Adapter leaves live in the
    collection "lora", so the base tree is the same with and without them; B starts at zero, and so
    does the adapter's output. Source of the adapter: Hu et al. 2021, with PEFT's names and scaling.
    """

    features: int
    axes: tuple[str | None, str | None]
    use_bias: bool = True
    kernel_init: Initializer = KERNEL
    lora: LoraConfig = LoraConfig()
    deterministic: bool = True
    logits: bool = False
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B {self.features}"]:
        shape = (x.shape[-1], self.features)
        times = float32_matmul if self.logits else matmul
        x = x.astype(self.dtype)
        kernel = self.param(
            "kernel",
            nn.with_logical_partitioning(self.kernel_init, self.axes),
            shape,
            self.param_dtype,
        )
        y = times(x, kernel.astype(self.dtype))
        if self.has_variable("params", "kernel_scale"):
            y = y * self.get_variable("params", "kernel_scale").astype(y.dtype)
        if self.use_bias:
            bias = self.param(
                "bias",
                nn.with_logical_partitioning(nn.initializers.zeros, self.axes[1:]),
                (self.features,),
                self.param_dtype,
            )
            y = y + bias.astype(y.dtype)
        if self.lora.targets and re.fullmatch(self.lora.targets, path_of(self)):
            y = y + self._adapter(x)
        return y

    def _adapter(self, x: Float[Array, "*B D"]) -> Float[Array, "*B {self.features}"]:
        rank = self.lora.rank
        a = self._lora_leaf("lora_a", LORA_A, (x.shape[-1], rank), (self.axes[0], None))
        b = self._lora_leaf(
            "lora_b", nn.initializers.zeros, (rank, self.features), (None, "adapter_out")
        )
        x = nn.Dropout(self.lora.dropout)(x, deterministic=self.deterministic)
        low = matmul(x, a.astype(self.dtype))
        return matmul(low, b.astype(self.dtype)) * (self.lora.alpha / rank)

    def _lora_leaf(
        self, name: str, init: Initializer, shape: tuple[int, int], axes: tuple[str | None, ...]
    ) -> Array:
        make = nn.with_logical_partitioning(init, axes)
        return self.variable(
            "lora", name, lambda: make(self.make_rng("params"), shape, jnp.float32)
        ).value


class LayerNorm(nn.Module):
    """LayerNorm with float32 statistics whatever the compute dtype."""

    eps: float
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
        width = (x.shape[-1],)
        axes = ("norm",)
        ones, zeros = nn.initializers.ones, nn.initializers.zeros
        scale = self.param(
            "scale", nn.with_logical_partitioning(ones, axes), width, self.param_dtype
        )
        bias = self.param(
            "bias", nn.with_logical_partitioning(zeros, axes), width, self.param_dtype
        )
        x = x.astype(jnp.float32)
        mean = x.mean(-1, keepdims=True)
        centred = x - mean
        variance = jnp.mean(centred * centred, -1, keepdims=True)
        y = centred * jax.lax.rsqrt(variance + self.eps)
        return (y * scale.astype(jnp.float32) + bias.astype(jnp.float32)).astype(self.dtype)


class RMSNorm(nn.Module):
    """Root-mean-square norm of LLaMA, in float32 (Zhang and Sennrich 2019)."""

    eps: float
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
        scale = self.param(
            "scale",
            nn.with_logical_partitioning(nn.initializers.ones, ("norm",)),
            (x.shape[-1],),
            self.param_dtype,
        )
        x = x.astype(jnp.float32)
        y = x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + self.eps)
        return (y * scale.astype(jnp.float32)).astype(self.dtype)


class Embed(nn.Module):
    """A table of vectors; `attend` multiplies by its transpose (tied output layers)."""

    rows: int
    width: int
    axes: tuple[str, str] = ("vocab", "embed")
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.embedding = self.param(
            "embedding",
            nn.with_logical_partitioning(NORMAL, self.axes),
            (self.rows, self.width),
            self.param_dtype,
        )

    def __call__(self, ids: Int[Array, "*B"]) -> Float[Array, "*B {self.width}"]:
        """The vectors of ids."""
        # Replicated first: a look-up in shards of D would have to move rows between devices.
        table = constrain(self.embedding, None, None)
        return jnp.take(table, ids, axis=0).astype(self.dtype)

    def attend(self, x: Float[Array, "*B {self.width}"]) -> Float32[Array, "*B {self.rows}"]:
        """Logits of all rows of the table."""
        return float32_matmul(x.astype(self.dtype), self.embedding.T.astype(self.dtype))


def constrain(x: Shaped[Array, " *B"], *axes: str | None) -> Shaped[Array, " *B"]:
    """`x` with a hint of how to shard its axes over the mesh.

    Raises:
        ConfigError: a name has no rule (flax would ignore it). Without a mesh there are no rules,
            and `x` is returned as it is.
    """
    rules = dict(nn.get_logical_axis_rules())
    for name in axes:
        if rules and name is not None and name not in rules:
            raise unknown_name(
                "logical axis",
                name,
                rules,
                "an activation of shape " + str(x.shape),
                fix="name a known axis",
            )
    return nn.with_logical_constraint(x, axes)


# What the backward pass of a layer reads besides its input: with these saved, only norms,
# activations and attention scores are recomputed.
NAMED = ("qkv", "residual", "mlp")


def remat_policy(name: str) -> Callable | None:
    """What `jax.checkpoint` may save of a layer; None saves its input only.

    `names` saves the outputs named in `NAMED`, `offload` moves them to host memory, `dots` saves
    every matrix product, `dots_no_batch` those without batch axes (so not attention).
    """
    policies = jax.checkpoint_policies
    return {
        "full": None,
        "names": policies.save_only_these_names(*NAMED),
        "offload": policies.save_and_offload_only_these_names(
            names_which_can_be_saved=[],
            names_which_can_be_offloaded=list(NAMED),
            offload_src="device",
            offload_dst="pinned_host",
        ),
        "dots": policies.dots_saveable,
        "dots_no_batch": policies.dots_with_no_batch_dims_saveable,
    }[name]


def scan_layers(
    layer: type[nn.Module], length: int, remat: str, *, scanned_inputs: int = 0, inputs: int = 0
) -> Callable[..., nn.Module]:
    """`layer` repeated `length` times by `nn.scan`, its parameters stacked on a leading axis.

    The layer is called as layer(carry, *scanned, *broadcast) and returns (carry, output): the first
    `scanned_inputs` inputs have a leading layer axis, the next `inputs` are shared by all layers.
    """
    if remat != "none":
        layer = nn.remat(layer, policy=remat_policy(remat), prevent_cse=False)
    return nn.scan(
        layer,
        variable_axes={"params": 0, "lora": 0, "intermediates": 0},
        split_rngs={"params": True, "dropout": True},
        in_axes=(0,) * scanned_inputs + (nn.broadcast,) * inputs,
        length=length,
        metadata_params={nn.PARTITION_NAME: "layers"},
    )


class OneByOne(nn.Module):
    """Like `scan_layers`, with separate parameters for each layer.

    For inference only: see `layout`. The scanned input and output are tuples with one element for
    each layer.
    """

    layer: Callable[..., nn.Module]
    length: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], scanned: tuple, *shared: object
    ) -> tuple[Float[Array, "B T D"], tuple]:
        outputs = []
        for i in range(self.length):
            x, output = self.layer(name=str(i))(x, scanned[i], *shared)
            outputs.append(output)
        return x, tuple(outputs)
