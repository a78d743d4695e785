"""Does an export compute, layer by layer, what its checkpoint does, here and in other libraries?

Each side measures the same questions (`cases`); `compare` holds what they measured side by side.
"""
