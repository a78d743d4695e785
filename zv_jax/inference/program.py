"""How the programs that write answers token by token are compiled.

The weights of all layers lie in one array, and each step takes the layers out of it one after the
other. XLA's own kernels for GPUs (Triton) want them by themselves, so every weight was copied
before it was read: three times the traffic, where traffic is all that a token costs. cuBLAS reads
them where they lie. On one H100, with half the layers of the 13B model, a token of one row took
7.0 ms instead of 14.2, one of 16 rows 10.6 instead of 17.9. TPUs read them in place anyway.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

ON_GPU = {
    "xla_gpu_enable_triton_gemm": False,
    "xla_gpu_enable_dynamic_slice_fusion": True,
}


def token_by_token(**settings: Any) -> Callable[[Callable], Callable]:
    """`jax.jit(**settings)` with the options above where the devices are GPUs.

    Which devices there are is asked on the first call and not on import: asking would start them,
    and a process of several must join the others before that.
    """

    def decorate(function: Callable) -> Callable:
        @functools.cache
        def program() -> Callable:
            options = ON_GPU if jax.default_backend() == "gpu" else None
            return jax.jit(function, compiler_options=options, **settings)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return program()(*args, **kwargs)

        return call

    return decorate
