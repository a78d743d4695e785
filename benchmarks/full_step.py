"""A training step of a full-size recipe on the devices of this machine, beside its plan.

    python benchmarks/full_step.py --config configs/stage2.py:chat,h200 --batch 16 --out step.json

Weights are random and made on the devices, in the dtype they are kept in; the batch is random too.
Compared are memory, seconds of a step, rows a second and MFU with what `zv plan` calculates for the
same chip. Without arguments a small model takes its place, so that the command can be tried
anywhere; on a CPU only the program is shown to work, not the figures of a plan.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
from pathlib import Path

import jax

from zv_jax.config import Config, recipe, validate
from zv_jax.parallel import hardware
from zv_jax.plan import report
from zv_jax.plan.timed import measure
from zv_jax.tables import align


def small() -> Config:
    """A model of two layers with every part of the Chat model."""
    return validate(
        recipe(
            "tiny_chat",
            stage={"name": "stage2", "variant": "chat"},
            data={"max_length": 24, "max_answer": 8, "max_qformer_text": 8},
            train={"batch_size": 8},
            mesh={"data": 1, "fsdp": -1},
        )
    )


def load(text: str) -> Config:
    """A recipe such as `configs/stage2.py:chat,h200`."""
    path, _, argument = text.partition(":")
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    return validate(module.get_config(argument))


def at_batch(config: Config, size: int) -> Config:
    """The recipe with batches of `size` rows, as many of them at once as before."""
    rows = config.train.batch_size // config.train.microbatches
    parts = max(1, size // rows) if config.train.microbatches > 1 else 1
    train = dataclasses.replace(config.train, batch_size=size, microbatches=parts)
    return dataclasses.replace(config, train=train)


def main() -> None:
    """Measures, plans, prints both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="")
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--remat", default="", help="another policy than the recipe's")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    config = load(given.config) if given.config else small()
    if given.batch:
        config = at_batch(config, given.batch)
    if given.remat:
        model = dataclasses.replace(config.model, remat=given.remat)
        config = dataclasses.replace(config, model=model)
    found = measure(config, given.steps)
    chip = hardware.chip_of(found["device"])
    topology = hardware.Topology(chip or hardware.CHIPS["cpu"], (jax.device_count(),))
    planned = report.plan(config, topology, by_hand=True)
    rate = config.train.batch_size / found["median_seconds"]
    flops = planned["flops"]["model_per_row"] * rate / topology.chips
    memory = planned["memory"]["arguments"] + planned["memory"]["temporaries"]
    table = [
        ("", "measured", "planned"),
        ("seconds of a step", found["median_seconds"], planned["step"]["seconds"]),
        ("rows a second", rate, planned["step"]["rows_per_second"]),
        ("MFU", flops / chip.flops if chip else None, planned["step"]["mfu"]),
        ("GiB on a device", (found["peak_bytes"] or 0) / hardware.GIB, memory / hardware.GIB),
    ]
    print(f"{found['devices']} x {found['device']}, {config.model.preset}, {config.stage.name}")
    shown = [[v if isinstance(v, str) else f"{v:.4g}" if v else "-" for v in row] for row in table]
    print("\n".join(align(shown, "lr")))
    if given.out:
        given.out.write_text(json.dumps({"measured": found, "planned": planned}, indent=1))


if __name__ == "__main__":
    main()
