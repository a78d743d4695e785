"""Settings of the process before jax is imported."""

import os
import platform

import pytest

from zv_jax.parallel import runtime


@pytest.mark.parametrize(
    "platforms, expected", [("cpu", True), ("cpu,cuda", True), ("cuda,cpu", False), ("tpu", False)]
)
def test_the_backend_is_read_from_the_environment(platforms, expected, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    assert runtime.backend_is_cpu() is expected


def test_without_an_accelerator_package_the_backend_is_the_cpu(monkeypatch):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setattr(runtime.importlib.util, "find_spec", lambda name: None)
    assert runtime.backend_is_cpu()
    monkeypatch.setattr(runtime.importlib.util, "find_spec", lambda name: name == "libtpu" or None)
    assert not runtime.backend_is_cpu()


def test_cache_places(monkeypatch, tmp_path):
    monkeypatch.setenv("ZV_CACHE", str(tmp_path))
    assert runtime.cache_dir() == tmp_path
    monkeypatch.delenv("ZV_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert runtime.cache_dir() == tmp_path / "zv_jax"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert runtime.cache_dir().parts[-2:] == (".cache", "zv_jax")


CODE = """
import resource, sys
from zv_jax.parallel import runtime
runtime.prepare()
assert "jax" not in sys.modules
print(runtime.keep_freed_memory())
import numpy as np
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(4 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
import jax
print(jax.config.jax_compilation_cache_dir, jax.config.jax_compilation_cache_max_size)
jax.jit(lambda x: x + 1)(1)
"""


def test_prepare_keeps_memory_and_sets_the_compilation_cache(fresh_python, tmp_path, monkeypatch):
    # A command that another test ran in this process may have set it already.
    for name in ("DIR", "MAX_SIZE"):
        monkeypatch.delenv(f"JAX_COMPILATION_CACHE_{name}", raising=False)
    cache = str(tmp_path / "cache")
    done = fresh_python("-c", CODE, ZV_CACHE=cache)
    assert done.returncode == 0, done.stderr
    kept, faults, place, most = done.stdout.split()
    assert place == f"{cache}/xla" and int(most) == runtime.CACHE_SIZE
    if platform.libc_ver()[0] == "glibc" and platform.system() == "Linux":
        assert kept == "True"
        # 20 x 32 MiB are 160,000 pages; kept memory is not mapped anew.
        assert int(faults) < 1000


RESIDENT = """
import sys
from zv_jax.parallel import runtime
runtime.keep_freed_memory()
import numpy as np
def resident():
    rows = open("/proc/self/status").read().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith("VmRSS"))
large = np.ones(32 << 20)
below = np.ones(1)
del large
kept = resident()
runtime.give_back_memory()
print(kept - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps memory")
def test_memory_that_is_kept_can_be_given_back(fresh_python):
    done = fresh_python("-c", RESIDENT)
    assert int(done.stdout) > 200_000, done.stderr  # KiB, of 262,144


def test_settings_of_the_user_win(fresh_python, tmp_path, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_MAX_SIZE", raising=False)
    own = str(tmp_path / "own")
    done = fresh_python("-c", CODE, JAX_COMPILATION_CACHE_DIR=own)
    assert done.stdout.split()[-2:] == [own, "-1"], done.stderr  # theirs to limit
    done = fresh_python("-c", CODE, JAX_COMPILATION_CACHE_DIR="")
    assert done.stdout.split()[-1] == "-1", done.stderr  # empty: no cache at all
    assert str(runtime.cache_dir()) not in done.stdout


PROGRAMS = """
import os, sys
from pathlib import Path
from zv_jax.parallel import runtime
runtime.CACHE_SIZE = int(sys.argv[1])
runtime.prepare()
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
import jax, jax.numpy as jnp
for n in range(1, 9):
    jax.jit(lambda x: jnp.sin(x) @ x.T)(jnp.ones((n, n)))
files = list((runtime.cache_dir() / "xla").glob("*-cache"))
print(len(files), sum(file.stat().st_size for file in files))
"""


def test_the_cache_of_programs_stays_below_its_limit(fresh_python, tmp_path, monkeypatch):
    for name in ("DIR", "MAX_SIZE"):
        monkeypatch.delenv(f"JAX_COMPILATION_CACHE_{name}", raising=False)
    kept = {}
    for limit in (1 << 30, 20_000):
        done = fresh_python("-c", PROGRAMS, str(limit), ZV_CACHE=str(tmp_path / str(limit)))
        assert done.returncode == 0, done.stderr
        kept[limit] = [int(word) for word in done.stdout.split()]
    assert kept[1 << 30][1] > 20_000 >= kept[20_000][1] > 0
    assert kept[20_000][0] < kept[1 << 30][0]


def test_a_program_whose_writing_was_interrupted_does_not_end_the_cache(
    fresh_python, tmp_path, monkeypatch
):
    """jax writes two files for a program; without the second it kept no other program any more."""
    for name in ("DIR", "MAX_SIZE"):
        monkeypatch.delenv(f"JAX_COMPILATION_CACHE_{name}", raising=False)
    cache = tmp_path / "xla"
    fresh_python("-c", PROGRAMS, str(1 << 30), ZV_CACHE=str(tmp_path))
    programs = sorted(cache.glob("*-cache"))
    for left, path in enumerate(programs):
        if left % 2:
            path.with_name(path.name.removesuffix("cache") + "atime").unlink()
            path.write_bytes(path.read_bytes()[:100])
    again = fresh_python("-c", PROGRAMS, str(1 << 30), ZV_CACHE=str(tmp_path))
    assert (again.returncode, again.stderr) == (0, "")
    assert sorted(cache.glob("*-cache")) == programs
    assert len(list(cache.glob("*-atime"))) == len(programs)


@pytest.mark.parametrize(
    "release, set_by_us", [("0.10.2", True), ("0.12.0.1", True), ("1.0.0", False)]
)
def test_xla_gets_no_flag_that_a_later_version_may_not_know(release, set_by_us, monkeypatch):
    """It would end the process, and say why only in a log that is switched off."""
    monkeypatch.setattr(runtime, "version", lambda name: release)
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    runtime.use_plain_matmul()
    given = os.environ["XLA_FLAGS"].split()
    assert ("--xla_cpu_experimental_ynn_fusion_type=" in given) is set_by_us
    assert "--xla_cpu_enable_fast_math=false" in given


def test_the_compiler_is_quiet_unless_the_user_wants_to_hear_it(monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    runtime.quiet_compiler()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    runtime.quiet_compiler()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "3"


def test_several_cpu_devices_in_a_fresh_process(fresh_python):
    done = fresh_python("-c", "import jax; print(jax.device_count())", devices=8)
    assert done.stdout.strip() == "8", done.stderr


def test_several_cpu_devices_get_threads_of_their_own(monkeypatch):
    # setenv first, so that what the function sets is taken back at the end.
    monkeypatch.setenv("PJRT_NPROC", "")
    for devices, expected in (("", None), ("1", None), ("many", None), ("8", "32")):
        monkeypatch.delenv("PJRT_NPROC", raising=False)
        monkeypatch.setenv("JAX_NUM_CPU_DEVICES", devices)
        monkeypatch.setattr(runtime, "cores", lambda: 2)
        runtime.enough_threads()
        assert os.environ.get("PJRT_NPROC") == expected
    monkeypatch.setenv("PJRT_NPROC", "5")
    runtime.enough_threads()
    assert os.environ["PJRT_NPROC"] == "5"
