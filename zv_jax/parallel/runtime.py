"""Process settings that must precede the import of jax. This module never imports jax."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import platform
from importlib.metadata import version
from pathlib import Path

# Parameters of mallopt(3), from glibc's malloc.h.
M_TRIM_THRESHOLD = -1
M_TOP_PAD = -2
M_MMAP_MAX = -4
M_ARENA_MAX = -8

CACHE_SIZE = 4 << 30  # bytes; the whole quickstart takes 14 MiB

# Of control groups, version 2 and 1.
_CONTAINER_LIMITS = (
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)
_YNN_FUSION = "--xla_cpu_experimental_ynn_fusion_type"
_YNN_UNTIL = (0, 13)  # versions of jaxlib below it are known to have this flag
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
    """Whether jax will run on the CPU, found out without importing it."""
    wanted = os.environ.get("JAX_PLATFORMS", "")
    if wanted:
        return wanted.split(",")[0] == "cpu"
    return not any(importlib.util.find_spec(name) for name in _ACCELERATOR_PACKAGES)


def cores() -> int:
    """Cores that this process may use; a batch system or `taskset` may allow fewer than the machine
    has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory() -> int:
    """Bytes of memory that this process may use; a container may allow less than there is."""
    most = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for file in _CONTAINER_LIMITS:
        try:
            text = Path(file).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdecimal():  # else "max"
            most = min(most, int(text))
    return most


def keep_freed_memory() -> bool:
    """Makes glibc keep freed memory instead of returning it to the kernel.

    XLA on the CPU allocates its temporaries anew for every step. By default glibc maps and unmaps
    each of them, and the page faults take up to a third of a step. Two arenas are used: with one,
    the compiler's threads wait for each other (26 s instead of 20 for stage 0 of the quickstart)
    and steps after a compilation took a quarter longer. The cost: resident memory stays at its
    peak.

    Returns:
        Whether it worked; False with another C library.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1, M_TOP_PAD: 64 << 20, M_ARENA_MAX: 2}
    done = [mallopt(name, value) for name, value in settings.items()]
    return all(done)


def give_back_memory() -> None:
    """Returns freed memory to the kernel in spite of `keep_freed_memory`; for after a compilation,
    which takes hundreds of megabytes for a moment. Without glibc it does nothing.
    """
    if platform.system() == "Linux" and platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def use_plain_matmul() -> None:
    """Turns off XLA's fusions into YNNPACK, with which a step of stage 0 of the quickstart took 1.2
    times as long and 1.5 times the memory on an AVX2 processor. The user's own setting is kept.

    XLA ends a process without a word for a flag that it does not know, so later versions than those
    that were tried do without.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    known = tuple(map(int, version("jaxlib").split(".")[:2])) < _YNN_UNTIL
    if known and _YNN_FUSION not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_YNN_FUSION}=".strip()


def device_threads(count: int) -> dict[str, str]:
    """Environment variables for a process with `count` CPU devices: four threads for each device,
    if there are several.

    A collective blocks its thread until all devices reach it. XLA starts one thread per core, so
    eight devices on two cores soon deadlock: "Termination timeout for all reduce of 40 seconds
    exceeded".
    """
    return {"PJRT_NPROC": str(max(4 * count, cores()))} if count > 1 else {}


def enough_threads() -> None:
    """Sets `device_threads` for the requested CPU devices. The user's own settings are kept."""
    count = os.environ.get("JAX_NUM_CPU_DEVICES", "")
    if count.isdecimal():  # jax reports anything else as an error
        for name, value in device_threads(int(count)).items():
            os.environ.setdefault(name, value)


def quiet_compiler() -> None:
    """Silences XLA's log, which reports its slow passes like errors of the user. Failures still
    raise exceptions. The user's own log level is kept.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def use_compilation_cache() -> None:
    """Lets later processes reuse compiled programs, and removes those unused for longest once all
    take more than `CACHE_SIZE`. The user's own settings are kept; a directory of theirs is
    theirs to limit.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache_dir() / "xla")
        os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(CACHE_SIZE))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
    place = os.environ["JAX_COMPILATION_CACHE_DIR"]
    limited = os.environ.get("JAX_COMPILATION_CACHE_MAX_SIZE", "-1") != "-1"
    if place and limited and "://" not in place:
        _remove_half_written(Path(place))


def _remove_half_written(cache: Path) -> None:
    """Removes compiled programs that a process was still writing when it ended.

    A cache of limited size holds two files for each program, and jax writes KEY-atime last
    (`jax/_src/lru_cache.py`). Where Ctrl-C or a kill came before it, or a cache without a limit was
    in this place, every later process would warn at each compilation and keep none of its programs.
    """

    def halves() -> list[Path]:
        names = set(os.listdir(cache)) if cache.is_dir() else set()
        programs = [name for name in names if name.endswith("-cache")]
        whole = [f"{name.removesuffix('-cache')}-atime" in names for name in programs]
        return [cache / name for name, good in zip(programs, whole, strict=True) if not good]

    with contextlib.suppress(OSError):  # a cache of others; jax says what it cannot write
        if not halves():
            return
        import filelock  # for the lock that jax holds while it writes

        with filelock.FileLock(cache / ".lockfile", timeout=10):
            for path in halves():
                path.unlink(missing_ok=True)


def use_memory_fraction(share: float) -> None:
    """Lets jax take this share of a GPU's memory, 0.75 otherwise. It goes before the settings of
    the environment, and matters to GPUs alone."""
    os.environ.pop("XLA_PYTHON_CLIENT_MEM_FRACTION", None)  # jax refuses both names at once
    os.environ["XLA_CLIENT_MEM_FRACTION"] = f"{share:g}"


def prepare() -> None:
    """Applies all of the above. Call it before the first import of jax; twice is harmless."""
    if backend_is_cpu():
        keep_freed_memory()
        use_plain_matmul()
        enough_threads()
        quiet_compiler()
    use_compilation_cache()
