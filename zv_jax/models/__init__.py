"""The three towers (ViT, Q-Former, LLaMA) and `ZiyaVisual`, which joins them.

Functions of (parameters, arrays) only: no file, loss, mesh or training stage is known here.
"""
