"""The paper's mixtures as recipes, and shares by size."""

import dataclasses
import json
import logging

import pytest

from tests.data.readers import layouts
from zv_jax.cli import main as cli
from zv_jax.config import build
from zv_jax.data.pipeline import mixing, pipeline
from zv_jax.data.public import catalogue
from zv_jax.errors import ConfigError, DataError

NAMED = {
    1: "cc12m cc3m sbu coco_caption ai_challenger wukong laion_zh",
    2: "cc3m coco_caption coco_cn flickr30k flickr30k_cna icm iqm icr iqr ai_challenger textcaps "
    "vqav2 vqav2_t gqa ocr_vqa gqa_t textvqa clevr "
    "visual_genome refcoco refcoco_plus refcocog vcr",
    3: "llava_pretrain llava_instruct llava_t llava_zh m3it m3it_t svit bmmic",
}


@pytest.mark.parametrize("variant", ["base", "chat"])
@pytest.mark.parametrize("table", NAMED)
def test_a_mixture_holds_what_the_table_names_and_no_evaluation_split(table, variant):
    found = catalogue.mixture(table, variant)
    assert {card.name for card, _ in found} == set(NAMED[table].split())
    assert all(card.splits[split].use == "train" for card, split in found)
    assert len({(card.name, split) for card, split in found}) == len(found)


@pytest.mark.parametrize("arg", ["stage0_base", "stage1_chat", "stage2_base"])
def test_the_recipe_is_that_of_its_stage_with_all_sources(arg):
    from zv_jax.configs import paper

    config = build.validate(paper.get_config(arg))
    table, variant = paper.TABLES[arg.split("_")[0]], arg.split("_")[1]
    assert f"{config.stage.name}_{config.stage.variant}" == arg
    assert len(config.data.sources) == len(catalogue.mixture(table, variant))
    assert config.data.mixing == "sqrt_size"
    with pytest.raises(ConfigError, match="unknown recipe 'stage7_chat'"):
        paper.get_config("stage7_chat")


def test_sets_that_are_known_to_be_chats_alone_are_not_in_the_mixture_of_base(monkeypatch):
    svit = dataclasses.replace(catalogue.card("svit"), chat_only="yes")
    known = catalogue.card
    monkeypatch.setattr(catalogue, "card", lambda name: svit if name == "svit" else known(name))
    base, chat = (
        {card.name for card, _ in catalogue.mixture(3, variant)} for variant in ("base", "chat")
    )
    assert chat - base == {"svit"}


def test_the_zero_sets_are_captions_in_the_mixture_of_table_2():
    from zv_jax.configs import paper

    tasks = {s.path.rpartition("/")[2]: s.tasks for s in paper.sources("stage1", "base")}
    assert all(
        tasks[name] == ("caption",) for name in ("icm", "iqm", "icr", "iqr", "flickr30k_cna")
    )
    assert tasks["vqav2"] == tasks["vcr"] == ()


def test_it_is_shown_by_the_command(capsys):
    assert cli.main(["config", "show", "--config", "configs/paper.py:stage0_base"]) == 0
    assert "shards/wukong" in capsys.readouterr().out


def test_shares_follow_weights_or_sizes():
    assert mixing.shares([100, 400], [1.0, 1.0], "weights") == [0.5, 0.5]
    assert mixing.shares([100, 400], [1.0, 1.0], "size") == [0.2, 0.8]
    assert mixing.shares([100, 400], [1.0, 1.0], "sqrt_size") == pytest.approx([1 / 3, 2 / 3])
    assert mixing.shares([100, 400], [2.0, 1.0], "sqrt_size") == pytest.approx([0.5, 0.5])
    with pytest.raises(ConfigError, match="did you mean 'sqrt_size'"):
        mixing.shares([1], [1.0], "sqrt")


def test_the_stream_keeps_the_shares(make_config, toy, tokenizer):
    small = toy.with_name("small.jsonl")
    small.write_bytes(b"".join(toy.open("rb").readlines()[:16]))
    config = make_config(
        "stage1", variant="base", mixing="sqrt_size", sources=({}, {"path": str(small)})
    )
    assert pipeline.samples_per_epoch(config) == [64, 16]
    stream = pipeline.make_pipeline(config, tokenizers=(tokenizer, tokenizer))
    seen = [int(i) for _ in range(30) for i in next(stream)["index"]]
    stream.close()
    assert sum(i < 64 for i in seen) == len(seen) * 2 // 3, "8 to 4"


def test_an_evaluation_split_in_a_recipe_is_refused(toy, make_config, tokenizer, caplog):
    row = json.loads(toy.open().readline()) | {"source": "okvqa", "split": "val"}
    layouts.lines(toy, [row | {"id": f"okvqa/val/{k}"} for k in range(8)])
    with pytest.raises(DataError, match="must not be learned"):
        pipeline.make_pipeline(make_config("stage0", sources=({"split": "val"},)))
    with caplog.at_level(logging.WARNING):
        config = make_config("stage0", sources=({"split": "val"},), paper_mixture=True)
        pipeline.make_pipeline(config, tokenizers=(tokenizer, tokenizer)).close()
    assert "TRAINING ON okvqa/val" in caplog.text
