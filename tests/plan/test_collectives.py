"""Collectives of the compiled step on eight CPU devices, counted from the program."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
TESTS = Path(__file__).resolve().parents[1]
PROGRAM = """
import dataclasses, json, sys
import synthetic
from zv_jax.parallel.hardware import MeshConfig
from zv_jax.plan import compiled, hlo
from zv_jax.parallel.sharding import make_mesh
config = synthetic.tiny(sys.argv[1], sys.argv[2])
report = {}
for sizes in sys.argv[3:]:
    mesh = make_mesh(MeshConfig(*map(int, sizes.split("x"))))
    program = compiled.abstract_program(config, mesh)
    positions, width = program.variables.trainable["params/qformer/position/embedding"].shape
    found = hlo.work(compiled.compile_step(config, mesh).text)
    report[sizes] = {
        "traffic": [dataclasses.asdict(one) for one in found.traffic],
        "trainable": sum(4 * leaf.size for leaf in program.variables.trainable.values()),
        "frozen": sum(4 * leaf.size for leaf in program.variables.frozen.values()),
        "flops": found.flops,
        "unused": 4 * width * (positions - program.batch["qformer_input_ids"].shape[1]),
    }
print(json.dumps(report))
"""


@pytest.fixture(scope="module")
def report():
    """The report of the program for stage 2 of Chat, compiled once."""
    env = os.environ | {
        "PYTHONPATH": f"{TESTS.parent}:{TESTS}", "JAX_NUM_CPU_DEVICES": "8",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "stage2", "chat", "8x1x1", "1x8x1"],
        env=env, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def payload(found: dict, *kinds: str) -> float:
    return sum(one["payload"] for one in found["traffic"] if one["kind"] in kinds)


def test_data_parallelism_sums_gradients_and_nothing_else(report):
    found = report["8x1x1"]
    assert payload(found, "all-gather", "all-to-all", "collective-permute") == 0
    # Gradients of what trains, once; beside them only sums of losses and weights. Rows of the
    # Q-Former's positions that no text of this length reaches have none to be summed.
    gradients = found["trainable"] - found["unused"]
    assert payload(found, "all-reduce") == pytest.approx(gradients, rel=0.005)


def test_full_sharding_gathers_every_weight_at_least_once_and_no_gradient_is_summed_whole(report):
    found = report["1x8x1"]
    weights = found["trainable"] + found["frozen"]
    assert payload(found, "all-gather") > 0.9 * weights
    assert payload(found, "all-gather") < 6 * weights
    assert {one["group"] for one in found["traffic"]} == {8}


def test_the_arithmetic_is_shared_out_evenly(report):
    assert report["1x8x1"]["flops"] == pytest.approx(report["8x1x1"]["flops"], rel=0.02)
