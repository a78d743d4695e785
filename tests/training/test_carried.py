"""The heads of stage 0 go with a model through the later stages, so that it can still compare."""

import dataclasses
import functools
import json
from pathlib import Path

import jax
import numpy as np
import pytest
import toy_run as toy
from PIL import Image

import zv_jax
from zv_jax.checkpoints.reader import load_params
from zv_jax.config import Config
from zv_jax.errors import ConfigError
from zv_jax.inference.verify import compare
from zv_jax.parallel.hardware import MeshConfig
from zv_jax.parallel.sharding import make_mesh
from zv_jax.stages import stage_of
from zv_jax.training.state import abstract_parts

SHORT = {"train": {"steps": 2}, "checkpoint": {"every": 1}}
RED, BLUE = (Image.new("RGB", (30, 20), colour) for colour in ("red", "blue"))
TEXTS = ["a red square, number 5", "第6个蓝色的方块"]
TEXT_HALF = "params/qformer/pairs/even/ffn_text/fc1/kernel"
ITM = "params/heads/itm/kernel"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return toy.write_corpus(tmp_path_factory.mktemp("corpus"))


def configured(corpus: Path, stage: str, variant: str, *source: Path, **sections) -> Config:
    start = [str(path) for path in source]
    config = toy.toy_config(corpus, stage, **SHORT, init_from=start, **sections)
    return dataclasses.replace(config, stage=dataclasses.replace(config.stage, variant=variant))


@pytest.fixture(scope="module")
def runs(corpus, tmp_path_factory):
    """`runs("stage2_chat")`: the folder of a run that began with the stage before it."""
    folder = tmp_path_factory.mktemp("runs")
    before = {"stage0": (), "stage1": ("stage0",), "stage2": ("stage1_{}",)}

    @functools.cache
    def trained(name: str) -> Path:
        stage, _, variant = name.partition("_")
        sources = [trained(source.format(variant)) for source in before[stage]]
        toy.train(configured(corpus, stage, variant or "base", *sources), folder / name)
        return folder / name

    return trained


def heads(workdir: Path) -> dict[str, np.ndarray]:
    return {k: v for k, v in load_params(workdir)[0].items() if k.startswith("params/heads/")}


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["base", "chat"])
def test_the_final_model_has_the_heads_of_stage_0_as_they_were(runs, variant):
    before, after = heads(runs("stage0")), heads(runs(f"stage2_{variant}"))
    assert before.keys() == after.keys() and ITM in before
    for path, leaf in before.items():
        np.testing.assert_array_equal(after[path], leaf, err_msg=path)
        assert after[path].dtype == leaf.dtype


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["base", "chat"])
def test_retrieval_by_the_final_model_is_that_of_these_heads_on_its_q_former(runs, variant):
    final = zv_jax.from_pretrained(runs(f"stage2_{variant}"))
    own = load_params(runs(f"stage2_{variant}"))[0] | heads(runs("stage0"))
    own = {path: jax.numpy.asarray(leaf) for path, leaf in own.items()}
    both = (final.tokenizer, final.qformer_tokenizer)
    by_hand = zv_jax.Model(final.config, own, both, make_mesh(MeshConfig()), {})
    for one, other in (
        (final.embed_images([RED, BLUE]), by_hand.embed_images([RED, BLUE])),
        (final.embed_texts(TEXTS), by_hand.embed_texts(TEXTS)),
        (final.match([RED, BLUE], TEXTS), by_hand.match([RED, BLUE], TEXTS)),
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_base_keeps_the_text_half_that_its_later_stages_do_not_have(runs):
    before, after = (load_params(runs(name))[0] for name in ("stage0", "stage2_base"))
    np.testing.assert_array_equal(after[TEXT_HALF], before[TEXT_HALF])


@pytest.mark.parametrize("variant", ["base", "chat"])
def test_what_is_carried_is_in_no_step(corpus, variant):
    config = configured(corpus, "stage2", variant)
    parts = abstract_parts(config, stage_of(config), make_mesh(config.mesh))
    held = {*parts.trainable, *parts.frozen}
    assert not any("heads" in path for path in held)
    assert (TEXT_HALF in held) == (variant == "chat")  # its instructions enter there


@pytest.mark.slow
def test_a_run_that_goes_on_keeps_them(runs, corpus, tmp_path):
    config = configured(corpus, "stage1", "base", runs("stage0"))
    with pytest.raises(SystemExit):
        toy.train(config, tmp_path, toy.at(1, lambda: (_ for _ in ()).throw(SystemExit())))
    toy.train(config, tmp_path)
    toy.assert_same_run(tmp_path, runs("stage1_base"), step=2)


def test_a_stage_without_stage_0_has_no_heads_and_says_what_to_load(corpus, tmp_path):
    toy.train(configured(corpus, "stage1", "base"), tmp_path)
    model = zv_jax.from_pretrained(tmp_path)
    assert not model.has_heads
    with pytest.raises(ConfigError, match="gives no embeddings"):
        model.embed_images([RED])


@pytest.mark.slow
def test_heads_that_learned_other_words_stay_behind_with_a_warning(runs, corpus, tmp_path, capsys):
    other = toy.write_corpus(tmp_path / "other", images=6)
    words = {"kind": "sentencepiece", "path": str(other / "tokenizer")}
    data = {"qformer_tokenizer": words}
    config = configured(corpus, "stage1", "base", runs("stage0"), data=data)
    toy.train(config, tmp_path / "run")
    assert not zv_jax.from_pretrained(tmp_path / "run").has_heads
    said = capsys.readouterr()
    assert "are left behind: they learned the words of another tokenizer" in said.out + said.err


@pytest.mark.slow
def test_the_table_of_the_start_says_where_they_are_from(runs):
    table = json.loads((runs("stage1_base") / "provenance.json").read_text())
    assert table["carried_from"] == str(runs("stage0"))
    unused = [name for row in table["towers"] for name in row.get("unused_names", ())]
    assert unused and not any("heads" in name or "ffn_text" in name for name in unused)


@pytest.mark.slow
def test_an_export_leaves_them_out_and_verifies(runs, tmp_path):
    model = zv_jax.from_pretrained(runs("stage2_chat"))
    model.save_pretrained(tmp_path / "hf")
    assert not zv_jax.from_pretrained(tmp_path / "hf").has_heads
    assert compare(runs("stage1_chat"), runs("stage1_chat")).agrees()


@pytest.mark.slow
def test_random_heads_are_those_that_stage_0_began_with(runs):
    both = [
        zv_jax.from_pretrained(runs(name), untrained=True) for name in ("stage0", "stage2_base")
    ]
    (a, b) = (jax.tree.leaves(model.variables["params"]["heads"]) for model in both)
    assert len(a) == len(b) and all((x == y).all() for x, y in zip(a, b, strict=True))
