"""Files that hold many rows or images, opened so that little of them is believed.

What the rows mean belongs to `data/readers` and `data/sources`.
"""
