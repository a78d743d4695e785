"""The report of a run: reads what training and evaluation wrote, draws one self-contained page.
Nothing here computes a score, loads a model or reaches the network."""

from zv_jax.evaluation.report.page import build

__all__ = ["build"]
