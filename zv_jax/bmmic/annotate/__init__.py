"""Boxes for images that nobody has annotated: tags, boxes of the tags, masks that tighten the boxes
(the Grounded-SAM chain of the paper's Figure 1). PyTorch and transformers are imported by the
modules named after models alone, and only where a recipe names them.
"""
