"""What turns a model and batches into trained weights: optimiser, step, loop, checkpoints, metrics.

No file format of a data set, no layer of a model and no evaluation metric belongs here."""
