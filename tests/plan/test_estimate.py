"""Arithmetic of the plan: known totals of the full-size models, and of programs compiled here."""

import dataclasses
import json

import jax
import pytest

from zv_jax.cli import main as cli
from zv_jax.config import recipe, validate
from zv_jax.errors import ConfigError
from zv_jax.parallel.hardware import HARDWARE, MeshConfig, topology
from zv_jax.parallel.sharding import make_mesh
from zv_jax.plan import compiled, estimate, hlo, report


def full(stage: str, variant: str, **model):
    return validate(
        recipe(
            f"ziya_visual_{variant}_13b",
            model=model,
            stage={"name": stage, "variant": variant},
            data={"max_length": 576, "max_answer": 256},
            train={"batch_size": 1024},
            mesh={"data": 2, "fsdp": 128, "tensor": 1},
        )
    )


def test_totals_of_13b_by_hand():
    config = full("stage2", "base")
    # 40 layers of 4 D^2 + 3 D M weights, two operations each, and the causal half of the scores.
    layers = 40 * 576 * 2 * (4 * 5120**2 + 3 * 5120 * 13824)
    # All answers of a row are learned, in Chat the last, of at most 256 tokens.
    assert estimate.llm(config)[0] == layers + 2 * 5120 * 39424 * 576
    assert estimate.llm(full("stage2", "chat"))[0] == layers + 2 * 5120 * 39424 * 256
    assert estimate.llm(config)[1] == 40 * 2 * 576**2 * 5120
    assert estimate.vision(config.model.vision)[0] == pytest.approx(257 * 2 * 0.985e9, rel=0.01)


def test_frozen_weights_that_pass_a_gradient_cost_4n_and_recomputation_half_as_much_again():
    config = full("stage2", "chat")
    llm = next(t for t in estimate.towers(config) if t.name == "llm")
    assert llm.kind == estimate.PASSED
    ratio = estimate.hardware_flops(config) / estimate.model_flops(config)
    # Counted in the program that the TPU compiler made of it: 1.400 (docs/plans).
    assert ratio == pytest.approx(1.40, abs=0.02)
    kept = full("stage2", "chat", remat="names")
    assert estimate.hardware_flops(kept) / estimate.model_flops(kept) < 1.15


def test_a_frozen_vit_has_no_backward_pass():
    kinds = {t.name: t.kind for t in estimate.towers(full("stage1", "base"))}
    assert kinds["vision"] == kinds["qformer"] == estimate.FORWARD
    assert kinds["projector"] == estimate.TRAINED and kinds["llm"] == estimate.PASSED


def test_pairs_in_both_directions_cost_one_joint_pass_more():
    both, single = (
        estimate.pretraining_passes(
            dataclasses.replace(config, stage=dataclasses.replace(config.stage, itm_pairs=pairs))
        )
        for config in [full("stage0", "base")]
        for pairs in ("both", "single")
    )
    q, v = full("stage0", "base").model.qformer, full("stage0", "base").model.vision
    joint = estimate.qformer_pass(q, v, q.num_queries, full("stage0", "base").data.max_text)
    assert [a - b for a, b in zip(both, single, strict=True)] == pytest.approx(joint)


def test_three_passes_are_cheaper_than_five():
    assert 0.9 < estimate.five_pass_ratio(full("stage0", "base")) < 1


@pytest.mark.parametrize(
    "stage, variant, microbatches",
    [
        pytest.param("stage0", "base", 1, marks=pytest.mark.slow),
        pytest.param("stage0", "base", 2, marks=pytest.mark.slow),
        ("stage2", "chat", 1),
    ],
)
def test_calculated_flops_are_those_of_the_program(stage, variant, microbatches):
    """Without recomputation, compiled on one device; the rest is heads and small change."""
    config = validate(
        recipe(
            f"tiny_{variant}",
            model={"vision": {"layers": 4}, "llm": {"layers": 4}},
            stage={"name": stage, "variant": variant},
            data={"max_text": 16, "max_length": 48, "max_answer": 16, "max_qformer_text": 16},
            train={"batch_size": 8, "microbatches": microbatches},
        )
    )
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    found = hlo.work(compiled.compile_step(config, mesh).text).flops / 8
    assert found == pytest.approx(estimate.hardware_flops(config), rel=0.1)


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
