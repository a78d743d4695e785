"""Time and memory of our steps beside a plain PyTorch implementation of the same computation.

PyTorch is imported here and in the parity tests only; nothing in the package imports this.
"""
