"""Views of images from annotated sets: captions and boxes of records, joined by image.

No image is opened here, and no model is asked.
"""
