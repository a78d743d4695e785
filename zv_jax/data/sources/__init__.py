"""Sources of records: opened by name, prepared as shards, exported.

Public file formats are turned into records by `data/readers`.
"""
