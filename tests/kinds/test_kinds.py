"""A kind of batch is an object: nothing asks what it is called, and a new one is two files."""

import ast
import json
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np
import pytest
import toy_run
from synthetic import tiny

from zv_jax import stages, trees
from zv_jax.checkpoints import contents
from zv_jax.data.pipeline.batches.kind import KINDS
from zv_jax.models.axes import unboxed
from zv_jax.parallel.hardware import MeshConfig
from zv_jax.parallel.sharding import make_mesh
from zv_jax.stages import BATCHES, STAGES, stage_of
from zv_jax.training.losses.kind import LOSSES
from zv_jax.training.state import abstract_variables, fresh_variables
from zv_jax.training.trainer import run

ROOT = Path(__file__).resolve().parents[2]
TABLE = "zv_jax/stages.py"
LOOK_UPS = ("zv_jax/data/pipeline/batches/kind.py", "zv_jax/training/losses/kind.py")
# Names that mean nothing but a stage or a kind of batch, and names that may be those of a tower, a
# field or a language too.
PLAIN = {"stage0", "stage1", "stage2", *BATCHES}
SHARED = {"language", "vision"}


def words(node: ast.AST) -> set[str]:
    constants = (n.value for n in ast.walk(node) if isinstance(n, ast.Constant))
    return {value for value in constants if value in PLAIN | SHARED}


def asks(node: ast.AST) -> bool:
    """Whether an expression compares the name of a stage or kind, or looks it up in a literal."""
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
    elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Dict):
        sides = [ast.Tuple([*filter(None, node.value.keys)]), node.slice]
    elif (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "get"
        and isinstance(node.func.value, ast.Dict)
    ):
        sides = [ast.Tuple([*filter(None, node.func.value.keys)]), *node.args]
    elif isinstance(node, ast.Match):
        sides = [node.subject, *(case.pattern for case in node.cases)]
    else:
        return False
    found = set().union(*map(words, sides))
    text = " ".join(map(ast.unparse, sides))
    return bool(found & PLAIN) or bool(found and ("stage" in text or ".batch" in text))


def places() -> list[str]:
    found = []
    for top in ("zv_jax", "evaluation", "configs"):
        for path in sorted((ROOT / top).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if name.startswith(("zv_jax/evaluation/", "zv_jax/configs/")) or name in LOOK_UPS:
                continue  # links to the folders themselves
            if name != TABLE:
                tree = ast.parse(path.read_text("utf-8"))
                found += [f"{name}:{n.lineno}" for n in ast.walk(tree) if asks(n)]
    return found


def test_nothing_branches_on_the_name_of_a_stage_or_a_kind():
    assert places() == []


@pytest.mark.parametrize(
    "text, expected",
    [
        ('if config.stage.name == "vision": pass', True),
        ('x = stage.batch in ("pairs",)', True),
        ('x = {"pairs": 1}.get(kind)', True),
        ('x = {"stage0": 1}[name]', True),
        ('x = name not in ("vision", "stage0")', True),
        ('if tower == "vision": pass', False),
        ('x = recipe(stage={"name": "stage0"})', False),
    ],
)
def test_what_counts_as_asking(text, expected):
    assert any(asks(node) for node in ast.walk(ast.parse(text))) == expected


def test_every_kind_has_its_arrays_a_maker_and_a_loss():
    assert set(BATCHES) == set(KINDS) == set(LOSSES) == {row.batch for row in STAGES.values()}


@pytest.mark.parametrize("name, variant", STAGES)
def test_the_loss_of_a_stage_tells_its_parameters(name, variant):
    """Traced on zeros of the batch: names, shapes and axes are those that checkpoints hold."""
    table = json.loads((Path(__file__).parent / "parameters.json").read_text("utf-8"))
    expected = {path: row[:2] for path, row in table.items() if f"{name} {variant}" in row[2]}
    # Parts and chunks are no matter of parameters.
    parts = {"microbatches": 2} if name != "vision" else {}
    for more in ({}, parts | {"loss_chunks": 2}):
        config = tiny(name, variant, **more)
        boxed = abstract_variables(config, stage_of(config))
        axes = trees.flatten(nn.get_partition_spec(boxed))
        found = trees.flatten(unboxed(boxed))
        assert {path: [[*leaf.shape], [*(axes[path] or ())]] for path, leaf in found.items()} == (
            expected
        )
        assert {leaf.dtype for leaf in found.values()} == {np.dtype(np.float32)}


OTHERS = [("stage0", "base"), ("stage1", "base"), ("stage1", "chat"), ("stage2", "base")]


@pytest.mark.parametrize(
    "name, variant",
    [
        ("stage0", "chat"),
        ("stage2", "chat"),
        *(pytest.param(*key, marks=pytest.mark.slow) for key in OTHERS),
    ],
)
def test_a_loader_needs_what_the_stage_has(name, variant):
    """Found by tracing the use of a model, without its loss; random values are the same too."""
    config = tiny(name, variant)
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    needed = contents.needed(config)
    assert needed == trees.flatten(unboxed(abstract_variables(config, stage_of(config))))
    fresh, _ = fresh_variables(config, stage_of(config), mesh)
    jax.tree.map(np.testing.assert_array_equal, fresh, contents.untrained(config, mesh, ()))
    # Heads that a model which answers carries along are in tests/training/test_carried.py.
    heads = {"params/heads/itm/kernel"} & set(needed)
    some = heads | {"params/projector/kernel", "params/patch_head/kernel"}
    assert set(contents.placed(config, mesh, some, whole=False)) == some & set(needed)
    assert set(contents.placed(config, mesh, some, whole=True)) == set(needed)


@pytest.mark.parametrize("name", ["language", "vision"])
def test_a_warm_up_is_loaded_as_far_as_a_model_uses_it(name):
    config = tiny(name, "base")
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    fresh, _ = fresh_variables(config, stage_of(config), mesh)
    of_model = {path for path in fresh if not path.startswith("params/patch_head/")}
    assert set(contents.placed(config, mesh, fresh, whole=True)) == of_model
    untrained = contents.untrained(config, mesh, of_model)
    assert set(untrained) == of_model
    for path, leaf in untrained.items():
        np.testing.assert_array_equal(leaf, fresh[path])


def test_a_part_of_the_fresh_parameters_has_the_values_of_all():
    config = tiny("stage1", "chat")
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    every, _ = fresh_variables(config, stage_of(config), mesh)
    some = [path for path in every if path.startswith("params/projector/")]
    part, shardings = fresh_variables(config, stage_of(config), mesh, only=some)
    assert set(part) == set(shardings) == set(some)
    for path in some:
        np.testing.assert_array_equal(part[path], every[path])


@pytest.fixture
def brightness():
    """The stage of the two files beside this one, for the time of a test."""
    before = [dict(table) for table in (BATCHES, STAGES, KINDS, LOSSES)]
    import brightness_data
    import brightness_loss

    brightness_data.add()
    brightness_loss.add()
    yield
    for table, held in zip((BATCHES, STAGES, KINDS, LOSSES), before, strict=True):
        table.clear()
        table.update(held)


def test_a_new_kind_is_one_file_in_data_and_one_in_training(brightness, tmp_path):
    corpus = toy_run.write_corpus(tmp_path / "corpus")
    config = toy_run.toy_config(corpus, "brightness", train={"steps": 2})
    assert "brightness" in stages.names()
    run(config, tmp_path / "run")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["step"] for row in rows] == [1, 2]
    assert all(np.isfinite(row["error"]) and row["loss"] == row["error"] for row in rows)
    table = json.loads((tmp_path / "run" / "stage_table.json").read_text("utf-8"))
    assert {row["tower"]: bool(row["trainable"]) for row in table} == {
        "vision": False,
        "ln_vision": True,
    }
