"""The steps of a run: each reads folders of shards and writes one, and goes on where it was.

A step is a function of its inputs and settings; what a language model answered is in the ledger.
"""
