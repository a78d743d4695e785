"""What must be settled in the process before jax is imported. This module never imports jax."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
from pathlib import Path

# Parameters of mallopt(3), from glibc's malloc.h.
M_TRIM_THRESHOLD = -1
M_TOP_PAD = -2
M_MMAP_MAX = -4
M_ARENA_MAX = -8

_YNN_FUSION = "--xla_cpu_experimental_ynn_fusion_type"
_ACCELERATOR_PACKAGES = (
    "jax_cuda12_plugin",
    "jax_cuda13_plugin",
    "jax_rocm60_plugin",
    "jax_rocm7_plugin",
    "libtpu",
    "jax_plugins",
)


def cache_dir() -> Path:
    """The user's cache: `$ZV_CACHE`, else `$XDG_CACHE_HOME/zv_jax`, else `~/.cache/zv_jax`."""
    if os.environ.get("ZV_CACHE"):
        return Path(os.environ["ZV_CACHE"]).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "zv_jax"


def backend_is_cpu() -> bool:
    """Whether jax will run on the CPU, judged without importing it."""
    wanted = os.environ.get("JAX_PLATFORMS", "")
    if wanted:
        return wanted.split(",")[0] == "cpu"
    return not any(importlib.util.find_spec(name) for name in _ACCELERATOR_PACKAGES)


def cores() -> int:
    """How many cores this process may use: a batch system or `taskset` may allow it fewer than the
    machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def keep_freed_memory() -> bool:
    """Tells glibc to keep freed memory instead of giving it back to the kernel.

    XLA on the CPU allocates its temporaries anew for every step. By default glibc maps and unmaps
    each of them, and the page faults take up to a third of a step. Two arenas, padded so that none
    is given back: with a single one the compiler's threads wait for each other (26 s instead of 20
    for stage 0 of the quickstart) and steps after a compilation took a quarter longer. The price:
    resident memory stays at its peak.

    Returns:
        True where it was done; False on another C library.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1, M_TOP_PAD: 64 << 20, M_ARENA_MAX: 2}
    done = [mallopt(name, value) for name, value in settings.items()]
    return all(done)


def use_plain_matmul() -> None:
    """Turns off XLA's fusions into YNNPACK: with them a step of stage 0 of the quickstart took 1.2
    times as long and 1.5 times the memory on an AVX2 processor. A setting of the user's stays.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if _YNN_FUSION not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_YNN_FUSION}=".strip()


def device_threads(count: int) -> dict[str, str]:
    """What the environment of a process with `count` CPU devices needs: four threads for each of
    several.

    A collective blocks its thread until all devices have come to theirs. XLA starts as many threads
    as there are cores, so that eight devices on two cores soon stand in each other's way for ever:
    "Termination timeout for all reduce of 40 seconds exceeded".
    """
    return {"PJRT_NPROC": str(max(4 * count, cores()))} if count > 1 else {}


def enough_threads() -> None:
    """Sets `device_threads` for the CPU devices asked for. A setting of the user's stays."""
    count = os.environ.get("JAX_NUM_CPU_DEVICES", "")
    if count.isdecimal():  # jax itself says what is wrong with anything else
        for name, value in device_threads(int(count)).items():
            os.environ.setdefault(name, value)


def quiet_compiler() -> None:
    """Silences XLA's log, which tells of its own slow passes as if they were errors of the user's.
    What fails is still raised as an exception. A level that the user set stays.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def use_compilation_cache() -> None:
    """Lets a later process reuse compiled programs. Settings the user made are left alone."""
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_dir() / "xla"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")


def prepare() -> None:
    """All of the above; call it before the first import of jax. Calling it twice is harmless."""
    if backend_is_cpu():
        keep_freed_memory()
        use_plain_matmul()
        enough_threads()
        quiet_compiler()
    use_compilation_cache()
