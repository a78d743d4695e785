"""The best this machine does, measured: matrix products and reading of memory.

Shares of these say more than shares of a vendor's figure: a machine of two cores, or a GPU at its
power limit, reaches another part of that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from benchmarks.rows import Peaks

ROUNDS = 5


def bandwidth(size: int = 400 << 20) -> float:
    """Bytes a second that summing an array too large for any cache reads."""
    import jax
    import jax.numpy as jnp

    array = jnp.ones(size // 4, jnp.float32)
    total = jax.jit(jnp.sum)
    return array.nbytes / least(lambda: total(array))


def products(width: int, dtype: str, times: int = 4) -> float:
    """FLOP/s of products of square matrices, `times` of them one after another in a program."""
    import jax

    # Scaled, so that values stay as they are and no product of zeros or infinities saves power.
    left = jax.random.normal(jax.random.key(0), (width, width), dtype) / width**0.5

    @jax.jit
    def chain(left: jax.Array, right: jax.Array) -> jax.Array:
        for _ in range(times):
            right = left @ right
        return right

    start = left * width**0.5
    return 2 * times * width**3 / least(lambda: chain(left, start))


def least(run: Callable[[], object]) -> float:
    """Seconds of the fastest of `ROUNDS` runs after one that compiles."""
    import jax

    found = []
    for _ in range(ROUNDS + 1):
        began = time.perf_counter()
        jax.block_until_ready(run())
        found.append(time.perf_counter() - began)
    return min(found[1:])


def measure(width: int = 0, size: int = 0) -> Iterator[Peaks]:
    """Both, in float32 on a CPU and in bfloat16 elsewhere, with sizes that fill the machine."""
    import jax

    cpu = jax.default_backend() == "cpu"
    dtype = "float32" if cpu else "bfloat16"
    flops = products(width or (2048 if cpu else 8192), dtype)
    read = bandwidth(size or (400 << 20 if cpu else 4 << 30))
    yield Peaks(flops, read, dtype, jax.devices()[0].device_kind)
