"""All that a new kind of sample adds to training: features whose mean is the brightness."""

import jax.numpy as jnp

from zv_jax.models import flops
from zv_jax.training.losses.kind import Loss, register
from zv_jax.training.towers import FORWARD, tower


def terms(model, batch, key, config):
    del key, config
    found = model.encode_images(batch["images"]).mean((1, 2))
    error = jnp.square(found - batch["levels"]).sum()
    return {"error": (error, jnp.float32(len(found)))}


def towers(config):
    return [tower(config, "vision", flops.vision(config.model.vision), FORWARD)]


def add():
    """Lets stages that are fed with the kind train."""
    register("brightness", Loss(terms, towers))
