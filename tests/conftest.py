"""What all tests share: the CPU backend, a cache of their own, and a way to run a fresh process."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import hypothesis
import pytest
from jaxtyping import install_import_hook

from zv_jax.parallel.runtime import device_threads

# Before anything imports these rooms: the types of their signatures, and with them the shapes of
# arrays, are checked at every call. Processes that tests start run unchecked.
CHECKED = ("zv_jax.models", "zv_jax.objectives", "zv_jax.training.losses")
TYPECHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
install_import_hook(CHECKED, TYPECHECKER)

QUICK = ["--xla_cpu_parallel_codegen_split_count=1"]
if tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 12):  # XLA ends a process for a flag
    QUICK.append("--xla_cpu_use_fusion_emitters=false")  # that it does not know

# Before anything imports jax; a GPU would change rounding and be taken from other work.
os.environ["JAX_PLATFORMS"] = "cpu"


def pytest_configure(config: pytest.Config) -> None:
    """Compilation is most of the time of the default tests, and the arithmetic is the same.

    Tests of the other markers run programs for long enough to gain from optimised ones.
    """
    if "not slow" in config.option.markexpr:
        import jax  # a conftest.py below may have imported it already, and read the variable

        jax.config.update("jax_disable_most_optimizations", True)
        os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # of programs that tests start
        # Read when the first program is compiled. What makes code for fused operations takes most
        # of the time that is left, and another way to make it half of that.
        given = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = " ".join([given, *QUICK]).strip()
    _share_programs(config)


def _share_programs(config: pytest.Config) -> None:
    """One cache of compiled programs for this run of the tests and all processes that it starts.

    Those of pytest-xdist find it in the environment of the first. Set JAX_COMPILATION_CACHE_DIR to
    keep it from one run to the next.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="zv-xla-", ignore_cleanup_errors=True)
        config.add_cleanup(folder.cleanup)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder.name
        os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = str(4 << 30)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
    import jax  # which may have been imported already, and have read the variables

    for name in ("compilation_cache_dir", "compilation_cache_max_size"):
        value = os.environ.get(f"JAX_{name.upper()}")
        if value is not None:
            jax.config.update(f"jax_{name}", int(value) if name.endswith("size") else value)
    least = float(os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", least)


# The same examples each time, on machines of any speed.
hypothesis.settings.register_profile("tests", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("tests")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory):
    """Tests never read or fill the cache of the person who runs them."""
    before = os.environ.get("ZV_CACHE")
    os.environ["ZV_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["ZV_CACHE"]
    else:
        os.environ["ZV_CACHE"] = before


Fresh = Callable[..., subprocess.CompletedProcess]


@pytest.fixture
def fresh_python(tmp_path: Path) -> Fresh:
    """`fresh_python(*arguments, devices=1, cwd=tmp_path, **environment)` runs a new interpreter.

    `devices` is the number of CPU devices jax shows there, for tests of meshes; `text` is what
    standard input holds. The result has `returncode`, `stdout` and `stderr`.
    """

    def run(
        *arguments: str,
        devices: int = 1,
        cwd: Path = tmp_path,
        text: str = "",
        timeout: float = 300,
        **environment: str,
    ) -> subprocess.CompletedProcess:
        env = os.environ | {"PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": str(devices)}
        env |= device_threads(devices)
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=cwd,
            env=env | environment,
            input=text,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run
