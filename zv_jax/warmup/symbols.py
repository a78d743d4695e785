"""The numbers of symbols, which data, the table of stages and the model share; free of jax.

A symbol is a short text whose words are added up into one vector: "dog x1 0.05".
"""

from __future__ import annotations

SIDES = ("x1", "y1", "x2", "y2")  # of a box, as symbols name them
PATCH_SYMBOLS = len(SIDES)  # a patch writes one for each side of a box
SYMBOL_TOKENS = 16  # the first of more are left out
EMPTY = -1  # in place of a token, where a symbol has fewer
