"""AdamW or Muon over a flat dictionary of trainable leaves, and the learning-rate schedule.

Muon: Jordan et al. 2024, with updates scaled to the size of Adam's as in Liu et al. 2025, so that
both use the same learning rates. It helps when matrices are trained from scratch. Decoupled weight
decay: Loshchilov and Hutter 2019. The leaves that decay are those of LAVIS, except the temperature.
Frozen leaves never get here: neither the norm for clipping nor the optimiser state includes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import optax
from optax.contrib import MuonDimensionNumbers, scale_by_muon

from zv_jax.config.schema import OptimizerConfig
from zv_jax.errors import ConfigError, nearest
from zv_jax.objectives.contrastive import TEMPERATURE_RANGE

# Matrices and tables. `cls`, `pos_embed` and `query_tokens` are 3-D in LAVIS, which decays them.
_DECAYED = frozenset(
    {"kernel", "embedding", "lora_a", "lora_b", "query_tokens", "cls", "pos_embed"}
)
# Vectors, stacked over layers or not, and the temperature. The rule of LAVIS happens to decay that
# scalar towards zero, which would sharpen the softmax for no reason.
_NOT_DECAYED = frozenset({"bias", "scale", "q_bias", "v_bias", "temperature"})

# Coefficients of four quintic Newton-Schulz steps that map singular values from 0.003..1 to
# 0.8..1.2: the minimax polynomials of Amsel et al. 2025 (algorithm 1, l = 0.003).
_NEWTON_SCHULZ = (
    (8.3837, -24.7659, 18.3571),
    (4.0434, -3.0114, 0.5695),
    (3.5056, -2.6267, 0.5257),
    (2.4901, -1.8343, 0.4368),
)
_ADAM_RMS = 0.2  # root mean square of Adam's usual updates (Liu et al. 2025, section 2.2)

Schedule = Callable[[jax.typing.ArrayLike], jax.Array]


def decayed(path: str) -> bool:
    """Whether weight decay applies to the leaf `path`, such as `params/vision/blocks/.../bias`.

    The last part of the name decides, not the number of axes: `nn.scan` stacks layers, so the bias
    of a stacked layer has two axes and is still a bias.

    Raises:
        ConfigError: the last part is unknown. A new kind of leaf must be added by hand, since
            either default could be silently wrong.
    """
    name = path.rsplit("/", 1)[-1]
    if name in _DECAYED:
        return True
    if name in _NOT_DECAYED:
        return False
    known = sorted(_DECAYED | _NOT_DECAYED)
    raise ConfigError(
        f"no rule says whether the leaf {path!r} has weight decay{nearest(name, known)}",
        where=path,
        expected="a name ending in one of " + ", ".join(known),
        fix="rename the parameter, or enter its name in zv_jax/training/optimizer.py",
    )


def within_range(leaves: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Updated leaves, with the temperature clamped to its range.

    ALBEF clamps the parameter itself, before each step. Unclamped, it could drift away without an
    effect on the loss, and would take as long to return.
    """
    return {
        path: jnp.clip(leaf, *TEMPERATURE_RANGE) if path.endswith("/temperature") else leaf
        for path, leaf in leaves.items()
    }


def make_schedule(cfg: OptimizerConfig, steps: int) -> Schedule:
    """The learning rate of the update at step n, counted from 0, as a float32 scalar.

    Linear warm-up reaches `cfg.lr` at the last of `cfg.warmup_steps` and does not waste the first
    update on a rate of zero. Then `cosine` falls to `cfg.final_lr` at n = `steps` and `constant`
    stays. Beyond `steps` the last value remains.

    Raises:
        ConfigError: the warm-up is longer than the run.
    """
    if not 0 <= cfg.warmup_steps <= steps:
        raise ConfigError(
            f"a warm-up of {cfg.warmup_steps} steps in a run of {steps}",
            where="optimizer.warmup_steps",
            expected=f"between 0 and train.steps ({steps})",
            fix=f"set --config.optimizer.warmup_steps={steps // 10}, or train longer",
        )
    falls = cfg.schedule == "cosine"

    def schedule(count: jax.typing.ArrayLike) -> jax.Array:
        n = jnp.asarray(count, jnp.float32)
        warm = cfg.lr * (n + 1) / max(1, cfg.warmup_steps)
        share = jnp.clip((n - cfg.warmup_steps) / max(1, steps - cfg.warmup_steps), 0.0, 1.0)
        rest = cfg.lr
        if falls:
            rest = cfg.final_lr + (cfg.lr - cfg.final_lr) * 0.5 * (1 + jnp.cos(jnp.pi * share))
        return jnp.where(n < cfg.warmup_steps, warm, rest).astype(jnp.float32)

    return schedule


def decay_mask(names: Iterable[str]) -> dict[str, bool]:
    """`decayed` of every name; accepts the flat dictionary of parameters itself."""
    return {name: decayed(name) for name in names}


def make_optimizer(
    cfg: OptimizerConfig, steps: int
) -> tuple[optax.GradientTransformation, Schedule]:
    """Clipping by the global norm, Adam or Muon, decoupled decay, the schedule.

    Args:
        cfg: `clip_norm=0` and `weight_decay=0` switch that part off.
        steps: total steps of the run, the length of the schedule.

    Returns:
        An optax transformation for a flat dictionary `{"params/...": array}` of trainable leaves
        (its `update` needs the parameters), and the schedule, for logging. `init` raises a
        ConfigError that names a leaf without a decay rule.
    """
    schedule = make_schedule(cfg, steps)
    parts = []
    if cfg.clip_norm > 0:
        parts.append(optax.clip_by_global_norm(cfg.clip_norm))
    adam = optax.scale_by_adam(b1=cfg.b1, b2=cfg.b2, eps=cfg.eps)
    parts.append(_muon(adam) if cfg.name == "muon" else adam)
    parts.append(optax.add_decayed_weights(cfg.weight_decay, mask=decay_mask))
    parts.append(optax.scale_by_learning_rate(schedule))
    return optax.chain(*parts), schedule


def _muon(adam: optax.GradientTransformation) -> optax.GradientTransformation:
    """Orthogonalised momentum for the kernels of linear layers, `adam` for everything else."""

    def axes(leaves: dict[str, jax.Array]) -> dict[str, MuonDimensionNumbers]:
        # Axes before the last two stack layers; each layer is a separate matrix.
        return jax.tree.map(lambda _: MuonDimensionNumbers(-2, -1), leaves)

    def kinds(leaves: dict[str, jax.Array]) -> dict[str, str]:
        return {path: "muon" if path.endswith("/kernel") else "adam" for path in leaves}

    def like_adam(updates: dict[str, jax.Array], _: object) -> dict[str, jax.Array]:
        return jax.tree.map(lambda u: u * (_ADAM_RMS * max(u.shape[-2:]) ** 0.5), updates)

    orthogonal = scale_by_muon(
        ns_coeffs=_NEWTON_SCHULZ, ns_steps=len(_NEWTON_SCHULZ), weight_dimension_numbers=axes
    )
    muon = optax.chain(orthogonal, optax.stateless(like_adam))
    return optax.partition({"muon": muon, "adam": adam}, kinds)
