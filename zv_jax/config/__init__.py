"""The configuration of a run: its fields, how a recipe becomes them, what must fit, the flags.

Whoever reads a field imports it from here; nothing here knows data, training or a machine.
"""

from zv_jax.config.build import recipe, validate
from zv_jax.config.schema import Config

__all__ = ["Config", "recipe", "validate"]
