"""Cleaning of web pairs: rules on text and image, near-duplicates, a score of how well they fit.

Nothing here knows batches or training; records go in, fewer records come out, with reasons."""
