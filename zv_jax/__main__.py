"""`python -m zv_jax` is the program `zv`."""

from zv_jax.cli.main import run

run()
