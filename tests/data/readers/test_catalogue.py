"""All data sets of the paper have a card and a reader; evaluation splits are kept from training."""

import logging
import re

import pytest

from tests.data.readers import layouts
from zv_jax.data.public import catalogue, guard, guard_lists, stats
from zv_jax.data.readers.base import READERS
from zv_jax.data.records.record import TASKS
from zv_jax.data.text.templates import templates
from zv_jax.errors import ConfigError, DataError

# Every data set the paper's tables and section 3.3 name.
PAPER = """
cc12m cc3m sbu coco_caption ai_challenger wukong laion_zh
coco_cn flickr30k flickr30k_cna textcaps icm iqm icr iqr
vqav2 vqav2_t gqa ocr_vqa gqa_t textvqa clevr
visual_genome refcoco refcoco_plus refcocog vcr
llava_pretrain llava_instruct llava_t llava_zh m3it m3it_t svit bmmic
nocaps okvqa scienceqa vizwiz llava_bench llava_bench_zh
""".split()
BESIDE = "flickr30k_cn pope coco_objects stamps".split()  # in no table of it
OWN = "records llava_json pairs_jsonl csv folder webdataset parquet hf_disk tfds".split()


def test_every_data_set_has_a_card_and_a_reader():
    assert set(PAPER) | set(OWN) | set(BESIDE) == set(catalogue.names())
    catalogue._load_readers()
    assert set(READERS) == set(catalogue.names())
    with pytest.raises(ConfigError, match="did you mean 'vqav2'"):
        catalogue.card("vqa2")


@pytest.mark.parametrize("name", sorted([*PAPER, *OWN, *BESIDE]))
def test_a_card_is_complete_in_both_languages(name):
    card = catalogue.card(name)
    assert card.title and card.licence and card.files and card.home
    assert card.obtain.keys() == {"en", "zh"} and (
        not card.note or card.note.keys() == {"en", "zh"}
    )
    assert set(card.tasks) <= set(TASKS)
    assert all(templates(t, lang) for t in card.templates for lang in ("en", "zh"))
    assert set(card.guarded) <= set(card.splits)
    assert all(card.splits[s].use == "eval" for s in card.guarded)
    assert {s.use for s in card.splits.values()} <= {"train", "eval"}
    if name in PAPER:
        assert all(re.match(r"Table [1-7]|section", place) for place in card.paper)


def test_an_evaluation_split_is_refused_as_training_data(tmp_path, caplog):
    layouts.vqav2(tmp_path)
    assert len(list(catalogue.read("vqav2", tmp_path, "val"))) == 2, "for evaluation"
    with pytest.raises(DataError, match="evaluates and must not be learned") as caught:
        list(catalogue.read("vqav2", tmp_path, "val", training=True))
    assert "--paper_mixture" in str(caught.value)
    with caplog.at_level(logging.WARNING):
        mixed = list(catalogue.read("vqav2", tmp_path, "val", training=True, paper_mixture=True))
    assert len(mixed) == 2 and "TRAINING ON vqav2/val" in caplog.text


@pytest.mark.parametrize("name", PAPER)
def test_every_evaluation_split_of_every_card_is_refused(name):
    for split, about in catalogue.card(name).splits.items():
        if about.use == "eval":
            with pytest.raises(DataError, match="must not be learned"):
                catalogue.check_split(name, split, paper_mixture=False)
        else:
            catalogue.check_split(name, split, paper_mixture=False)


@pytest.fixture
def copies(tmp_path):
    """Local copies of sets that share image 42 of COCO, which OKVQA's val shows."""
    layouts.vqav2(tmp_path / "okvqa", prefix="")
    layouts.vqav2(tmp_path / "vqav2")
    layouts.coco_caption(tmp_path / "coco_caption")
    layouts.llava(tmp_path / "llava_instruct")
    layouts.visual_genome(tmp_path / "visual_genome")
    layouts.refcoco(tmp_path / "refcoco")
    return tmp_path


def lists(copies, *names):
    return guard_lists.collect({name: copies / name for name in names})


def test_images_of_evaluations_are_left_out_of_all_sets_that_share_them(copies, caplog):
    found = lists(copies, "okvqa", "visual_genome")
    assert found["coco"] == {"okvqa/val": {"9", "42"}}
    assert found["visual_genome"] == {"okvqa/val": {"1"}}, "by the coco_id of image_data.json"
    keep = guard.Guard({space: set().union(*ids.values()) for space, ids in found.items()})

    def trained(name, split="train", **options):
        read = catalogue.read(name, copies / name, split, training=True, guard=keep, **options)
        return len(list(read))

    assert trained("coco_caption") == 0 and trained("vqav2") == 0
    assert trained("llava_instruct", "conversation") == 0, "COCO 2017 has other names, same ids"
    assert trained("visual_genome") == 2, "only the picture that is not COCO's"
    assert "4 records show pictures of evaluation splits; left out" in caplog.text
    assert trained("coco_caption", paper_mixture=True) == 2
    assert "kept for paper_mixture" in caplog.text


def test_lists_are_stored_with_their_hashes(copies, tmp_path):
    found = lists(copies, "okvqa", "coco_caption", "refcoco")
    assert set(found["coco"]) == {
        "okvqa/val",
        "coco_caption/val",
        "coco_caption/test",
        "refcoco/val",
        "refcoco/testA",
        "refcoco/testB",
    }
    for folder in ("one", "two"):
        guard.write(tmp_path / folder, found)
    files = sorted(p.name for p in (tmp_path / "one").iterdir())
    assert files == ["coco.txt", "guard.json"], "nothing half-written is left"
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert guard.Guard.load(tmp_path / "one").lists["coco"] >= {"9", "42", "391895", "101"}
    with (tmp_path / "one" / "coco.txt").open("a") as file:
        file.write("7\n")
    with pytest.raises(DataError, match="contents of coco.txt have changed"):
        guard.Guard.load(tmp_path / "one")
    with pytest.raises(DataError, match="zv data guard"):
        guard.Guard.load(tmp_path / "none")


def test_only_sets_that_evaluate_can_be_guarded(copies):
    with pytest.raises(ConfigError, match="has no pictures to guard"):
        lists(copies, "llava_instruct")


def test_a_copy_is_compared_with_what_was_published(tmp_path):
    layouts.coco_caption(tmp_path)
    counts = {(c.split, c.what): c for c in stats.compare("coco_caption", tmp_path)}
    assert counts["train", "records"].verdict == "113,285 less than published"
    assert counts["train", "texts"].found == 4
    assert counts["train", "pictures"].verdict == "no published count"
    layouts.llava_bench(tmp_path)
    (records, *_) = stats.compare("llava_bench", tmp_path)
    assert (records.found, records.published) == (3, 90)
    with pytest.raises(DataError, match="no split of gqa is here"):
        list(stats.compare("gqa", tmp_path))


def test_pairs_of_records_are_counted_once(tmp_path):
    layouts.refcoco(tmp_path)
    counts = {(c.split, c.what): c for c in stats.compare("refcoco", tmp_path, ["testA"])}
    assert counts["testA", "records"].found == 4
    assert counts["testA", "records ending in #ground"].found == 2
    assert counts["testA", "records ending in #ground"].published == 5657
