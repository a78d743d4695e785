"""What one measuring process does: first prove that both sides agree, then time one of them.

Each framework is imported only inside the functions that need it, so a process holds one of them.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import Batch, case_config, make_batch, shapes
from zv_jax.errors import ConfigError, ZvError
from zv_jax.parallel import runtime

# Rows of the table. All but the first are PyTorch.
ROWS = {
    "jax": "ours, float32",
    "torch": "PyTorch, float32",
    "torch-malloc": "PyTorch, float32, with our malloc settings",
    "torch-bf16": "PyTorch, bfloat16 autocast: less exact arithmetic, not the same computation",
    "torch-lavis": "PyTorch, float32, in the passes that LAVIS makes of stage 0",
    "hf": "transformers and PEFT, float32, as their users train",
    "hf-compile": "the same, by torch.compile",
}
CHECKED_STEPS = 2  # the second sees the gradients, the clipping and the optimiser of the first
LOSS_TOLERANCE = 1e-4
NORM_TOLERANCE = 1e-3  # relative, of the gradient's global norm
WEIGHTS, OURS = "weights.npz", "ours.json"

Step = Callable[[Batch], dict[str, float]]


def rows_of(case: str) -> list[str]:
    """The rows that a case has: LAVIS's passes in stage 0, transformers' models from stage 1 on."""
    pairs = case_config(case).stage.name == "stage0"
    return [row for row in ROWS if not row.startswith("hf" if pairs else "torch-lavis")]


class DifferentError(ZvError):
    """The two implementations do not compute the same thing."""


def prepare_process(row: str, threads: int, cache: str = "") -> None:
    """Cores, threads and malloc of this process; call it before jax or torch is imported.

    Args:
        cache: folder for compiled programs; "": every process compiles, so that its memory and
            first step are those of a fresh machine.

    Raises:
        ConfigError: fewer than `threads` cores may be used.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < threads:
        raise ConfigError(
            f"{threads} threads on {len(cores)} cores",
            where="--threads",
            expected=f"{len(cores)} at most",
            fix=f"--threads {len(cores)}",
        )
    # XLA takes as many threads as the process may use cores; torch gets the same ones.
    os.sched_setaffinity(0, set(cores[:threads]))
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if row == "jax":
        os.environ["JAX_PLATFORMS"] = "cpu"
        os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "true" if cache else "false"
        if cache:
            os.environ["JAX_COMPILATION_CACHE_DIR"] = cache
        runtime.prepare()
    else:
        if row == "torch-malloc":
            runtime.keep_freed_memory()
        import torch

        torch.set_num_threads(threads)


def check_ours(name: str, directory: Path) -> dict[str, Any]:
    """Makes the starting weights and takes our first steps; both are kept in `directory`."""
    from benchmarks.jax_step import JaxStep, starting_leaves

    config = case_config(name)
    batch, leaves = make_batch(config), starting_leaves(config)
    np.savez(directory / WEIGHTS, **leaves)
    step = JaxStep(config, leaves)
    found: dict[str, Any] = {"trainable": step.trainable, "shapes": shapes(batch), "steps": []}
    for _ in range(CHECKED_STEPS):
        drawn = step.negatives(batch)
        negatives = None if drawn is None else [index.tolist() for index in drawn]
        found["steps"].append({"negatives": negatives, "metrics": step(batch)})
    (directory / OURS).write_text(json.dumps(found), "utf-8")
    return found


def check_torch(name: str, directory: Path) -> dict[str, Any]:
    """The same steps in PyTorch, from the same weights and with the same negatives.

    Raises:
        DifferentError: a loss or the norm of the gradients is not the same.
        CheckpointError: the parameters do not correspond.
    """
    batch = make_batch(case_config(name))
    deviation = 0.0
    for row in ("torch", "torch-lavis"):
        if row not in rows_of(name):
            continue
        step, ours = _torch_step(name, directory, row)
        for number, theirs in enumerate(ours["steps"]):
            found, where = step(batch, theirs["negatives"]), f"{name}, {row}, step {number + 1}"
            deviation = max(deviation, compare(theirs["metrics"], found, where))
    return {"steps": CHECKED_STEPS, "largest_difference_of_losses": deviation}


def count(name: str) -> dict[str, float]:
    """FLOPs of a step: of the model by our formula, and of the matrix products in the program."""
    import jax

    from zv_jax.parallel.hardware import MeshConfig
    from zv_jax.parallel.sharding import make_mesh
    from zv_jax.plan import compiled, hlo
    from zv_jax.training.flops import model_flops

    config = case_config(name)
    program = compiled.compile_step(config, make_mesh(MeshConfig(), jax.devices()[:1]))
    counted = model_flops(config) * config.train.batch_size
    return {"counted": counted, "compiled": hlo.work(program.text).flops}


def compare(ours: Mapping[str, float], theirs: Mapping[str, float], where: str) -> float:
    """The largest difference of the losses.

    Raises:
        DifferentError: a loss differs by more than `LOSS_TOLERANCE`, or the norm of the gradients
            by more than `NORM_TOLERANCE` of itself. Accuracies are not compared: they jump.
    """
    largest = 0.0
    others = ("lr", "skipped", "grad_norm")
    names = [name for name in ours if name not in others and "accuracy" not in name]
    for name in [*names, "grad_norm"]:
        allowed = NORM_TOLERANCE * ours[name] if name == "grad_norm" else LOSS_TOLERANCE
        difference = abs(ours[name] - theirs[name])
        if not difference <= allowed:  # NaN fails too
            raise DifferentError(
                f"{name} is {ours[name]:.7g} in JAX and {theirs[name]:.7g} in PyTorch",
                where=where,
                expected=f"a difference of {allowed:.1g} at most; nothing is timed otherwise",
                fix="bring benchmarks/torch_model.py and torch_step.py up to date with zv_jax",
            )
        if name != "grad_norm":
            largest = max(largest, difference)
    return largest


def measure(row: str, name: str, directory: Path, warmup: int, steps: int) -> dict[str, Any]:
    """Times `steps` steps one by one after `warmup` of them; the first is reported by itself."""
    from zv_jax.training.metrics import peak_rss_bytes

    batch = make_batch(case_config(name))
    start = time.perf_counter()
    step = _step(row, name, directory)
    step(batch)
    first = time.perf_counter() - start
    for _ in range(warmup - 1):
        step(batch)
    seconds, loss = [], 0.0
    for _ in range(steps):
        start = time.perf_counter()
        loss = step(batch)["loss"]
        seconds.append(time.perf_counter() - start)
    return {
        "seconds": seconds,
        "median": statistics.median(seconds),
        "until_first_step_seconds": first,
        "last_loss": loss,
        "peak_rss_bytes": peak_rss_bytes(),
    }


def _step(row: str, name: str, directory: Path) -> Step:
    if row == "jax":
        return _jax_step(name, directory)
    return _hf_step(name, row) if row.startswith("hf") else _torch_step(name, directory, row)[0]


def _jax_step(name: str, directory: Path) -> Step:
    from benchmarks.jax_step import JaxStep

    with np.load(directory / WEIGHTS) as leaves:
        return JaxStep(case_config(name), leaves)


def _torch_step(name: str, directory: Path, row: str) -> tuple[Any, dict[str, Any]]:
    from benchmarks.torch_step import TorchStep

    ours = json.loads((directory / OURS).read_text("utf-8"))
    with np.load(directory / WEIGHTS) as leaves:
        trainable = set(ours["trainable"])
        kind = dict(autocast=row == "torch-bf16", separate=row == "torch-lavis")
        return TorchStep(case_config(name), leaves, trainable, **kind), ours


def _hf_step(name: str, row: str) -> Step:
    from benchmarks.hf_model import HfStep

    return HfStep(case_config(name), compiled=row == "hf-compile")


def work(job: dict[str, Any]) -> dict[str, Any]:
    """Does the job that `steps.py` hands to a process of its own.

    `job` holds task (check | count | time), row, case, directory, threads, warmup and steps; and
    cache, if compiled programs are kept.
    """
    row, name, directory = job["row"], job["case"], Path(job["directory"])
    prepare_process(row, job["threads"], job.get("cache", ""))
    if job["task"] == "count":
        return count(name)
    if job["task"] == "time":
        return measure(row, name, directory, job["warmup"], job["steps"])
    return (check_ours if row == "jax" else check_torch)(name, directory)
