"""Runs on disk: arrays, frozen ones once by content, steps written and read, what may differ.

Whoever reads weights comes here; nothing here knows the trainer.
"""
