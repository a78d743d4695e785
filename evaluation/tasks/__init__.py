"""One file a task; its hash is part of every score, so that a change makes another number.

No Python: what a field means stands in `zv_jax.evaluation.task`."""
