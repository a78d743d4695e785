"""The record, its fields and rules, and the facts that a mixture knows before reading it.

Nothing here opens an image or knows a tokenizer.
"""
