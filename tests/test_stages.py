"""The table of stages: every parameter of a stage trains or is frozen, as the paper says."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from synthetic import tiny, variables

from zv_jax import trees
from zv_jax.checkpoints import arrays as leaves
from zv_jax.config.checks import check
from zv_jax.errors import ConfigError
from zv_jax.models.axes import unboxed
from zv_jax.parallel.hardware import MeshConfig
from zv_jax.parallel.sharding import make_mesh
from zv_jax.stages import STAGES, Stage, split, stage_model, stage_of
from zv_jax.training.optimizer import make_optimizer
from zv_jax.training.overview import overview, stage_table
from zv_jax.training.state import abstract_variables, fresh_variables, merge, partition
from zv_jax.training.step import init_state
from zv_jax.warmup.start import EMBEDDING_SCALE

QFORMER, PROJECTOR = {"params/ln_vision", "params/qformer"}, {"params/projector"}
SEES = {"params/vision", "params/ln_vision", "params/patch_head"}
FROZEN_LLM = {"params/vision", "params/llm"}
# stage, variant -> towers that train, towers that are frozen.
TABLE = {
    ("language", "base"): ({"params/llm"}, set()),
    ("language", "chat"): ({"params/llm"}, set()),
    ("vision", "base"): (SEES, {"params/llm"}),
    ("vision", "chat"): (SEES, {"params/llm"}),
    ("stage0", "base"): (QFORMER | {"params/heads"}, {"params/vision"}),
    ("stage0", "chat"): (QFORMER | {"params/heads"}, {"params/vision"}),
    ("stage1", "base"): (PROJECTOR, FROZEN_LLM | QFORMER),
    ("stage1", "chat"): (QFORMER | PROJECTOR, FROZEN_LLM),
    ("stage2", "base"): (QFORMER | PROJECTOR, FROZEN_LLM),
    ("stage2", "chat"): (QFORMER | PROJECTOR | {"lora/vision", "lora/llm"}, FROZEN_LLM),
}


def paths(config) -> list[str]:
    return list(trees.flatten(unboxed(abstract_variables(config, stage_of(config)))))


def towers(names) -> set[str]:
    return {"/".join(name.split("/")[:2]) for name in names}


def test_the_table_has_every_stage():
    assert set(STAGES) == set(TABLE)
    fed = {name: stage.batch for (name, _), stage in STAGES.items()}
    assert fed == {"language": "texts", "vision": "patches", "stage0": "pairs",
                   "stage1": "dialogues", "stage2": "dialogues"}  # fmt: skip
    losses = {name: stage.losses for (name, _), stage in STAGES.items()}
    assert losses["vision"] == ("symbols", "words")
    assert losses["stage0"] == ("itc", "itm", "itg")
    assert losses["language"] == losses["stage1"] == losses["stage2"] == ("lm",)


@pytest.mark.parametrize("name, variant", TABLE)
def test_each_parameter_trains_or_is_frozen(name, variant):
    config = tiny(name, variant)
    everything = paths(config)
    trainable, frozen = split(everything, stage_of(config))
    assert sorted(trainable + frozen) == sorted(everything)
    assert (towers(trainable), towers(frozen)) == TABLE[name, variant]


@pytest.mark.parametrize("name, variant", [("stage0", "chat"), ("stage1", "base"),
                                           ("stage2", "chat")])  # fmt: skip
def test_optimiser_state_exists_for_trainable_leaves_only(name, variant):
    config = tiny(name, variant)
    held = variables(config, make_mesh(MeshConfig()))
    tx, _ = make_optimizer(config.optimizer, 10)
    state = leaves.flat(init_state(held.trainable, tx).opt_state)
    moments = [path for path, leaf in state.items() if np.ndim(leaf) or "/params/" in path]
    for kind in ("mu", "nu"):
        of_kind = {path.split(f"/{kind}/")[1] for path in moments if f"/{kind}/" in path}
        assert of_kind == set(held.trainable)
    assert not any(path.endswith(name) for path in state for name in held.frozen)
    assert set(trees.flatten(merge(held.trainable, held.frozen))) == set(paths(config))


def test_vision_trains_on_request_in_stage_0_only():
    config = tiny("stage0", "base", train_vision=True)
    trainable, frozen = split(paths(config), stage_of(config))
    assert "params/vision" in towers(trainable) and not frozen
    with pytest.raises(ConfigError, match="stage.train_vision"):
        stage_of(tiny("stage1", "chat", train_vision=True))


def test_the_stage_decides_variant_and_adapters():
    chat = tiny("stage2", "chat")
    assert stage_model(chat).qformer_sees_instruction
    assert stage_model(chat).lora == chat.model.lora
    assert not stage_model(tiny("stage1", "chat")).lora.targets
    switched = dataclasses.replace(chat, stage=tiny("stage2", "base").stage)
    assert not stage_model(switched).qformer_sees_instruction
    without = dataclasses.replace(tiny("stage2", "base"), stage=chat.stage)
    with pytest.raises(ConfigError, match="model.lora.targets"):
        stage_model(without)


@pytest.mark.parametrize(
    "targets",
    ["(a|a)*b", "(?x)(.|.) *b", "(?x:(.|.)#\n*)b", "(?i-s:a)(?sx:(.|.) *)b", "a*a*a*a*a*a*b", "("],
)
def test_a_pattern_of_adapters_that_may_never_end_is_refused(targets):
    """It comes with checkpoints of others."""
    chat = tiny("stage2", "chat")
    lora = dataclasses.replace(chat.model.lora, targets=targets)
    with pytest.raises(ConfigError) as caught:
        check(dataclasses.replace(chat, model=dataclasses.replace(chat.model, lora=lora)))
    assert caught.value.where == "model.lora.targets"


def test_a_pattern_without_a_parameter_is_an_error():
    stage = Stage("texts", ("lm",), (r"params/llm/.*", r"lora/llm/.*"))
    with pytest.raises(ConfigError, match="lora/llm"):
        split(["params/llm/norm/scale"], stage)


def test_the_printed_table_counts_every_parameter():
    config = tiny("stage2", "chat")
    held = variables(config, make_mesh(MeshConfig()))
    flat = held.trainable | held.frozen
    rows = {row["tower"]: row for row in stage_table(flat, set(held.trainable))}
    total = sum(row[kind] for row in rows.values() for kind in ("trainable", "frozen", "adapter"))
    assert total == sum(leaf.size for leaf in flat.values())
    assert rows["llm"]["trainable"] == 0 < rows["llm"]["adapter"] < rows["llm"]["frozen"]
    assert rows["qformer"]["frozen"] == 0 < rows["qformer"]["trainable"]


def test_the_overview_lists_every_leaf_once():
    config = tiny("stage2", "chat")
    held = variables(config, make_mesh(MeshConfig()))
    text = overview(held.trainable | held.frozen, set(held.trainable))
    trained, frozen = text.split("These parameters are frozen:")
    for names, half in ((held.trainable, trained), (held.frozen, frozen)):
        rows = [line.split("|") for line in half.splitlines() if line.startswith("| ")][1:]
        assert [row[1].strip() for row in rows] == sorted(names)
        total = sum(leaf.size for leaf in names.values())
        assert f"Total: {total:,} -- " in half
    assert "float32" in trained and "(None, 'fsdp', None)" in trained


def test_clu_comes_without_tensorflow(fresh_python):
    """It is there for overviews; parts of it that need TensorFlow are not imported."""
    program = "import sys, zv_jax.training.trainer as _; print(*sys.modules)"
    loaded = fresh_python("-c", program).stdout.split()
    assert "clu.parameter_overview" in loaded
    assert not {"tensorflow", "torch", "clu.metric_writers"} & set(loaded)


def test_frozen_leaves_are_held_in_the_compute_dtype():
    config = tiny("stage1", "base", model={"dtype": "bfloat16"})
    held = variables(config, make_mesh(MeshConfig()))
    assert {leaf.dtype for leaf in held.frozen.values()} == {jnp.dtype("bfloat16")}
    assert {leaf.dtype for leaf in held.trainable.values()} == {jnp.dtype("float32")}


def test_fresh_variables_follow_the_seed():
    config = tiny("language", "base")
    mesh, stage = make_mesh(MeshConfig()), stage_of(config)
    one, shardings = fresh_variables(config, stage, mesh)
    other, _ = fresh_variables(dataclasses.replace(config, seed=1), stage, mesh)
    with jax.default_prng_impl("rbg"):  # as somebody's environment may say
        again, _ = fresh_variables(config, stage, mesh)
    assert set(one) == set(shardings) == set(paths(config))
    for path, leaf in one.items():
        np.testing.assert_array_equal(leaf, again[path])
        if path.endswith(("kernel", "embedding")):
            assert (np.asarray(leaf) != np.asarray(other[path])).any()
            table = 0.02 * EMBEDDING_SCALE  # a warm-up's
            expected = leaf.shape[-2] ** -0.5 if path.endswith("kernel") else table
            assert np.asarray(leaf).std() == pytest.approx(expected, rel=0.1), path
    assert set(partition(one, stage, config).frozen) == set()
