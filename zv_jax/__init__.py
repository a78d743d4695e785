"""zv_jax: Ziya-Visual, a bilingual vision-language model, in JAX and Flax."""

from typing import Any

__version__ = "0.1.0"

_LAZY = {
    "from_pretrained": ("zv_jax.inference.model", "load"),
    "Chat": ("zv_jax.inference.chat", "Chat"),
}


def __getattr__(name: str) -> Any:
    # Importing the package stays light: jax is loaded with the first of these.
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    module, attribute = _LAZY[name]
    return getattr(importlib.import_module(module), attribute)
