import copy
import dataclasses
import shutil

import numpy as np
import pytest
from PIL import Image

import zv_jax
from zv_jax.data.text import tokenizers
from zv_jax.data.text.dialogue import Exchange
from zv_jax.errors import CheckpointError, ConfigError, DataError
from zv_jax.inference import model as api
from zv_jax.inference import prompts

ASK = "What is in the picture?"


def test_rows_do_not_depend_on_their_batch(model, shown):
    talker = model("stage2", "chat")
    asked = [ASK, "图里有什么？", "two"]
    images = [shown[:1], shown[:2], []]
    together = talker.answer(asked, images, max_new_tokens=5)
    alone = [
        talker.answer([q], [i], max_new_tokens=5)[0] for q, i in zip(asked, images, strict=True)
    ]
    assert together == alone and len(set(together)) > 1


@pytest.mark.slow
def test_many_rows_are_computed_in_parts(model, shown, monkeypatch):
    talker = model("stage2", "base")
    asked = ["two", ASK, "two"]
    whole = talker.answer(asked, [shown[:1]] * 3, max_new_tokens=5)
    monkeypatch.setattr(api, "BATCH", 2)
    assert talker.answer(asked, [shown[:1]] * 3, max_new_tokens=5) == whole
    assert whole[0] == whole[2] != whole[1] and talker.answer([], []) == []


def test_images_count_and_so_does_their_order(model, shown):
    talker = model("stage2", "chat")
    a, b, c = shown
    rows = [
        talker.processor([ASK], [images], max_new_tokens=5) for images in ([a, b], [b, a], [a, c])
    ]
    np.testing.assert_array_equal(rows[0].images[0, ::-1], rows[1].images[0])
    found = [talker.generate(row, max_new_tokens=5).tolist() for row in rows]
    assert len({str(ids) for ids in found}) == 3


def test_a_dialogue_is_its_history_and_its_question(model, shown):
    talker = model("stage2", "chat")
    past = (Exchange(ASK, "a red square", (0,)),)
    whole = (*past, Exchange("图里有什么？", None, (1,)))
    expected = talker.answer([whole], [shown[:2]], max_new_tokens=5)
    for prompt in ("图里有什么？", "<image>图里有什么？ "):
        assert talker.answer([prompt], [shown[:2]], 5, history=[past]) == expected


def test_the_qformer_of_chat_reads_the_last_question_unless_told_otherwise(model, shown):
    talker = model("stage2", "chat")

    def ids(**kw):
        return talker.processor.question(ASK, shown[:1], max_new_tokens=5, **kw).qformer_ids

    tokens = talker.qformer_tokenizer
    past = (Exchange("two", "three"),)
    read, told = (tokens.encode(f"<human>:{text}\n<bot>:") for text in (ASK, "two"))
    assert ids() == ids(history=past) == [tokens.cls_id, *read, tokens.sep_id]
    assert ids(instruction="two") == [tokens.cls_id, *told, tokens.sep_id]
    base = model("stage2", "base")
    assert base.processor([ASK], [shown], max_new_tokens=5).qformer_input_ids is None


def test_images_may_be_files_arrays_or_images(shown, tmp_path):
    shown[0].save(tmp_path / "a.png")
    path = tmp_path / "a.png"
    kinds = [shown[0], path, str(path), path.read_bytes(), np.asarray(shown[0])]
    found = prompts.pixels([kinds], 28)[0]
    np.testing.assert_array_equal(found, np.broadcast_to(found[:1], found.shape))


def test_retrieval(model, shown, monkeypatch):
    finder = model("stage0", "base")
    texts = [ASK, "图里有什么？", "a red square"]
    cfg = finder.config.model.qformer
    images, words = finder.embed_images(shown), finder.embed_texts(texts)
    assert images.shape == (3, cfg.num_queries, cfg.embed_dim) and words.shape == (3, cfg.embed_dim)
    np.testing.assert_allclose(np.linalg.norm(images, axis=-1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(words, axis=-1), 1, atol=1e-5)
    scores = finder.match(shown, texts)
    assert scores.shape == (3,) and len(set(scores.tolist())) == 3
    monkeypatch.setattr(api, "BATCH", 2)
    np.testing.assert_allclose(finder.match(shown, texts), scores, atol=1e-5)
    assert finder.embed_images([]).shape == (0, cfg.num_queries, cfg.embed_dim)
    with pytest.raises(DataError, match="3 images and 1 texts"):
        finder.match(shown, texts[:1])


@pytest.mark.parametrize(("stage", "variant"), [("stage0", "base"), ("stage2", "chat")])
def test_attention_maps_are_distributions_over_the_patches(model, shown, stage, variant):
    looker = model(stage, variant)
    maps = looker.attention_maps(shown[:1])[0]
    cfg = looker.config.model
    side = cfg.vision.image_size // cfg.vision.patch_size
    assert maps.shape == (cfg.qformer.num_queries, side, side) and (maps > 0).all()
    np.testing.assert_allclose(maps.sum((1, 2)), 1, atol=1e-5)
    assert not np.allclose(maps, looker.attention_maps(shown[1:2])[0])
    told = looker.attention_maps(shown[:1], ["two"])[0]
    assert np.allclose(told, maps) == (variant == "base")


def test_each_stage_does_what_it_was_trained_for(model, shown):
    finder, talker = model("stage0", "base"), model("stage2", "chat")
    assert (finder.has_llm, finder.has_heads) == (False, True)
    assert (talker.has_llm, talker.has_heads) == (True, False)
    with pytest.raises(ConfigError, match="stage0 gives no answers"):
        finder.answer([ASK], [shown[:1]])
    with pytest.raises(ConfigError, match="stage2 gives no embeddings"):
        talker.embed_images(shown)
    with pytest.raises(ConfigError, match="stage2 gives no match scores"):
        talker.match(shown[:1], [ASK])


def test_untrained_is_the_same_architecture_with_other_weights(workdir, model, shown):
    folder = workdir("stage0", "base")
    blind = api.from_pretrained(folder, untrained=True).embed_texts([ASK])
    trained = model("stage0", "base").embed_texts([ASK])
    assert blind.shape == trained.shape and not np.allclose(blind, trained)


def test_a_workdir_its_checkpoints_and_one_step_are_the_same_model(workdir, model):
    folder = workdir("stage0", "base")
    expected = model("stage0", "base").embed_texts([ASK])
    for path in (folder / "checkpoints", folder / "checkpoints" / "1"):
        np.testing.assert_array_equal(zv_jax.from_pretrained(path).embed_texts([ASK]), expected)
    half = api.from_pretrained(folder, dtype="bfloat16")
    np.testing.assert_allclose(half.embed_texts([ASK]), expected, atol=0.1)


def test_missing_or_foreign_tokenizers_are_an_error(workdir, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(workdir("stage0", "base"), folder)
    shutil.rmtree(folder / "tokenizer")
    tokenizers.train_sentencepiece(
        ["a text of other words", "另外一些文字"], 400, folder / "tokenizer"
    )
    with pytest.raises(CheckpointError, match="not those the model was trained with"):
        api.from_pretrained(folder)
    shutil.rmtree(folder / "tokenizer")
    with pytest.raises(CheckpointError, match="tokenizers of this checkpoint are missing"):
        api.from_pretrained(folder)


def test_mistakes_are_named(model, shown, workdir, tmp_path):
    talker = model("stage2", "chat")
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="images of a prompt are no list"):
        talker.answer([ASK], shown[:1])
    with pytest.raises(DataError, match="1 prompts, 2 lists"):
        talker.answer([ASK], [[], []])
    with pytest.raises(DataError, match="shows image 1"):
        talker.answer([(Exchange(ASK, None, (1,)),)], [shown[:1]])
    with pytest.raises(DataError, match="cannot be continued"):
        talker.answer([(Exchange(ASK), Exchange(ASK))], [[]])
    with pytest.raises(ConfigError, match="999 new tokens"):
        talker.answer([ASK], [[]], max_new_tokens=999)
    with pytest.raises(ConfigError, match="top_p 0"):
        talker.answer([ASK], [[]], temperature=1.0, top_p=0.0)
    with pytest.raises(DataError, match="image file not found"):
        talker.answer([ASK], [[tmp_path / "no.png"]])
    with pytest.raises(ConfigError, match="unknown dtype"):
        api.from_pretrained(workdir("stage0", "base"), dtype="int4")


def test_buckets_are_few_and_close():
    sizes = {prompts.bucket(n) for n in range(1, 129)}
    assert sizes == {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128}
    assert all(n <= prompts.bucket(n) < 1.5 * n for n in range(1, 129))


def test_a_model_lays_transparent_images_on_the_ground_it_was_trained_with(model):
    own = model("stage0")
    clear, ground = Image.new("RGBA", (28, 28), (0, 0, 0, 0)), own.config.data.transparency
    assert ground == "white" and (own.processor.images([clear]) == 255).all()
    data = dataclasses.replace(own.config.data, transparency="black")
    other = copy.copy(own)
    other.config = dataclasses.replace(own.config, data=data)
    assert (other.processor.images([clear]) == 0).all()
