"""From sources to batches: mixing, bad samples replaced, rows, batches, workers.

A batch follows from the sources, the weights, the seed and the step alone.
"""
