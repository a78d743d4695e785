"""Sweeps: one file each, `get_sweep()` makes its points; run with `zv sweep`."""
