"""Runs on disk: arrays, frozen leaves stored once, saving and reading steps, resume checks.

All readers of weights use it; nothing here knows the trainer.
"""
