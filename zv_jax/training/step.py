"""One optimiser step: gradients of the trainable leaves only, compiled once."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from zv_jax.config import Config, GuardConfig
from zv_jax.models.ziya_visual import ZiyaVisual
from zv_jax.training.guards import init_guards, judge, tower_norms, unless_skipped
from zv_jax.training.stages import Stage, Terms, stage_model, terms_of
from zv_jax.training.state import Flat, join

State = dict[str, object]  # step (int32), trainable (Flat), opt_state (of optax), guards
Metrics = dict[str, jax.Array]


def mean(term: tuple[jax.Array, jax.Array]) -> jax.Array:
    """sum / weight; 0 where nothing was weighed."""
    total, weight = term
    return total / jnp.maximum(weight, 1e-9)


def make_loss(config: Config, stage: Stage) -> Callable[..., tuple[jax.Array, Terms]]:
    """loss(trainable, frozen, batch, key) -> (scalar float32, terms)."""
    model = ZiyaVisual(stage_model(config), deterministic=False)
    terms_fn = terms_of(stage)

    def loss(trainable: Flat, frozen: Flat, batch: dict, key: jax.Array):
        negatives, dropout = jax.random.split(key)
        terms = model.apply(
            join(trainable, frozen),
            batch,
            negatives,
            config,
            method=terms_fn,
            rngs={"dropout": dropout},
        )
        return sum(mean(terms[name]) for name in stage.losses), terms

    return loss


def init_state(
    trainable: Flat, tx: optax.GradientTransformation, guards: GuardConfig | None = None
) -> State:
    """Step 0. Run eagerly: under jit the moments would lose the sharding of their parameters."""
    return {
        "step": jnp.zeros((), jnp.int32),
        "trainable": trainable,
        "opt_state": tx.init(trainable),
        "guards": init_guards(guards or GuardConfig()),
    }


def make_step(
    config: Config,
    stage: Stage,
    tx: optax.GradientTransformation,
    schedule: optax.Schedule,
    mesh: Mesh,
    state: State,
) -> Callable[[State, Flat, dict], tuple[State, Metrics]]:
    """The jitted step(state, frozen, batch) -> (state, metrics); the state's buffers are donated.

    Randomness is folded from (seed, step), so a resumed run repeats nothing and skips nothing.
    """
    loss_fn = make_loss(config, stage)

    def step(state: State, frozen: Flat, batch: dict) -> tuple[State, Metrics]:
        key = jax.random.fold_in(jax.random.key(config.seed), state["step"])
        grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, terms), grads = grad_fn(state["trainable"], frozen, batch, key)
        norms = tower_norms(grads)
        norm = jnp.sqrt(sum(jnp.square(value) for value in norms.values()))
        verdict, guards = judge(config.guards, state["guards"], loss, norm)
        updates, opt_state = tx.update(grads, state["opt_state"], state["trainable"])
        trainable = optax.apply_updates(state["trainable"], updates)
        metrics = {name: mean(term) for name, term in terms.items()}
        metrics |= {
            "loss": loss,
            "grad_norm": norm,
            **{f"grad_norm/{tower}": value for tower, value in norms.items()},
            "lr": schedule(state["step"] - state["guards"]["skipped"]),
            "skipped": guards["skipped"],
            "verdict": verdict,
        }
        new = {
            "step": state["step"] + 1,
            "trainable": unless_skipped(verdict, trainable, state["trainable"]),
            "opt_state": unless_skipped(verdict, opt_state, state["opt_state"]),
            "guards": guards,
        }
        return new, metrics

    whole = NamedSharding(mesh, PartitionSpec())
    shardings = jax.tree.map(
        lambda leaf: leaf.sharding if isinstance(leaf.sharding, NamedSharding) else whole, state
    )
    return jax.jit(
        step,
        donate_argnums=0,
        in_shardings=(shardings, None, None),
        out_shardings=(shardings, whole),
    )
