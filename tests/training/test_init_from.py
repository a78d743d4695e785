import json
from dataclasses import asdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zv_jax.checkpoints.arrays import spec
from zv_jax.checkpoints.frozen import content_hash
from zv_jax.checkpoints.manager import Checkpointer
from zv_jax.config import recipe, validate
from zv_jax.config.schema import CheckpointConfig
from zv_jax.errors import CheckpointError
from zv_jax.models.prompt import PromptConfig
from zv_jax.training import init_from
from zv_jax.training.init_from import other_prompts, table_text


def source(path, trainable, frozen=None, step=1, **meta):
    with Checkpointer(path, CheckpointConfig(every=1)) as ckpt:
        ckpt.save(step, {"trainable": trainable, "step": jnp.int32(step)}, frozen or {}, meta)
    return str(path)


def initialise(fresh, sources, tokenizers=()):
    """Of `fresh`, arrays are there to be made; shapes alone must come from a source."""
    wanted = {name: spec(leaf) for name, leaf in fresh.items()}

    def make(names):
        made.append(list(names))
        return {name: fresh[name] for name in names}

    made = []
    shapes = [leaf for leaf in fresh.values() if isinstance(leaf, jax.ShapeDtypeStruct)]
    found = init_from.initialise(wanted, sources, tokenizers, None if shapes else make)
    held = set(fresh) - {name for names in made for name in names}
    assert len(made) < 2 and all(found[0][name] is not fresh[name] for name in held)
    return found


def row(table, tower):
    return next(r for r in table["towers"] if r["tower"] == tower)


@pytest.fixture
def stage0(tmp_path):
    return source(
        tmp_path / "stage0",
        {
            "params/qformer/a/kernel": jnp.full((2, 3), 7.0),
            "params/heads/itm/kernel": jnp.ones((3, 2)),
            "params/qformer/ffn_text/kernel": jnp.ones((3, 3)),
        },
        frozen={"params/vision/cls": jnp.full((1, 1, 4), 2.0)},
    )


def test_sources_replace_fresh_leaves_and_the_rest_is_new(stage0):
    fresh = {
        "params/vision/cls": jnp.zeros((1, 1, 4), jnp.bfloat16),
        "params/qformer/a/kernel": jnp.zeros((2, 3)),
        "params/projector/kernel": jnp.full((3, 5), 3.0),
        "lora/llm/q/lora_a": np.ones((2, 2)),
    }
    values, table = initialise(fresh, (stage0,))
    assert list(values) == list(fresh)
    assert values["params/vision/cls"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(values["params/qformer/a/kernel"], np.full((2, 3), 7.0))
    np.testing.assert_array_equal(values["params/projector/kernel"], np.full((3, 5), 3.0))
    np.testing.assert_array_equal(values["lora/llm/q/lora_a"], np.ones((2, 2)))

    (one,) = table["sources"]
    assert (one["path"], one["step"], one["provenance"]) == (stage0, 1, None)
    loaded = {"params/vision/cls": values["params/vision/cls"]}
    assert row(table, "vision")["content"] == content_hash(loaded)
    assert row(table, "vision")["from"] == [0] and row(table, "projector")["content"] is None
    assert row(table, "vision")["loaded"] == {"leaves": 1, "parameters": 4}
    assert row(table, "projector")["new"] == {"leaves": 1, "parameters": 15}
    assert row(table, "llm (lora)")["new"] == {"leaves": 1, "parameters": 4}
    assert row(table, "heads")["unused"] == {"leaves": 1, "parameters": 6}
    assert row(table, "qformer")["unused"] == {"leaves": 1, "parameters": 9}
    assert row(table, "qformer")["unused_names"] == ["params/qformer/ffn_text/kernel"]
    assert json.loads(json.dumps(table)) == table


def test_the_text_table_is_aligned_and_explains_partly_loaded_towers(stage0):
    _, table = initialise(
        {
            "params/qformer/a/kernel": jnp.zeros((2, 3)),
            "params/qformer/b/kernel": jnp.zeros((2, 2)),
        },
        (stage0,),
    )
    lines = table_text(table).splitlines()
    end = next(i for i, line in enumerate(lines) if line.startswith("total"))
    rules = {len(line) for line in lines if set(line) == {"-"}}
    assert rules == {max(map(len, lines[: end + 1]))}
    assert lines[end].split() == ["total", "1", "6", "1", "4", "3", "19"]
    assert any("new: params/qformer/b/kernel" in line for line in lines[end:])
    assert any("unused: params/qformer/ffn_text/kernel" in line for line in lines[end:])


def test_later_sources_win(tmp_path, stage0):
    qformer, cls = "params/qformer/a/kernel", "params/vision/cls"
    stage1 = source(tmp_path / "stage1", {qformer: jnp.full((2, 3), 8.0)}, step=4)
    fresh = {qformer: jnp.zeros((2, 3)), cls: jnp.zeros((1, 1, 4))}
    values, table = initialise(fresh, (stage0, stage1))
    assert values[qformer][0, 0] == 8 and values[cls][0, 0, 0] == 2
    assert initialise(fresh, (stage1, stage0))[0][qformer][0, 0] == 7
    assert [s["step"] for s in table["sources"]] == [1, 4]


def test_every_weight_can_be_traced_through_a_chain_of_runs(tmp_path, stage0):
    name = "params/qformer/a/kernel"
    fresh = {name: jnp.zeros((2, 3))}
    values, table = initialise(fresh, (stage0,))
    stage1 = source(
        tmp_path / "stage1", values, step=40, provenance=table, config={"train": {"steps": 100}}
    )
    _, after = initialise(fresh, (stage1,))
    (one,) = after["sources"]
    assert one["provenance"] == json.loads(json.dumps(table))
    assert one["provenance"]["sources"][0]["path"] == stage0
    assert row(after, "qformer")["content"] == row(table, "qformer")["content"]
    text = table_text(after)
    assert f"from 1: {stage1}, step 40 of 100: its training has not come to its end" in text
    assert row(after, "qformer")["content"] in text


@pytest.mark.parametrize(
    "before, here, said",
    [
        # Trained before the field existed: its Q-Former read the bare question.
        (("stage1", "chat", None), ("stage2", "chat"), ["qformer_text='question' there, 'turn'"]),
        (("stage1", "base", None), ("stage2", "base"), []),
        (("language", "base", None), ("stage1", "chat"), []),
        (("stage1", "chat", "plain"), ("stage2", "chat"), ["format='plain' there, 'ziya' here"]),
        (("language", "base", "vicuna"), ("stage1", "chat"), ["format='vicuna' there, 'ziya'"]),
        (("language", "base", "vicuna"), ("vision", "base"), []),
        (("stage1", "chat", "ziya"), ("stage2", "chat"), []),
    ],
)
def test_prompts_of_another_form_do_not_change_in_silence(before, here, said):
    stage, variant, form = before
    config = validate(recipe("small_chat", stage={"name": here[0], "variant": here[1]}))
    model = {"prompt": asdict(PromptConfig(form, "turn"))} if form else {}
    meta = {"step": 1, "frozen": "", "config": {"stage": {"name": stage, "variant": variant}}}
    meta["config"]["model"] = json.loads(json.dumps(model))  # as a checkpoint gives it
    lines = other_prompts({"sources": [init_from._source("runs/x", meta)]}, config)
    assert len(lines) == len(said)
    for line, words in zip(lines, said, strict=True):
        assert line.startswith("WARNING: prompts of runs/x were of another form")
        assert words in line and "To go on as there: --config.model.prompt." in line


def test_another_shape_is_an_error_with_leaf_and_both_shapes(stage0):
    with pytest.raises(CheckpointError, match=r"params/qformer/a/kernel.*\(2, 3\)") as error:
        initialise({"params/qformer/a/kernel": jnp.zeros((2, 9))}, (stage0,))
    assert "(2, 9)" in error.value.expected and error.value.where == stage0


def test_a_source_that_gives_nothing_is_an_error(stage0):
    with pytest.raises(CheckpointError, match="no leaf of this checkpoint belongs"):
        initialise({"params/qformer/other/kernel": jnp.zeros(3)}, (stage0,))


def test_a_leaf_that_nobody_has_is_an_error(stage0):
    fresh = {
        "params/qformer/a/kernel": jnp.zeros((2, 3)),
        "params/llm/x/kernel": jax.ShapeDtypeStruct((2,), jnp.float32),
    }
    with pytest.raises(CheckpointError, match="params/llm/x/kernel.*in no source"):
        initialise(fresh, (stage0,))


def test_without_sources_all_is_new():
    values, table = initialise({"params/vision/cls": jnp.ones(3)}, ())
    assert values["params/vision/cls"].shape == (3,)
    assert row(table, "vision")["new"]["leaves"] == 1 and table["sources"] == []


def test_words_numbered_by_another_tokenizer_are_an_error(tmp_path):
    words = {"params/llm/embed/embedding": jnp.ones((5, 2))}
    path = source(tmp_path / "language", words, tokenizers=["aaaa", "bbbb"])
    fresh = {name: jnp.zeros((5, 2)) for name in words}
    assert initialise(fresh, (path,), ["aaaa", "other"])[1]["sources"][0]["path"] == path
    with pytest.raises(CheckpointError, match="another tokenizer") as error:
        initialise(fresh, (path,), ["cccc", "bbbb"])
    assert error.value.where == path and f"{path}/tokenizer" in error.value.fix
