"""What the tests of faults share: one corpus, and compiled programs that later runs reuse."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from toy_run import write_corpus

from zv_jax.parallel.runtime import device_threads

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def compiled():
    """Programs compiled quickly, of which a run that starts again finds even the smallest."""
    wanted = {
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_disable_most_optimizations": True,
    }
    with pytest.MonkeyPatch.context() as patch:
        before = {name: jax.config.values[name] for name in wanted}
        for name, value in wanted.items():
            jax.config.update(name, value)
            patch.setenv(name.upper(), str(value))  # of programs that a test starts
        yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "data")


@pytest.fixture
def processes():
    """`processes(commands)` runs them at once as one job; (exit code, standard error) of each."""

    def run(commands: list[list[str]], devices: int = 1, timeout: float = 900) -> list[tuple]:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        environment = {"PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": str(devices)}
        environment |= device_threads(devices)
        started = [
            subprocess.Popen(
                [sys.executable, *command, f"port={port}"],
                env=os.environ | environment,
                stderr=subprocess.PIPE,
                text=True,
            )
            for command in commands
        ]
        try:
            errors = [process.communicate(timeout=timeout)[1] for process in started]
            return [(p.returncode, text) for p, text in zip(started, errors, strict=True)]
        finally:
            for process in started:
                process.kill()

    return run
