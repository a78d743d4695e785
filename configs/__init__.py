"""Recipes: one file per run, `get_config(arg)` makes its ConfigDict; `eval/` holds suites.

Numbers only: no recipe computes anything or imports jax.
"""
