"""Metrics: pure functions of texts, boxes and arrays, usable without a model or a data set.

Nothing here may import jax, read a file or know a task."""
