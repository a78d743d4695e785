"""One error for all that the plugin refuses, in the form of zv_jax's own."""

from __future__ import annotations


class Refused(ValueError):
    """What is wrong, where, what was expected and how to mend it.

    A ValueError: vLLM answers status 400 to a request that raises one, and does not start when its
    model does.
    """

    def __init__(self, what: str, where: str, expected: str, fix: str):
        super().__init__(f"{what}\n  where:    {where}\n  expected: {expected}\n  fix:      {fix}")
