"""Starts a job of several processes and checks that all of them run the same thing.

jax's runtime connects them. This module adds checks for common mistakes that would otherwise hang:
a missing coordinator, or hosts with different code, recipes or numbers of devices.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from zv_jax.errors import CheckpointError, ConfigError, SetupError

PATIENCE = 50.0  # seconds the processes wait for each other
# The log of this process, which goes to a file only: the terminal shows the progress of process 0.
process_log = logging.getLogger("zv_jax.process")
process_log.propagate = False


def start(
    coordinator: str = "",
    processes: int = 0,
    process: int = -1,
    found_by_environment: bool = False,
    patience: float = PATIENCE,
) -> None:
    """Joins the processes of a job; without arguments this process runs alone.

    Args:
        coordinator: `host:port` of process 0, which every process must reach.
        processes, process: their number, and the index of this one.
        found_by_environment: jax gets all three from the environment (TPU VM, GKE, SLURM).
        patience: seconds to wait for the others.

    Raises:
        ConfigError: only some of the three are given, or they contradict each other.
        SetupError: there is no coordinator, or the environment does not describe the job. If other
            processes are missing, this one exits with that message: jax allows no exception there.
    """
    if found_by_environment:
        _initialise("the environment (TPU VM, GKE, SLURM)", patience)
        return
    given = (bool(coordinator), processes > 0, process >= 0)
    if not any(given):
        return
    example = "--coordinator=10.0.0.1:8476 --num_processes=2 --process_id=0"
    if not all(given):
        names = ("--coordinator", "--num_processes", "--process_id")
        missing = [name for name, has in zip(names, given, strict=True) if not has]
        raise ConfigError(
            "missing: " + ", ".join(missing),
            where="start of a job of several processes",
            expected="all of " + ", ".join(names) + ", or --multihost on a cluster that sets them",
            fix=example,
        )
    host, colon, port = coordinator.rpartition(":")
    if not (host and colon and port.isdigit()) or process >= processes:
        raise ConfigError(
            f"process {process} of {processes} with coordinator {coordinator!r}",
            where="start of a job of several processes",
            expected="HOST:PORT, and a --process_id below --num_processes",
            fix=example,
        )
    if process > 0:
        _reach(host, int(port), patience)
    _initialise(
        coordinator,
        patience,
        coordinator_address=coordinator,
        # By default jax listens on every interface, and anyone who can reach it may join.
        coordinator_bind_address=coordinator if process == 0 else None,
        num_processes=processes,
        process_id=process,
    )


def _reach(host: str, port: int, patience: float) -> None:
    """Waits until the coordinator listens: jax would end the process without a clear message."""
    end = time.monotonic() + patience
    while True:
        try:
            socket.create_connection((host, port), timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() >= end:
                raise SetupError(
                    f"no coordinator answers: {error}",
                    where=f"{host}:{port}",
                    expected="process 0 running there, and the port open between the hosts",
                    fix="start process 0, or correct --coordinator",
                ) from error
            time.sleep(0.2)


def _initialise(where: str, patience: float, **how: object) -> None:
    def apart(why: str) -> SetupError:
        return SetupError(
            f"the processes of this job did not come together: {why}",
            where=where,
            expected=f"all of them within {patience:.0f} s",
            fix="see the logs of the others; every process needs the same --num_processes",
        )

    def give_up() -> None:
        # jax would abort the process from C++, with a stack trace instead of a message.
        print(f"zv: {apart('some are missing')}", file=sys.stderr, flush=True)
        os._exit(1)

    timer = threading.Timer(patience, give_up)
    timer.daemon = True
    timer.start()
    try:
        jax.distributed.initialize(initialization_timeout=int(patience) + 60, **how)
    except (RuntimeError, ValueError) as error:
        raise apart(str(error).splitlines()[0][:300]) from error
    finally:
        timer.cancel()


def check_same(config: Mapping[str, object], workdir: str) -> None:
    """Compares recipe, workdir, code, versions and devices of all processes; all call it together.

    Args:
        config: sections of the resolved recipe, in JSON types.

    Raises:
        ConfigError: in every process; it names what differs and where.
    """
    if jax.process_count() == 1:
        return
    facts = {f"config.{name}": value for name, value in config.items()}
    facts["--workdir"] = workdir
    facts["versions"] = [metadata.version(name) for name in ("jax", "flax", "optax", "zv_jax")]
    facts["Python"] = sys.version
    facts["code"] = code_digest()
    facts["devices of a process"] = [
        jax.local_device_count(),
        jax.local_devices()[0].device_kind,
    ]
    mine = np.stack([_digest(value) for value in facts.values()])
    every = multihost_utils.process_allgather(mine)  # [processes, facts, 8]
    for number, name in enumerate(facts):
        others = [
            str(process)
            for process in range(len(every))
            if (every[process, number] != every[0, number]).any()
        ]
        if others:
            raise ConfigError(
                f"{name} of process {', '.join(others)} is not that of process 0",
                where=f"process {jax.process_index()} of {jax.process_count()}",
                expected="the same command on every host",
                fix="copy the same code and recipe to every host and start them again; "
                "`zv config show` prints what a host reads",
            )


def code_digest() -> str:
    """SHA-256 of the source files of this package, by their names."""
    folder = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _digest(value: object) -> np.ndarray:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return np.frombuffer(hashlib.sha256(text.encode()).digest()[:8], np.uint8)


@contextmanager
def log_to_file(workdir: Path) -> Iterator[None]:
    """Writes `process_log`, warnings and the traceback of an error to `workdir/run.log`; process 1
    writes to `run-1.log` and so on.

    Raises:
        CheckpointError: the file cannot be opened.
    """
    process = jax.process_index()
    path = Path(workdir) / ("run.log" if process == 0 else f"run-{process}.log")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise CheckpointError(
            f"the log cannot be written: {error.strerror}",
            where=str(path),
            expected="a directory that can be written",
            fix="give another --workdir",
        ) from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(name)s: %(message)s"))
    handlers = [(process_log, handler), (logging.getLogger("zv_jax"), handler)]
    if not logging.getLogger().handlers:
        # Once a logger has a handler, Python stops showing warnings on the terminal by itself.
        shown = logging.StreamHandler(sys.stderr)
        shown.setLevel(logging.WARNING)
        handlers.append((logging.getLogger(), shown))
    for logger, one in handlers:
        logger.addHandler(one)
    process_log.setLevel(logging.INFO)
    process_log.info(
        "process %d of %d on %s, %d of %d devices (%s), jax %s",
        jax.process_index(),
        jax.process_count(),
        socket.gethostname(),
        jax.local_device_count(),
        jax.device_count(),
        jax.devices()[0].device_kind,
        jax.__version__,
    )
    place = jax.config.jax_compilation_cache_dir
    most = jax.config.jax_compilation_cache_max_size
    if place and most and jax.config.jax_enable_compilation_cache:
        limit = f"up to {most / 2**30:.3g} GiB" if most > 0 else "without a limit"
        process_log.info("compiled programs are kept in %s, %s", place, limit)
    try:
        yield
    except BaseException:
        process_log.exception("stopped")
        raise
    finally:
        for logger, one in handlers:
            logger.removeHandler(one)
            one.close()
