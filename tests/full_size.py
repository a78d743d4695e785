"""A configuration of 13B, for tests that count and compute nothing."""

from zv_jax.config import recipe, validate
from zv_jax.config.schema import Config


def full(stage: str, variant: str, **model) -> Config:
    """A stage of Base or Chat at full size, for 256 chips; `model` replaces fields of it."""
    return validate(
        recipe(
            f"ziya_visual_{variant}_13b",
            model=model,
            stage={"name": stage, "variant": variant},
            data={"max_length": 576, "max_answer": 256},
            train={"batch_size": 1024},
            mesh={"data": 2, "fsdp": 128, "tensor": 1},
        )
    )
