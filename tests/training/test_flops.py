"""Operations of a step: known totals of the full-size models, and what XLA counts of small ones."""

import dataclasses

import jax
import pytest
from full_size import full

from zv_jax.config import recipe, validate
from zv_jax.models import flops as of_models
from zv_jax.parallel.hardware import MeshConfig
from zv_jax.parallel.sharding import make_mesh
from zv_jax.plan import compiled, hlo
from zv_jax.training import flops, towers
from zv_jax.training.losses import pairs


def test_totals_of_13b_by_hand():
    config = full("stage2", "base")
    # 40 layers of 4 D^2 + 3 D M weights, two operations each, and the causal half of the scores.
    layers = 40 * 576 * 2 * (4 * 5120**2 + 3 * 5120 * 13824)
    # All answers of a row are learned, in Chat the last, of at most 256 tokens.
    assert towers.llm(config).linear == layers + 2 * 5120 * 39424 * 576
    assert towers.llm(full("stage2", "chat")).linear == layers + 2 * 5120 * 39424 * 256
    assert towers.llm(config).attention == 40 * 2 * 576**2 * 5120
    assert of_models.vision(config.model.vision).linear == pytest.approx(
        257 * 2 * 0.985e9, rel=0.01
    )


def test_frozen_weights_that_pass_a_gradient_cost_4n_and_recomputation_half_as_much_again():
    config = full("stage2", "chat")
    llm = next(t for t in flops.towers(config) if t.name == "llm")
    assert llm.kind == towers.PASSED
    ratio = flops.hardware_flops(config) / flops.model_flops(config)
    # Counted in the program that the TPU compiler made of it: 1.400 (docs/plans).
    assert ratio == pytest.approx(1.40, abs=0.02)
    kept = full("stage2", "chat", remat="names")
    assert flops.hardware_flops(kept) / flops.model_flops(kept) < 1.15


def test_a_frozen_vit_has_no_backward_pass():
    kinds = {t.name: t.kind for t in flops.towers(full("stage1", "base"))}
    assert kinds["vision"] == kinds["qformer"] == towers.FORWARD
    assert kinds["projector"] == towers.TRAINED and kinds["llm"] == towers.PASSED


def test_pairs_in_both_directions_cost_one_joint_pass_more():
    both, single = (
        pairs.pretraining_passes(
            dataclasses.replace(config, stage=dataclasses.replace(config.stage, itm_pairs=how))
        )
        for config in [full("stage0", "base")]
        for how in ("both", "single")
    )
    q, v = full("stage0", "base").model.qformer, full("stage0", "base").model.vision
    joint = of_models.qformer(q, v, q.num_queries, full("stage0", "base").data.max_text)
    assert [a - b for a, b in zip(both, single, strict=True)] == pytest.approx(joint)


def test_three_passes_are_cheaper_than_five():
    assert 0.9 < pairs.five_pass_ratio(full("stage0", "base")) < 1


ROWS = 32


def deep(stage: str, variant: str, **sections):
    """Layers in a loop, rows so long that attention counts."""
    model = {"vision": {"layers": 4}, "llm": {"layers": 4}} | sections.pop("model", {})
    return validate(
        recipe(
            f"tiny_{variant}",
            model=model,
            stage={"name": stage, "variant": variant},
            data={"max_text": 16, "max_length": 96, "max_answer": 16, "max_qformer_text": 16},
            train={"batch_size": 8, **sections.pop("train", {})},
        )
    )


def counted(config) -> float:
    """FLOPs of a row in the program compiled for one device, every loop as often as it turns."""
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    return hlo.work(compiled.compile_step(config, mesh).text).flops / config.train.batch_size


@pytest.mark.parametrize(
    "policy, more",
    [
        ("names", {}),
        pytest.param("offload", {}, marks=pytest.mark.slow),
        pytest.param("dots", {}, marks=pytest.mark.slow),
        ("dots_no_batch", {}),
        pytest.param("full", {}, marks=pytest.mark.slow),
        pytest.param("names", {"lora": {"targets": ".*attn.*"}}, marks=pytest.mark.slow),
    ],
)
def test_what_a_policy_computes_twice_is_what_the_program_does(policy, more):
    """The small change are products of adapters, which no policy names."""
    config = deep("stage2", "chat", model={"llm": {"layers": 4}, "remat": policy, **more})
    once = deep("stage2", "chat", model={"llm": {"layers": 4}, "remat": "none", **more})
    twice = counted(config) - counted(once)
    ours = flops.hardware_flops(config) - flops.hardware_flops(once)
    assert ours == pytest.approx(twice, rel=0.1, abs=0.001 * counted(once))


def small(stage: str, variant: str, **sections):
    """Wide towers of one layer: XLA counts the body of a loop once, and every addition."""
    wide = {"width": 256, "heads": 4, "mlp_width": 1024}
    model = {
        "vision": {"layers": 1, **wide},
        "qformer": {"layers": 2, **wide},
        "llm": {"layers": 1, **wide},
    }
    for name, values in sections.pop("model", {}).items():
        model[name] = model.get(name, {}) | values
    return validate(
        recipe(
            f"tiny_{variant}",
            model=model,
            stage={"name": stage, "variant": variant},
            data={"max_text": 16, "max_length": 48, "max_answer": 16, "max_qformer_text": 16},
            train={"batch_size": ROWS, **sections.pop("train", {})},
        )
    )


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(small("language", "base"), id="language", marks=pytest.mark.slow),
        pytest.param(small("vision", "base"), id="vision"),
        pytest.param(small("stage0", "base"), id="stage0", marks=pytest.mark.slow),
        pytest.param(small("stage1", "base"), id="stage1-base", marks=pytest.mark.slow),
        pytest.param(small("stage1", "chat"), id="stage1-chat", marks=pytest.mark.slow),
        pytest.param(small("stage2", "base"), id="stage2-base", marks=pytest.mark.slow),
        pytest.param(small("stage2", "chat"), id="stage2-chat", marks=pytest.mark.slow),
        pytest.param(
            small("stage2", "chat", model={"llm": {"head_dim": 64}}), id="head_dim",
        ),
    ],
)  # fmt: skip
def test_calculated_flops_are_those_that_xla_counts(config):
    """To a tenth: norms, activations and the optimiser are left out of ours."""
    program = compiled.lower(config, make_mesh(MeshConfig(), jax.devices()[:1])).compile()
    found = program.cost_analysis()["flops"] / ROWS
    assert found == pytest.approx(flops.hardware_flops(config), rel=0.1)


@pytest.mark.parametrize(
    "stage, variant, microbatches",
    [
        pytest.param("stage0", "base", 1, marks=pytest.mark.slow),
        pytest.param("stage0", "base", 2, marks=pytest.mark.slow),
        pytest.param("stage2", "chat", 1, marks=pytest.mark.slow),
    ],
)
def test_calculated_flops_of_many_layers_are_those_of_the_program(stage, variant, microbatches):
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
    assert found == pytest.approx(flops.hardware_flops(config), rel=0.1)
