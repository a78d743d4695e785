"""What the suite for GPUs measures, each a function that yields rows.

Models of full width with random weights made on the device; a `size` names them: "13b" and "7b" are
the full-size recipes, "tiny" rehearses on a CPU.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.rows import Row
from benchmarks.rows import rows as rows_of
from zv_jax.config.build import recipe, validate
from zv_jax.config.schema import Config
from zv_jax.errors import SetupError
from zv_jax.files import read_jsonl

PRESETS = {
    "13b": "ziya_visual_chat_13b",
    "7b": "ziya_visual_chat_7b",
    "tiny": "tiny_chat",
}
NAMES = {"stage0": "stage 0 Base", "stage2": "stage 2 Chat"}
PEFT = "transformers and PEFT, bfloat16"


def config(stage: str, size: str, batch: int) -> Config:
    """The recipe of a stage at a batch that one device computes at once."""
    variant = "base" if stage == "stage0" else "chat"
    if size == "tiny":
        data = {"max_length": 24, "max_answer": 8, "max_qformer_text": 8, "max_text": 8}
        given = recipe(f"tiny_{variant}", stage={"name": stage, "variant": variant}, data=data)
    else:
        from zv_jax.configs import stage0, stage2

        module = stage0 if stage == "stage0" else stage2
        given = module.get_config(f"{variant},{size},h200")  # one device of any kind
    given.train.batch_size = batch
    given.train.microbatches = 1
    return validate(given)


def case_of(stage: str, size: str, batch: int) -> str:
    return f"{NAMES[stage]} {size}, {batch} rows, a step"


def step(
    stage: str,
    size: str,
    batch: int,
    remat: str = "",
    microbatches: int = 1,
    random_bits: str = "",
    about: str = "",
    steps: int = 5,
) -> Iterator[Row]:
    """A training step of ours: its seconds with MFU, and the peak of the device's memory.

    Args:
        remat, random_bits: others than the recipe's.
        about: for the note.
    """
    from zv_jax.parallel import hardware
    from zv_jax.plan import timed
    from zv_jax.training.flops import model_flops

    given = config(stage, size, batch)
    if remat:
        given = dataclasses.replace(given, model=dataclasses.replace(given.model, remat=remat))
    bits = random_bits or given.train.random_bits
    train = dataclasses.replace(given.train, microbatches=microbatches, random_bits=bits)
    found = timed.measure(dataclasses.replace(given, train=train), steps)
    flops = model_flops(given) * batch
    chip = hardware.chip_of(found["device"])
    notes = [f"remat {given.model.remat}", f"{microbatches} microbatches", about]
    if chip:
        share = flops / found["median_seconds"] / chip.flops
        notes.append(f"MFU {share:.1%} of {chip.name}'s {chip.flops / 1e12:.0f} TFLOP/s")
    note, case = ", ".join(filter(None, notes)), case_of(stage, size, batch)
    seconds = tuple(found["step_seconds"])
    compiled = found["compiled_flops"]
    yield Row("steps", case, ours=seconds, counted=flops, compiled=compiled, note=note)
    yield Row("startup", f"first {case}", ours=(found["first_step_seconds"],), note=note)
    if found["peak_bytes"]:
        peak = (float(found["peak_bytes"]),)
        yield Row("memory", case, ours=peak, unit="bytes", note=note)


def torch_device(small: bool) -> str:
    """Where PyTorch computes.

    Raises:
        SetupError: it is not installed, or sees no GPU.
    """
    try:
        import peft  # noqa: F401
        import torch
        import transformers  # noqa: F401
    except ImportError as error:
        raise SetupError(f"{error.name} is not installed: nothing to compare with") from None
    if small:
        return "cpu"
    if not torch.cuda.is_available():
        raise SetupError("this PyTorch sees no GPU: nothing to compare with")
    return "cuda"


def fastest(results: str, part: str, case: str) -> tuple[float, ...]:
    """Our best row of a case so far: its values; empty if there is none."""
    found = [row.ours for row in rows_of(read_jsonl(Path(results)))
             if (row.part, row.case) == (part, case) and row.ours]  # fmt: skip
    return min(found, key=statistics.median, default=())


def peft_step(
    size: str,
    batch: int,
    results: str,
    checkpointing: bool = True,
    compiled: bool = False,
    steps: int = 5,
) -> Iterator[Row]:
    """A step of stage 2 Chat by transformers and PEFT, beside the fastest of ours until now.

    Frozen weights in bfloat16, trained ones in float32 under autocast, and full rows, as ours.

    Raises:
        SetupError: they are not installed, or see no GPU.
    """
    device = torch_device(size == "tiny")
    import torch

    from benchmarks.hf_model import HfStep
    from zv_jax.parallel.hardware import MeshConfig
    from zv_jax.parallel.sharding import make_mesh
    from zv_jax.plan import timed
    from zv_jax.plan.compiled import batch_shapes

    given = config("stage2", size, batch)
    run = HfStep(given, device, torch.bfloat16, compiled, checkpointing)
    placed = timed.batch_of(given, batch_shapes(given, make_mesh(MeshConfig())))
    rows = {name: np.asarray(value) for name, value in placed.items()}
    seconds = timed(lambda: run(rows), steps)
    case = case_of("stage2", size, batch)
    beside = PEFT + (", compiled" if compiled else "")
    note = "layers recomputed" if checkpointing else "nothing recomputed"
    note += f", attention {run.attention}"
    yield Row("steps", case, beside, fastest(results, "steps", case), seconds, note=note)
    if device == "cuda":
        peak = (float(torch.cuda.max_memory_allocated()),)
        ours = fastest(results, "memory", case)
        yield Row("memory", case, beside, ours, peak, "bytes", note=note)


def timed(run: Callable[[], object], rounds: int) -> tuple[float, ...]:
    """Seconds of every run after two; each returns numbers, so that it has ended."""
    found = []
    for _ in range(rounds + 2):
        began = time.perf_counter()
        run()
        found.append(time.perf_counter() - began)
    return tuple(found[2:])


def answers(size: str, rows: list[int], tokens: int) -> Iterator[Row]:
    """Every layer, at several sizes of a batch."""
    from benchmarks import generate

    yield from generate.rows(PRESETS[size], rows, tokens=tokens)


def peft_answers(size: str, rows: int, tokens: int, results: str, rounds: int = 3) -> Iterator[Row]:
    """Answers by transformers' generate from the same model, beside ours.

    Raises:
        SetupError: as `peft_step`.
    """
    device = torch_device(size == "tiny")
    import torch

    from benchmarks import generate, hf_model

    given = generate.config_of(PRESETS[size])
    model = hf_model.build(given, device, torch.bfloat16).to(torch.bfloat16).eval()
    asked = generate.inputs(given, rows, 64)[0]
    batch = {name: np.asarray(value) for name, value in asked._asdict().items()}
    tensors = hf_model.inputs(given, batch | {"labels": batch["input_ids"]}, device)
    del tensors["labels"]
    tensors["pixel_values"] = tensors["pixel_values"].to(torch.bfloat16)
    image = [given.model.image_token_id]

    def run(count: int) -> None:
        limits = dict(min_new_tokens=count, max_new_tokens=count, do_sample=False)
        with torch.inference_mode():
            model.generate(**tensors, **limits, suppress_tokens=image).cpu()

    first, whole = (timed(lambda n=n: run(n), rounds) for n in (1, tokens))
    for name, seconds in (
        ("first token", first),
        ("each later token", generate.later(first, whole, tokens)),
    ):
        case = f"{PRESETS[size]}, {rows} rows: {name}"
        ours = fastest(results, "decode", case)
        yield Row("decode", case, "transformers, generate", ours, seconds)


def attention(heads: int, dim: int, length: int, rows: int, rounds: int = 10) -> Iterator[Row]:
    """The language model's attention with its gradient: causal by its kind, beside a mask in
    memory, which is what training hands to the kernel."""
    import jax
    import jax.numpy as jnp

    from zv_jax.models.attention import attend

    q, k, v = jax.random.normal(jax.random.key(0), (3, rows, length, heads, dim), jnp.bfloat16)
    mask = jnp.tril(jnp.ones((1, length, length), bool))
    kernel = "cudnn" if jax.default_backend() == "gpu" else "xla"
    by_kind = lambda q, k, v: jax.nn.dot_product_attention(
        q, k, v, is_causal=True, implementation=kernel
    )
    ways = [by_kind, lambda q, k, v: attend(q, k, v, mask)]
    loss = lambda way: lambda q, k, v: way(q, k, v).astype(jnp.float32).sum()
    runs = [jax.jit(jax.grad(loss(way), (0, 1, 2))) for way in ways]
    ready = [lambda run=run: jax.block_until_ready(run(q, k, v)) for run in runs]
    causal, masked = (timed(run, rounds) for run in ready)
    case = f"{heads} heads of {dim}, {rows} rows of {length} tokens, with gradient"
    flops = 3 * 4 * rows * heads * length**2 * dim / 2  # half of the scores are needed
    yield Row("attention", f"causal: {case}", "a mask in memory", causal, masked, counted=flops)


if __name__ == "__main__":
    sys.exit("started by benchmarks/gpu_suite.py")
