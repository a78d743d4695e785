"""Arithmetic of the plan: known totals of the full-size models, and of programs compiled here."""

import dataclasses
import json

import pytest
from full_size import full

from zv_jax.cli import main as cli
from zv_jax.errors import ConfigError
from zv_jax.parallel.hardware import HARDWARE, MeshConfig, topology
from zv_jax.plan import report


@pytest.mark.parametrize(
    "name",
    [n if n in ("v5e-256", "h200") else pytest.param(n, marks=pytest.mark.slow) for n in HARDWARE],
)
def test_every_preset_shares_out_a_full_size_model(name):
    """Every frozen leaf of any size is spread over the chips, and names have rules."""
    machine = HARDWARE[name]
    data, fsdp, tensor = machine.mesh
    for stage, variant in (("stage0", "base"), ("stage2", "chat")):
        config = full(stage, variant, remat=machine.remat)
        mesh = MeshConfig(data, fsdp, tensor)
        config = dataclasses.replace(
            config, mesh=mesh, train=dataclasses.replace(config.train, batch_size=2048)
        )
        found = report.plan(config, topology(name), by_hand=True)
        assert not found["whole_leaves"], name
        assert found["source"] == "calculated"
        if found["topology"]["chips"] > 8:
            assert found["memory"]["arguments"] < 2**31


def test_microbatches_read_the_weights_again_but_not_the_optimiser():
    machine = topology("h100:1")

    def moved(microbatches):
        config = full("stage0", "base")
        train = dataclasses.replace(config.train, microbatches=microbatches)
        config = dataclasses.replace(config, mesh=MeshConfig(1, 1, 1), train=train)
        found = report.plan(config, machine, by_hand=True)
        seconds, memory = found["step"]["parts"]["memory"], found["memory"]
        per_second = machine.chip.bandwidth * report.TRANSFER
        filled = 2 * microbatches * memory["temporaries"]
        return seconds * per_second - filled, memory["arguments"], memory["moments"]

    (once, arguments, moments), (often, *_) = moved(1), moved(4)
    assert once == pytest.approx(arguments)
    assert moments > 8 * 1e8  # two float32 numbers for each of more than 10^8 trained ones
    assert often == pytest.approx(4 * arguments - 3 * moments)


def test_the_command_prints_tables_and_writes_json(tmp_path, capsys):
    out = tmp_path / "plans" / "plan.json"
    code = cli.main(
        ["plan", "--config=configs/stage2.py:chat,h100x8", "--topology=h100:8",
         "--price=3", f"--out={out}"]
    )  # fmt: skip
    shown = capsys.readouterr()
    assert code == 0, shown.err
    assert "calculated, not compiled" in shown.out and "MFU" in shown.out and "cost" in shown.out
    found = json.loads(out.read_text())
    assert found["run"]["cost"] == pytest.approx(3 * found["run"]["chip_hours"])
    assert found["memory"]["headroom"] > 0 and found["largest_batch"] >= 64
    assert 1.3 < found["flops"]["ratio"] < 1.6


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--topology=v9:4x4"], "unknown topology 'v9:4x4'"),
        (["--topology=v5e"], "as v5e:16x16"),
        (["--topology=h100:8", "--mesh=2,2"], "three numbers"),
        (["--topology=h100:8", "--mesh=3,2,1"], "a product of 8"),
        (["--topology=h100:3", "--mesh=1,3,1"], "train.batch_size"),
        (["--topology=v5e:16x16", "--mesh=1,256,1", "--estimate"], "cannot be split 256 ways"),
        ([], "--topology is missing"),
    ],
)
def test_mistakes(arguments, words, capsys):
    more = ["--config.train.batch_size=256"] if "256" in str(arguments) else []
    code = cli.main(["plan", "--config=configs/stage2.py:chat", *arguments, *more])
    assert code == 2 and words in capsys.readouterr().err


def test_unknown_hardware_in_a_recipe():
    from zv_jax.configs import common as full_size

    with pytest.raises(ConfigError, match="there is no 'v5e-255'; did you mean 'v5e-256'"):
        full_size.read("configs/stage2.py", "chat,v5e-255", "chat")
    with pytest.raises(ConfigError, match="both 'chat' and 'base'"):
        full_size.read("configs/stage2.py", "chat,base", "chat")
    assert full_size.read("configs/stage2.py", "v5e-16,7b,364", "chat") == full_size.Words(
        "chat", "7b", 364, "v5e-16"
    )
