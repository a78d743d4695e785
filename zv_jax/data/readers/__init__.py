"""Readers: public annotation files in, records out; one file per family, a card per data set.

A reader knows one public format and nothing of templates, tokens, batches or training."""
