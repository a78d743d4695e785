"""Our training step with its real code: the loop's mesh, variables, optimiser and compiled step."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.cases import Batch
from zv_jax.config.schema import Config
from zv_jax.models.axes import leaf_shardings, on_mesh
from zv_jax.models.ziya_visual import ZiyaVisual
from zv_jax.objectives import sample_negatives, similarities
from zv_jax.objectives.captioning import decoder_inputs
from zv_jax.objectives.contrastive import clamp_temperature
from zv_jax.parallel.hardware import MeshConfig
from zv_jax.parallel.sharding import batch_sharding, make_mesh
from zv_jax.stages import stage_model, stage_of
from zv_jax.training.optimizer import make_optimizer
from zv_jax.training.state import abstract_variables, fresh_variables, merge, partition, shard
from zv_jax.training.step import init_state, make_step
from zv_jax.training.trainer import shown

NOISE = 0.02  # added to every leaf: fresh biases and adapters are zero and would prove nothing


def starting_leaves(config: Config, seed: int = 0) -> dict[str, np.ndarray]:
    """Fresh parameters of the stage, each leaf with noise on it, by flat path."""
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    with on_mesh(mesh):
        flat, _ = fresh_variables(config, stage_of(config), mesh)
    rng = np.random.default_rng(seed)
    return {
        path: np.asarray(leaf) + NOISE * rng.standard_normal(leaf.shape, np.float32)
        if leaf.ndim
        else np.asarray(leaf)  # the temperature
        for path, leaf in flat.items()
    }


class JaxStep:
    """State and compiled step, called like `TorchStep` (the sampler of negatives is our own)."""

    def __init__(self, config: Config, leaves: Mapping[str, np.ndarray]):
        self.config, self.stage = config, stage_of(config)
        self.mesh = make_mesh(MeshConfig(), jax.devices()[:1])
        with on_mesh(self.mesh):
            shardings = leaf_shardings(abstract_variables(config, self.stage), self.mesh)
            flat = shard({path: leaves[path] for path in shardings}, shardings)
            variables = partition(flat, self.stage, config)
            self.frozen = variables.frozen
            tx, schedule = make_optimizer(config.optimizer, config.train.steps)
            self.state = init_state(variables.trainable, tx)
            self.step = make_step(config, self.stage, tx, schedule, self.mesh, self.state)

    @property
    def trainable(self) -> list[str]:
        """Paths of the leaves that the stage trains."""
        return list(self.state.trainable)

    def __call__(self, batch: Batch) -> dict[str, float]:
        """One update; the metrics before it."""
        with on_mesh(self.mesh):
            self.state, metrics = self.step(self.state, self.frozen, self._placed(batch))
        return shown(metrics)

    def negatives(self, batch: Batch) -> tuple[np.ndarray, np.ndarray] | None:
        """The negatives that the next call will draw for ITM; None in stages without it."""
        if self.stage.batch != "pairs":
            return None
        config = self.config
        model = ZiyaVisual(stage_model(config))
        # As `make_step` and `make_loss` fold it.
        key = jax.random.fold_in(jax.random.key(config.seed), self.state.step)
        key, _ = jax.random.split(key)

        def draw(model: ZiyaVisual, rows: dict, key: jax.Array) -> tuple[jax.Array, jax.Array]:
            ids, mask = rows["text_ids"], rows["text_mask"]
            features = model.encode_images(rows["images"])
            queries, _ = model.caption(features, decoder_inputs(ids, rows["dec_id"]), mask)
            sims = similarities(model.project_queries(queries), model.text_embed(ids, mask))
            tau = clamp_temperature(model.heads.temperature)
            return sample_negatives(
                key, sims, tau, rows["image_ids"], config.stage.itm_negatives
            )  # fmt: skip

        with on_mesh(self.mesh):
            variables = merge(self.state.trainable, self.frozen)
            apply = jax.jit(lambda v, rows, key: model.apply(v, rows, key, method=draw))
            drawn = apply(variables, self._placed(batch), key)
        return np.asarray(drawn[0]), np.asarray(drawn[1])

    def _placed(self, batch: Batch) -> dict[str, jax.Array]:
        sharding = batch_sharding(self.mesh)
        return {
            name: jax.device_put(value, sharding) if np.ndim(value) else jnp.asarray(value)
            for name, value in batch.items()
        }
