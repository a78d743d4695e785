import collections
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zv_jax.data.images import addresses as image_store
from zv_jax.data.pipeline import pipeline
from zv_jax.data.pipeline.assembler import Assembler
from zv_jax.data.pipeline.mixing import SampleRef
from zv_jax.errors import ConfigError, DataError
from zv_jax.stages import batch_spec

STAGES = ["language", "stage0", "stage1", "stage2"]  # vision: `test_pipeline_openmoji.py`


@pytest.fixture
def batches(tokenizer):
    """`batches(config, 3, ...)`: the first three batches."""

    def take(config, count, **kw):
        stream = pipeline.make_pipeline(config, tokenizers=(tokenizer, tokenizer), **kw)
        got = [next(stream) for _ in range(count)]
        stream.close()
        return got

    return take


def same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


@pytest.mark.parametrize("variant", ["chat", "base"])
@pytest.mark.parametrize("stage", STAGES)
def test_batches_are_as_announced(make_config, batches, stage, variant):
    config = make_config(stage, variant)
    (batch,) = batches(config, 1)
    got = {name: (array.shape, array.dtype) for name, array in batch.items()}
    assert got.pop("index") == ((config.train.batch_size,), np.int64)
    assert got == {name: tuple(spec) for name, spec in batch_spec(config).items()}


@pytest.mark.parametrize("stage", STAGES)
def test_a_step_is_the_same_for_any_start_and_any_number_of_processes(make_config, batches, stage):
    config = make_config(stage)
    alone = batches(config, 6)
    same(batches(config, 1, start_step=5)[0], alone[5])
    shares = [[0, 1], [2, 3]], [[0, 3], [1, 2]]  # as devices may lie on two processes
    for rows in (part for share in shares for part in share):
        for whole, part in zip(alone, batches(config, 6, rows=rows), strict=True):
            for name, values in whole.items():
                np.testing.assert_array_equal(values[rows] if values.ndim else values, part[name])


def test_sources_with_shorter_rows_fill_batches_of_their_own(make_config, batches):
    short, long = {"tasks": ("vqa",), "max_length": 40, "weight": 3.0}, {"tasks": ("conversation",)}
    config = make_config("stage2", sources=(short, long))
    alone = batches(config, 8)
    kinds = [batch["input_ids"].shape[1] for batch in alone]
    assert sorted(kinds) == [40] * 6 + [config.data.max_length] * 2, "in proportion to the weights"
    names = pipeline.make_pipeline(config).names
    for batch, length in zip(alone, kinds, strict=True):
        assert batch["labels"].shape == batch["attention_mask"].shape == (4, length)
        assert {"conversation" in name for name in names(batch["index"])} == {length != 40}
    same(batches(config, 1, start_step=5)[0], alone[5])
    for part, whole in zip(batches(config, 8, rows=[3, 1]), alone, strict=True):
        np.testing.assert_array_equal(part["input_ids"], whole["input_ids"][[3, 1]])


def test_a_source_cannot_ask_for_longer_rows_than_the_model_is_given(make_config):
    with pytest.raises(ConfigError, match=r"(?s)sources\[0\]\.max_images.*at most data"):
        make_config("stage2", sources=({"max_images": 2},))


def test_the_seed_changes_the_order(make_config, batches):
    one, two = (batches(make_config("stage0", seed=s), 4) for s in (0, 1))
    assert [b["index"].tolist() for b in one] != [b["index"].tolist() for b in two]


def copied(toy, name):
    """The records and images once more, below a root of their own."""
    folder = toy.parent / name
    shutil.copytree(toy.parent / "images", folder / "images")
    return shutil.copy(toy, folder / "train.jsonl")


def test_equal_sources_come_in_orders_of_their_own(make_config, batches, toy):
    """A set and its translation, as large: else each question arrives beside its translation."""
    for second in ({}, {"path": str(copied(toy, "translated"))}):
        config = make_config("stage1", batch=2, sources=({"langs": ("en",)}, second))
        size, _ = pipeline.samples_per_epoch(config)
        index = np.stack([b["index"] for b in batches(config, 12)])
        first, other = np.sort(index, axis=1).T
        assert (first < size).all() and (other >= size).all()
        assert (first != other - size).sum() > 8


def test_every_source_has_its_own_limit_and_its_own_name(make_config, batches, toy):
    """One that is wholly broken does not hide behind a large one of the same kind."""
    broken = Path(copied(toy, "broken"))
    shutil.rmtree(broken.parent / "images")
    config = make_config("stage0", batch=16, sources=({"weight": 50.0}, {"path": str(broken)}))
    faults = []
    with pytest.raises(DataError) as error:
        batches(config, 200, report=lambda step, fault: faults.append(fault))
    name = f"sources[1] jsonl {broken} train"
    assert f"samples of {name} cannot be used" in error.value.what
    assert {fault.source for fault in faults} <= {name}


def test_one_image_has_one_id_whatever_root_it_is_read_from(make_config, batches, toy):
    config = make_config("stage0", batch=8, sources=({}, {"path": str(copied(toy, "translated"))}))
    size = pipeline.samples_per_epoch(config)[0]
    ids = collections.defaultdict(set)
    for batch in batches(config, 8):
        for index, name in zip(batch["index"] % size, batch["image_ids"], strict=True):
            ids[index // 2].add(int(name))
    # Records of an image follow each other, English and Chinese.
    assert [len(ids[n]) for n in range(8)] == [1] * 8 and len(set.union(*ids.values())) == 8


@pytest.mark.parametrize("cached", [False, True])
def test_one_path_below_two_roots_is_two_images(make_config, batches, toy, cached):
    other = Path(copied(toy, "other"))
    for path in (other.parent / "images").iterdir():
        Image.fromarray(np.full((20, 30, 3), 255, np.uint8)).save(path)
    sources = ({"langs": ("en",)}, {"path": str(other), "langs": ("en",)})
    config = make_config("stage0", batch=8, sources=sources, cache_images=cached)
    for batch in batches(config, 4):
        white = batch["images"].min(axis=(1, 2, 3)) == 255
        np.testing.assert_array_equal(white, batch["index"] >= 8)
        assert not set(batch["image_ids"][white]) & set(batch["image_ids"][~white])


def test_cached_images_are_the_same_images(make_config, batches):
    for stage in ("stage0", "stage2"):
        plain, cached = (batches(make_config(stage, cache_images=c), 8) for c in (False, True))
        for a, b in zip(plain, cached, strict=True):
            same(a, b)


def test_pairs_hold_the_image_and_one_of_its_captions(make_config, batches, tokenizer):
    seen = {}
    for batch in batches(make_config("stage0"), 16):
        for i in range(4):
            text = tokenizer.decode(batch["text_ids"][i])
            level = batch["images"][i, 0, 0, 0]
            seen.setdefault(int(batch["image_ids"][i]), set()).add((float(level), text))
            assert batch["text_ids"][i, 0] == tokenizer.cls_id
            last = batch["text_mask"][i].sum() - 1
            assert batch["text_ids"][i, last] == tokenizer.sep_id
    assert len(seen) == 8  # one number per image, in both languages
    for pairs in seen.values():
        assert len({level for level, _ in pairs}) == 1
    red = {text for pairs in seen.values() for level, text in pairs if level == 0}
    assert red <= {"a red square", "the picture is red", "一个红色的方块", "图片是红色的"}
    assert len(red) > 2


def test_dialogues_hold_image_blocks_and_answers(make_config, batches, tokenizer):
    config = make_config("stage2")
    for batch in batches(config, 10):
        blocks = (batch["input_ids"] == config.model.image_token_id).sum(1)
        assert (blocks == config.model.qformer.num_queries).all()
        assert not (batch["labels"][~batch["attention_mask"]] != -100).any()
        learned = batch["labels"] != -100
        np.testing.assert_array_equal(batch["labels"][learned], batch["input_ids"][learned])
        # One answer to each row, ended by </s>.
        assert (batch["labels"] == tokenizer.eos_id).sum(1).tolist() == [1] * 4
        assert (batch["qformer_input_ids"][:, 0] == tokenizer.cls_id).all()


def test_base_packs_what_chat_expands(make_config, batches, tokenizer):
    talk = ({"tasks": ("conversation",)},)
    (chat,) = batches(make_config("stage2", "chat", 16, sources=talk), 1)
    (base,) = batches(make_config("stage2", "base", 16, sources=talk), 1)
    assert set((base["labels"] == tokenizer.eos_id).sum(1)) == {2}
    assert set((chat["labels"] == tokenizer.eos_id).sum(1)) == {1}
    assert set((chat["input_ids"] == tokenizer.eos_id).sum(1)) == {1, 2}


def test_language_rows_are_dialogues_and_bare_captions(make_config, batches, tokenizer):
    texts = []
    for batch in batches(make_config("language", batch=16), 5):
        assert (batch["input_ids"][:, 0] == tokenizer.bos_id).all()
        learned = batch["attention_mask"].copy()
        learned[:, 0] = False
        np.testing.assert_array_equal(batch["labels"] != -100, learned)
        texts += [tokenizer.decode(row) for row in batch["input_ids"]]
    assert any(t.startswith("<human>:") for t in texts)
    assert "一个红色的方块" in texts or "图片是红色的" in texts
    assert any("[0.12,0.25,0.50,1.00]" in t for t in texts)


def test_sources_mix_by_weight(make_config, batches):
    config = make_config(
        "stage0",
        batch=8,
        sources=({"langs": ("en",), "weight": 3.0}, {"langs": ("zh",)}, {"weight": 0.0}),
    )
    assert pipeline.samples_per_epoch(config) == [8, 8]
    index = np.concatenate([b["index"] for b in batches(config, 4)])
    assert (index < 8).sum() == 24


def test_stage_0_reads_an_image_once_for_its_pixels_and_its_identity(
    make_config, tokenizer, monkeypatch
):
    read = []
    located = image_store._file
    monkeypatch.setattr(image_store, "_file", lambda *place: read.append(place) or located(*place))
    drawn = pipeline.drawn_from(make_config("stage0"))
    assembler = Assembler(drawn, tokenizer, tokenizer, cache_images=False)
    made = assembler([SampleRef(0, sample, 0) for sample in range(4)])
    # Threads of streams that others have closed may still be reading.
    own = [root for root, *_ in read if root == drawn[0].source.root]
    assert len(own) == len(made.batch["image_ids"]) == 4


def test_a_broken_image_is_replaced_the_same_way_everywhere(make_config, batches, toy, caplog):
    (toy.parent / "images" / "3.png").write_bytes(b"broken")
    config = make_config("stage0", sources=({"langs": ("en",)},))
    alone = batches(config, 4)
    assert 3 not in np.concatenate([b["index"] for b in alone])
    assert "3.png" in caplog.text
    second = batches(config, 4, rows=[2, 3])
    np.testing.assert_array_equal(alone[3]["index"][2:], second[3]["index"])


def test_too_many_broken_images_stop_the_run(make_config, batches, toy):
    for i in range(6):
        (toy.parent / "images" / f"{i}.png").unlink()
    with pytest.raises(DataError, match=r"cannot be used(.|\n)*png"):
        batches(make_config("stage0"), 200)


def test_a_fault_is_raised_by_next_and_stays(make_config, tokenizer):
    config = make_config("stage2", max_length=5)
    stream = pipeline.make_pipeline(config, tokenizers=(tokenizer, tokenizer))
    for _ in range(2):
        with pytest.raises(DataError, match="toy/train"):
            next(stream)
    assert stream.step == 0


def test_wrong_requests_say_what_to_change(make_config):
    with pytest.raises(ConfigError, match="no sample for stage0"):
        pipeline.make_pipeline(make_config("stage0", sources=({"tasks": ("match",)},)))
    with pytest.raises(ConfigError, match="weights"):
        pipeline.make_pipeline(make_config("stage0", sources=({"weight": 0.0},)))


def test_the_fingerprint_knows_the_data_but_not_its_place(make_config, tokenizer, toy, tmp_path):
    def mark(config):
        return pipeline.pipeline_fingerprint(config, (tokenizer, tokenizer))

    one = mark(make_config("stage1"))
    assert one == mark(make_config("stage1", workers=2, cache_images=True))
    other = tmp_path / "elsewhere.jsonl"
    other.write_bytes(toy.read_bytes())
    assert one == mark(make_config("stage1", sources=({"path": str(other)},)))
    # Fields of the configuration are compared by themselves (training/resume.py).
    assert one == mark(make_config("stage1", max_length=72))
    assert one != mark(make_config("stage1", sources=({"tasks": ("vqa",)},)))
    other.write_bytes(toy.read_bytes().replace(b"square", b"circle"))
    assert one != mark(make_config("stage1", sources=({"path": str(other)},)))


def test_nothing_here_needs_jax():
    code = (
        "import sys; sys.modules['jax'] = None\n"
        "from zv_jax.data.images import addresses\n"
        "from zv_jax.data.pipeline import pipeline\n"
        "from zv_jax.data.sources import open, prepare\n"
        "from zv_jax.data.text import dialogue, vocabulary"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_worker_processes_give_the_same_batches_and_hand_on_faults(make_config, batches):
    same(batches(make_config("stage2"), 3)[2], batches(make_config("stage2", workers=2), 3)[2])
    with pytest.raises(DataError, match="toy/train"):
        batches(make_config("stage2", workers=2, max_length=5), 1)
