"""The program `zv`: one thin file per command, which reads flags and calls one function.

No command computes anything itself, and none imports jax before it is needed.
"""
