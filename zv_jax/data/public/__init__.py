"""Public data sets: what each is, which images evaluation keeps, what a copy holds.

Their files are read by `data/readers`.
"""
