"""Evaluation suites: `get_config(arg)` makes the ConfigDict of one.

Nothing here computes anything or imports jax."""
