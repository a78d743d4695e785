"""Trains a model on batches: optimiser, step, loop, monitors, logs.

No file format of a data set, no layer of a model and no evaluation metric belongs here.
"""
