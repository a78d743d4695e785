"""Cleaning of web pairs: rules on text and picture, near-duplicates, a score of how well they fit.

Nothing here knows batches or training; records go in, fewer records come out, with reasons."""
