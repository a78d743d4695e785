"""One optimiser step: gradients of the trainable leaves only, compiled once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from zv_jax.config.schema import Config, GuardConfig
from zv_jax.parallel.sharding import like_parameters
from zv_jax.stages import Stage, frozen_parts, stage_model
from zv_jax.training.guards import Guards, check_update, init_guards, tower_norms, unless_skipped
from zv_jax.training.losses.kind import LossTerms, loss_of
from zv_jax.training.losses.rows import split_rows
from zv_jax.training.optimizer import within_range
from zv_jax.training.state import FlatParams, merge

Metrics = dict[str, jax.Array]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """What a step changes.

    Attributes:
        step: int32 scalar, steps done.
        trainable: leaves by path.
        opt_state: of optax, for these leaves.
        guards: for skipping updates; see `guards.py`.
    """

    step: jax.Array
    trainable: FlatParams
    opt_state: Any
    guards: Guards


def mean(term: tuple[jax.Array, jax.Array]) -> jax.Array:
    """The mean of a term (sum, weight); 0 if the weight is 0."""
    total, weight = term
    return total / jnp.maximum(weight, 1e-9)


def make_loss(config: Config, stage: Stage) -> Callable[..., tuple[jax.Array, LossTerms]]:
    """loss(trainable, frozen, batch, key, reduce=mean) -> (scalar float32, terms).

    The loss is the sum of `reduce(term)` over the terms named in `stage.losses`.
    """
    architecture, kind = stage_model(config), loss_of(stage)

    def loss(
        trainable: FlatParams,
        frozen: FlatParams,
        batch: dict,
        key: jax.Array,
        reduce: Callable = mean,
    ):
        negatives, dropout = jax.random.split(key)
        still = frozen_parts(trainable, frozen)
        model = kind.model(architecture, deterministic=False, frozen=still)
        terms = model.apply(
            merge(trainable, frozen),
            batch,
            negatives,
            config,
            method=kind.terms,
            rngs={"dropout": dropout},
        )
        return sum(reduce(terms[name]) for name in stage.losses), terms

    return loss


def make_gradient(config: Config, stage: Stage) -> Callable[..., tuple[FlatParams, LossTerms]]:
    """gradient(trainable, frozen, batch, key) -> (gradient of the loss, terms of the batch).

    Microbatches add up gradients of the sum over tokens and divide once by the number of tokens in
    the batch: a mean of means would favour the tokens of short parts. A loss that compares rows
    with each other splits them itself.
    """
    loss, parts = make_loss(config, stage), config.train.microbatches
    gradient = jax.grad(loss, has_aux=True)
    if parts == 1 or loss_of(stage).compares_rows:
        return gradient
    (name,) = stage.losses

    def summed(
        trainable: FlatParams, frozen: FlatParams, batch: dict, key: jax.Array
    ) -> tuple[FlatParams, LossTerms]:
        def part_of(xs: tuple[dict, jax.Array]) -> tuple[FlatParams, LossTerms]:
            part, index = xs
            key_of_part = jax.random.fold_in(key, index)
            return jax.grad(lambda *a: loss(*a, reduce=lambda term: term[0]), has_aux=True)(
                trainable, frozen, part, key_of_part
            )

        def add(total: tuple[FlatParams, LossTerms], xs: tuple[dict, jax.Array]):
            return jax.tree.map(jnp.add, total, part_of(xs)), None

        split = jax.tree.map(lambda x: split_rows(x, parts), batch), jnp.arange(parts)
        shapes = jax.eval_shape(part_of, jax.tree.map(lambda x: x[0], split))
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        (grads, terms), _ = jax.lax.scan(add, zeros, split)
        weight = jnp.maximum(terms[name][1], 1e-9)
        return jax.tree.map(lambda g: g / weight, grads), terms

    return summed


def init_state(
    trainable: FlatParams,
    tx: optax.GradientTransformation,
    guards: GuardConfig | None = None,
    kinds: int = 1,
) -> TrainState:
    """Step 0, for batches of `kinds` kinds.

    Call it eagerly: under jit the moments would lose the sharding of their parameters.
    """
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        trainable=trainable,
        opt_state=tx.init(trainable),
        guards=init_guards(guards or GuardConfig(), kinds),
    )


def abstract_state(
    trainable: dict[str, jax.ShapeDtypeStruct],
    tx: optax.GradientTransformation,
    mesh: Mesh,
    guards: GuardConfig | None = None,
    kinds: int = 1,
) -> TrainState:
    """Shapes with shardings of `init_state`, given those of the trainable leaves."""
    shapes = jax.eval_shape(lambda leaves: init_state(leaves, tx, guards, kinds), trainable)
    shapes = dataclasses.replace(shapes, trainable=trainable)
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        state_shardings(shapes, mesh),
    )


def state_shardings(state: TrainState, mesh: Mesh) -> TrainState:
    """Shardings of a state between steps, given its arrays or shapes with shardings."""
    whole = NamedSharding(mesh, PartitionSpec())
    trainable = {path: leaf.sharding for path, leaf in state.trainable.items()}
    moments = like_parameters(state.opt_state, trainable, whole)
    return TrainState(whole, trainable, moments, jax.tree.map(lambda _: whole, state.guards))


def make_step(
    config: Config,
    stage: Stage,
    tx: optax.GradientTransformation,
    schedule: optax.Schedule,
    mesh: Mesh,
    state: TrainState,
) -> Callable[[TrainState, FlatParams, dict], tuple[TrainState, Metrics]]:
    """The jitted step(state, frozen, batch) -> (state, metrics); the state's buffers are donated.

    A batch may have an int32 scalar `kind`, the number of its kind, which selects the window of the
    guards. Random keys are folded from (seed, step), so a resumed run repeats and skips nothing.
    """
    gradient = make_gradient(config, stage)

    def step(state: TrainState, frozen: FlatParams, batch: dict) -> tuple[TrainState, Metrics]:
        batch = dict(batch)
        kind = batch.pop("kind", 0)
        seed = jax.random.key(config.seed, impl=config.train.random_bits)
        key = jax.random.fold_in(seed, state.step)
        grads, terms = gradient(state.trainable, frozen, batch, key)
        metrics = {name: mean(term) for name, term in terms.items()}
        loss = sum(metrics[name] for name in stage.losses)
        norms = tower_norms(grads)
        norm = jnp.sqrt(sum(jnp.square(value) for value in norms.values()))
        weight = jnp.stack([terms[name][1] for name in stage.losses]).min()
        update_status, guards = check_update(config.guards, state.guards, loss, norm, weight, kind)
        updates, opt_state = tx.update(grads, state.opt_state, state.trainable)
        trainable = within_range(optax.apply_updates(state.trainable, updates))
        metrics |= {
            "loss": loss,
            "grad_norm": norm,
            **{f"grad_norm/{tower}": value for tower, value in norms.items()},
            "lr": schedule(state.step - state.guards["skipped"]),
            "skipped": guards["skipped"],
            "update_status": update_status,
        }
        new = TrainState(
            step=state.step + 1,
            trainable=unless_skipped(update_status, trainable, state.trainable),
            opt_state=unless_skipped(update_status, opt_state, state.opt_state),
            guards=guards,
        )
        return new, metrics

    shardings = state_shardings(state, mesh)
    return jax.jit(
        step,
        donate_argnums=0,
        in_shardings=(shardings, None, None),
        out_shardings=(shardings, NamedSharding(mesh, PartitionSpec())),
    )
