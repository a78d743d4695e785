"""Checkpoints of others to ours and back: names, layouts, files, coverage and comparison.

Nothing here trains or decodes; torch is imported only where a torch file is read.
"""
