"""Whole models in and out of transformers: same logits, same greedy tokens, nothing missing."""

import jax
import numpy as np
import pytest
from parity_models import IMAGE, QUERIES, blip2_config, instructblip_config, pixels, t
from random_runs import TEXTS, random_run

from zv_jax.convert import export, own_checkpoint
from zv_jax.data.images.decode import preprocess
from zv_jax.data.text import tokenizers
from zv_jax.data.text.dialogue import pad_left
from zv_jax.inference import sample
from zv_jax.inference.inputs import Inputs
from zv_jax.inference.model import from_pretrained
from zv_jax.models import vit
from zv_jax.models.ziya_visual import ZiyaVisual

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
hf = pytest.importorskip("transformers")

CLOSE = dict(atol=1e-4, rtol=0)
NEW = 32
COUNTS = (0, 1, 2)  # images of each row
RNG = np.random.default_rng(5)


def batch(image_token: int, queries: int, vocabulary: int, q_vocabulary: int, size: int) -> dict:
    """Rows with no, one and two images, padded on the left.

    Here every row has places for two images; transformers takes a flat list of those there are.
    """
    rows = [
        [image_token] * (count * queries) + RNG.integers(3, vocabulary - 6, 9 - 2 * i).tolist()
        for i, count in enumerate(COUNTS)
    ]
    ids, mask = pad_left(rows, 0)
    images = RNG.standard_normal((3, 2, size, size, 3)).astype(np.float32)
    images *= (np.arange(2) < np.array(COUNTS)[:, None])[..., None, None, None]
    text = RNG.integers(1, q_vocabulary, (3, 6))
    seen = np.arange(6) < np.array([[6], [4], [5]])
    return dict(ids=ids, mask=mask, images=images, text=np.where(seen, text, 0), seen=seen)


def their_inputs(given: dict, chat: bool) -> dict:
    flat = [given["images"][row, i] for row, count in enumerate(COUNTS) for i in range(count)]
    out = dict(
        pixel_values=pixels(np.stack(flat)),
        input_ids=t(given["ids"].astype(int)),
        attention_mask=t(given["mask"].astype(int)),
    )
    if chat:
        out["qformer_input_ids"] = t(np.repeat(given["text"], COUNTS, 0))
        out["qformer_attention_mask"] = t(np.repeat(given["seen"], COUNTS, 0).astype(int))
    return out


def same(model, variables: dict, cfg, given: dict, chat: bool) -> None:
    """Logits at every real token within 1e-4, and 32 greedy tokens equal in every row."""
    text = (given["text"], given["seen"]) if chat else (None, None)
    theirs = their_inputs(given, chat)
    positions = np.maximum(given["mask"].cumsum(1) - 1, 0)
    with torch.no_grad():
        expected = model(**theirs, position_ids=t(positions)).logits.numpy()
        tokens = model.generate(
            **theirs, max_new_tokens=NEW, do_sample=False, suppress_tokens=[cfg.image_token_id]
        )
    tokens = tokens[:, given["ids"].shape[1] :].numpy()
    inputs = Inputs(given["images"], given["ids"], given["mask"], *text)
    got = np.asarray(jax.jit(lambda v: ZiyaVisual(cfg).apply(v, *inputs))(variables))
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(got[given["mask"]], expected[given["mask"]], **CLOSE)
    ours_ = sample.generate(
        variables,
        inputs,
        np.zeros((3, 1), np.uint32),
        cfg=cfg,
        max_new_tokens=NEW,
        stop=np.zeros(0, np.int32),
        pad_id=0,
    ).tokens[:, 0]
    assert tokens.shape == (3, NEW)
    np.testing.assert_array_equal(ours_, tokens)


def without_end(model) -> None:
    """Rows go on to their full length."""
    for config in (model.generation_config, model.language_model.generation_config):
        config.eos_token_id = None
        config.pad_token_id = 0


@pytest.mark.parametrize("chat", [True, False], ids=["InstructBLIP", "BLIP-2"])
def test_their_models_here(convert, chat):
    if chat:
        model = hf.InstructBlipForConditionalGeneration(instructblip_config())
    else:
        model = hf.Blip2ForConditionalGeneration(blip2_config())
    converted = convert(model)
    without_end(model)
    given = batch(IMAGE, QUERIES, 96, 70, 28)
    same(model, {"params": converted.params}, converted.config.model, given, chat)


# --- our models there -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return tokenizers.train_sentencepiece(TEXTS, 400, tmp_path_factory.mktemp("tokenizer"))


def load(cls, folder):
    model, info = cls.from_pretrained(folder, output_loading_info=True, dtype="auto")
    assert not any(info.values()), info
    return model.eval()


@pytest.mark.parametrize("stage, variant", [("stage2", "chat"), ("stage1", "base")])
def test_our_models_there(tmp_path, tokenizer, stage, variant):
    """The adapters of Chat are merged, and the tokenizer and processor give the ids we train on."""
    chat = variant == "chat"
    run = random_run(tmp_path / "run", tokenizer, stage, variant)
    options = export.Options(merge_lora=True, max_shard_size="100KB")
    written = export.to_hf(own_checkpoint.open_checkpoint(run), tmp_path / "out", options)
    model = load(getattr(hf, written.name), tmp_path / "out")
    without_end(model)
    loaded = from_pretrained(run)
    cfg = loaded.config.model
    given = batch(cfg.image_token_id, cfg.qformer.num_queries, 300, 300, 28)
    same(model, loaded.variables, cfg, given, chat)

    processor = hf.AutoProcessor.from_pretrained(tmp_path / "out")
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    seen = np.asarray(vit.normalise(preprocess(noise, 28)[None])).transpose(0, 3, 1, 2)
    for question in ("What is in the picture?", "图里有什么？"):
        text = cfg.prompt.ask(question)
        made = processor(images=noise, text=text, return_tensors="np")
        np.testing.assert_allclose(made["pixel_values"], seen, atol=0.02)  # one level of grey
        block = [cfg.image_token_id] * cfg.qformer.num_queries
        expected = [*block, tokenizer.bos_id, *tokenizer.encode(text)]
        assert made["input_ids"][0].tolist() == expected
        if chat:
            inside = [tokenizer.cls_id, *tokenizer.encode(text), tokenizer.sep_id]
            assert made["qformer_input_ids"][0].tolist() == inside


def test_our_stage0_there(tmp_path, tokenizer):
    run = random_run(tmp_path / "run", tokenizer, "stage0", "chat")
    export.to_hf(own_checkpoint.open_checkpoint(run), tmp_path / "out")
    model = load(hf.Blip2ForImageTextRetrieval, tmp_path / "out")
    loaded = from_pretrained(run)
    images = RNG.integers(0, 255, (2, 28, 28, 3), np.uint8)
    captions = ["a red square", "一个红色的方块"]
    normal = np.asarray(vit.normalise(np.stack(loaded.processor.images(list(images)))))
    ids, mask = loaded.processor.qformer_texts(captions)
    given = dict(
        pixel_values=pixels(normal),
        input_ids=t(ids.astype(int)),
        attention_mask=t(mask.astype(int)),
    )
    with torch.no_grad():
        itm = model(**given, use_image_text_matching_head=True).logits_per_image[:, 1]
        itc = model(**given, use_image_text_matching_head=False).logits_per_image
    np.testing.assert_allclose(loaded.match(list(images), captions), itm, **CLOSE)
    image, text = loaded.embed_images(list(images)), loaded.embed_texts(captions)
    got = np.einsum("bqe,ce->bqc", image, text).max(1)
    np.testing.assert_allclose(got, itc, **CLOSE)


@pytest.mark.parametrize("format", ["bin", "legacy bin", "pth below 'model'"])
def test_pytorch_files(tmp_path, convert, format):
    """Old checkpoints hold the same tensors."""
    from zv_jax.convert.sources import open_source

    tensors = {
        "a": torch.randn(3, 4, dtype=torch.bfloat16), "b": torch.randn(5).half(),
        "c": torch.randn(2, 2).t(),
    }  # fmt: skip
    path = tmp_path / ("x.pth" if "pth" in format else "pytorch_model.bin")
    held = {"model": tensors} if "pth" in format else tensors
    torch.save(held, path, _use_new_zipfile_serialization=format != "legacy bin")
    source = open_source(path)
    assert source.specs["a"].dtype == "bfloat16" and source.specs["c"].shape == (2, 2)
    for name, value in tensors.items():
        got = torch.from_numpy(source.read(name).astype(np.float32))
        assert torch.equal(got, value.float())
