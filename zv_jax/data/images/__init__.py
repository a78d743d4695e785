"""Images: where they lie, and from their bytes to pixels.

Every image that a model sees comes through here.
"""
