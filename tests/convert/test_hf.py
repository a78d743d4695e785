"""Directories of transformers in and out: every tensor comes back bit by bit."""

import json

import jax
import ml_dtypes
import numpy as np
import PIL.Image
import pytest

import zv_jax
from zv_jax.checkpoints import manager as checkpoint
from zv_jax.config import recipe, validate
from zv_jax.convert import export, hf, own_checkpoint, reader
from zv_jax.convert.sources import open_source
from zv_jax.errors import ConversionError
from zv_jax.models import vit
from zv_jax.models.vit import resize_positions

TOWERS = {
    "instructblip": {"vision", "ln_vision", "qformer", "projector", "llm"},
    "blip2": {"vision", "ln_vision", "qformer", "projector", "llm"},
    "retrieval": {"vision", "ln_vision", "qformer", "heads"},
    "llama": {"llm"},
}


@pytest.mark.parametrize(
    "kind, dtype, shards",
    [
        ("instructblip", ml_dtypes.bfloat16, 3),
        ("blip2", np.float16, 1),
        ("retrieval", np.float32, 2),
        ("llama", np.float32, 1),
    ],
)
def test_in_and_out_gives_the_same_tensors(tmp_path, tensors, directory, kind, dtype, shards):
    given = tensors(kind, dtype=dtype)
    src = directory(tmp_path / "src", kind, given, shards)
    coverage = hf.from_hf(src, tmp_path / "dst")
    assert len(coverage.loaded) == len(given) and not coverage.unexpected
    model = own_checkpoint.open_checkpoint(tmp_path / "dst")
    assert {path.split("/")[1] for path in model.specs} == TOWERS[kind]
    export.to_hf(model, tmp_path / "out", export.Options(max_shard_size="150KB"))
    back = open_source(tmp_path / "out")
    assert back.specs.keys() == given.keys()
    for name, value in given.items():
        assert back.read(name).dtype == value.dtype
        np.testing.assert_array_equal(back.read(name), value, err_msg=name)
    if (tmp_path / "out/model.safetensors.index.json").is_file():
        sizes = [f.stat().st_size for f in (tmp_path / "out").glob("*.safetensors")]
        assert len(sizes) > 1 and max(sizes) < 250_000
    config = json.loads((tmp_path / "out/config.json").read_text())
    theirs = json.loads((src / "config.json").read_text())
    assert config["architectures"] == theirs["architectures"]
    assert config["dtype"] == np.dtype(dtype).name


def test_our_own_stage0_loses_nothing(tmp_path, workdir):
    """Temperature and ITG head have no place in transformers and go into a file of their own."""
    model = own_checkpoint.open_checkpoint(workdir("stage0"))
    export.to_hf(model, tmp_path / "out")
    main = open_source(tmp_path / "out").specs
    assert "temp" not in main and not any(name.startswith("cls") for name in main)
    coverage = hf.from_hf(tmp_path / "out", tmp_path / "back")
    assert not coverage.missing
    before, _ = checkpoint.load_params(workdir("stage0"))
    after, _ = checkpoint.load_params(tmp_path / "back")
    assert before.keys() == after.keys()
    for path, value in before.items():
        np.testing.assert_array_equal(after[path], value, err_msg=path)


def test_a_stage0_of_others_has_no_temperature_and_gets_the_first_one(tmp_path, directory):
    opened = hf.open_hf(directory(tmp_path / "src", "retrieval"))
    missing = [name for _, name in opened.coverage.missing]
    assert "temp" in missing and "cls.predictions.bias" in missing
    assert opened.leaves["params/heads/temperature"].value() == np.float32(0.07)
    embedded = zv_jax.from_pretrained(tmp_path / "src")  # and can be used
    assert embedded.embed_images([np.zeros((28, 28, 3), np.uint8)]).shape == (1, 5, 256)


@pytest.fixture(scope="module")
def exported(workdir, tmp_path_factory):
    """The random stage-2 Chat with its adapters merged, as a directory of transformers."""
    out = tmp_path_factory.mktemp("export") / "chat"
    model = own_checkpoint.open_checkpoint(workdir("stage2"))
    export.to_hf(model, out, export.Options(merge_lora=True, max_shard_size="60KB"))
    return out


def test_merged_adapters_answer_as_separate_ones_do(workdir, exported):
    """And `from_pretrained` reads both forms."""
    separate, merged = zv_jax.from_pretrained(workdir("stage2")), zv_jax.from_pretrained(exported)
    assert not any(path.startswith("lora") for path in merged.variables)
    asked, image = ["What is in the picture?", "图里有什么？"], np.full((28, 28, 3), 90, np.uint8)
    answers = separate.answer(asked, [[image]] * 2, 6)
    assert answers == merged.answer(asked, [[image]] * 2, 6) and all(answers)


def test_adapters_are_merged_in_float32(workdir):
    model = own_checkpoint.open_checkpoint(workdir("stage2"))
    path = "params/llm/layers/attn/q/kernel"
    pair = model.adapters[path]
    found = model.read({p: model.specs[p] for p in (path, *pair)})
    kernel, a, b = found[path][1], found[pair[0]][1], found[pair[1]][1]
    got = own_checkpoint.merged(kernel.astype(ml_dtypes.bfloat16), a, b, model.config.model.lora)
    assert got.dtype == ml_dtypes.bfloat16
    exact = kernel.astype(ml_dtypes.bfloat16).astype(np.float64) + 2.0 * (
        a.astype(np.float64) @ b.astype(np.float64)
    )
    np.testing.assert_allclose(got.astype(np.float64), exact, rtol=2**-8)
    assert np.abs(got.astype(np.float32) - kernel).max() > 0.05


def test_an_export_holds_all_a_user_needs(exported):
    names = {path.relative_to(exported).as_posix() for path in exported.rglob("*")}
    assert {
        "config.json",
        "generation_config.json",
        "processor_config.json",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "tokenizer.model",
        "qformer_tokenizer/tokenizer.json",
        "qformer_tokenizer/tokenizer_config.json",
        "model.safetensors.index.json",
        "README.md",
    } <= names
    config = json.loads((exported / "config.json").read_text())
    assert config["image_token_index"] == 511 and config["text_config"]["model_type"] == "llama"
    card = (exported / "README.md").read_text("utf-8")
    assert card.startswith("---\nlanguage:\n- en\n- zh\nlicense: other\n")
    assert "How it was trained" in card and "训练方式" in card and "stage2" in card


def test_an_export_says_how_images_are_prepared_and_texts_end(exported, tokenizer):
    generation = json.loads((exported / "generation_config.json").read_text())
    ids = {name: generation[f"{name}_token_id"] for name in ("bos", "eos")}
    assert ids == {"bos": tokenizer.bos_id, "eos": tokenizer.eos_id}
    for file in ("preprocessor_config.json", "processor_config.json"):
        about = json.loads((exported / file).read_text())
        about = about.get("image_processor", about)
        assert about["resample"] == PIL.Image.Resampling.BICUBIC
        assert about["size"] == {"height": 28, "width": 28} and about["do_convert_rgb"]
        np.testing.assert_allclose(about["image_mean"], vit.MEAN, atol=1e-7)
        np.testing.assert_allclose(about["image_std"], vit.STD, atol=1e-7)


def test_the_card_shows_licence_base_and_scores(tmp_path, workdir):
    score = {"task": "vqa", "lang": "zh", "metric": "accuracy", "value": 0.5, "n": 8,
             "interval": [0.2, 0.8]}  # fmt: skip
    (tmp_path / "results.json").write_text(json.dumps({"scores": [score]}))
    options = export.Options(
        merge_lora=True, license="apache-2.0", base_model="someone/llama",
        results=str(tmp_path / "results.json"),
    )  # fmt: skip
    export.to_hf(own_checkpoint.open_checkpoint(workdir("stage2")), tmp_path / "out", options)
    card = (tmp_path / "out/README.md").read_text("utf-8")
    assert "license: apache-2.0" in card and "base_model: someone/llama" in card
    assert card.count("| vqa | zh | accuracy | 0.5 | 0.2 - 0.8 | 8 |") == 2


def test_a_loaded_model_saves_itself(tmp_path, workdir, exported):
    zv_jax.from_pretrained(workdir("stage2")).save_pretrained(tmp_path / "out")
    one, other = open_source(tmp_path / "out"), open_source(exported)
    assert one.specs.keys() == other.specs.keys()
    for name in one.specs:
        np.testing.assert_array_equal(one.read(name), other.read(name))


def test_adapters_need_a_decision(tmp_path, workdir):
    model = own_checkpoint.open_checkpoint(workdir("stage2"))
    with pytest.raises(ConversionError, match="adapted layers") as caught:
        export.to_hf(model, tmp_path / "out")
    assert "--merge-lora" in str(caught.value) and not (tmp_path / "out").exists()
    export.to_hf(model, tmp_path / "out", export.Options(merge_lora=False))
    base = open_source(tmp_path / "out").read(
        "language_model.model.layers.0.self_attn.q_proj.weight"
    )
    path = "params/llm/layers/attn/q/kernel"
    np.testing.assert_array_equal(base, model.read({path: model.specs[path]})[path][0].T)


def test_a_cast_on_the_way_out(tmp_path, workdir):
    model = own_checkpoint.open_checkpoint(workdir("stage1", "base"))
    export.to_hf(model, tmp_path / "out", export.Options(dtype="bfloat16"))
    source = open_source(tmp_path / "out")
    assert {np.dtype(spec.dtype).name for spec in source.specs.values()} == {"bfloat16"}
    assert json.loads((tmp_path / "out/config.json").read_text())["dtype"] == "bfloat16"


# --- parts, splits, differences -------------------------------------------------------------------


def test_the_split_form_of_the_published_base(tmp_path, tensors, directory):
    """The visual part and the language model lie in two directories."""
    whole = tensors("blip2")
    visual = {n: v for n, v in whole.items() if not n.startswith("language_model.")}
    llm = {n.removeprefix("language_model."): v for n, v in whole.items() if n not in visual}
    src = directory(
        tmp_path / "visual", "blip2", visual, architectures=["ZiyaBlip2ForCausalLM"],
        text_config={"hidden_size": 48},
    )  # fmt: skip
    directory(tmp_path / "llm", "llama", llm)
    alone = hf.open_hf(src)
    assert not any("llm" in path for path in alone.leaves) and alone.coverage.missing
    joined = hf.open_hf(src, reader.Options(llm=str(tmp_path / "llm")))
    with pytest.raises(ConversionError, match="language_model.* is missing"):
        hf.open_hf(directory(tmp_path / "half", "blip2", visual))
    together = hf.open_hf(directory(tmp_path / "whole", "blip2", whole))
    assert joined.leaves.keys() == together.leaves.keys()
    for path, leaf in together.leaves.items():
        np.testing.assert_array_equal(joined.leaves[path].value(), leaf.value())


@pytest.fixture
def difference(tmp_path, tensors, directory):
    """A LLaMA, the model, and what was published: their difference but for the embeddings."""
    base, model = tensors("llama", 1, np.float16), tensors("llama", 2, np.float16)
    model |= {"model.norm.weight": base["model.norm.weight"] + np.float16(1 / 64)}
    whole = ("model.embed_tokens.weight", "lm_head.weight")
    base["model.embed_tokens.weight"] = base["model.embed_tokens.weight"][:-20]  # other vocabulary
    published = {n: v if n in whole else v - base[n] for n, v in model.items()}
    directory(tmp_path / "base", "llama", base)
    directory(tmp_path / "published", "llama", published)
    directory(tmp_path / "model", "llama", model)
    return published, base


def test_a_difference_is_added_to_its_base(tmp_path, difference):
    published, base = difference
    options = reader.Options(base=str(tmp_path / "base"))
    found = hf.open_hf(tmp_path / "published", options).leaves
    name = "model.layers.1.mlp.up_proj.weight"
    np.testing.assert_array_equal(
        found["params/llm/layers/up/kernel"].value()[1], (published[name] + base[name]).T
    )
    table = found["params/llm/embed/embedding"].value()
    np.testing.assert_array_equal(table, published["model.embed_tokens.weight"])


def test_a_difference_given_as_a_model_is_refused(tmp_path, difference):
    with pytest.raises(ConversionError, match="a difference to LLaMA") as caught:
        hf.from_hf(tmp_path / "published", tmp_path / "dst")
    assert "--base" in str(caught.value) and not (tmp_path / "dst").exists()


def test_a_model_given_as_a_difference_is_refused(tmp_path, difference):
    with pytest.raises(ConversionError, match="a whole model, not a difference"):
        hf.from_hf(
            tmp_path / "model", tmp_path / "dst", reader.Options(base=str(tmp_path / "base"))
        )


def test_a_base_of_another_size_is_refused(tmp_path, difference, tensors, directory):
    other = tensors("llama") | {"model.layers.0.mlp.up_proj.weight": np.ones((8, 8), np.float32)}
    directory(tmp_path / "other", "llama", other)
    with pytest.raises(ConversionError, match=r"the base has shape \(8, 8\)"):
        hf.from_hf(
            tmp_path / "published", tmp_path / "dst", reader.Options(base=str(tmp_path / "other"))
        )


def test_a_bert_starts_a_qformer(tmp_path, shards):
    """As BLIP-2 does: token type 0 in the positions, [DEC] appended, two copies of a network."""
    rng = np.random.default_rng(0)
    tensors = {
        "bert.embeddings.word_embeddings.weight": rng.standard_normal((70, 24)),
        "bert.embeddings.token_type_embeddings.weight": rng.standard_normal((2, 24)),
        "bert.embeddings.position_embeddings.weight": rng.standard_normal((32, 24)),
        "bert.embeddings.LayerNorm.gamma": rng.standard_normal(24),
        "bert.embeddings.LayerNorm.beta": rng.standard_normal(24),
        "bert.pooler.dense.weight": rng.standard_normal((24, 24)),
    }
    for i in range(2):
        layer = f"bert.encoder.layer.{i}."
        for name in ("query", "key", "value"):
            tensors[f"{layer}attention.self.{name}.weight"] = rng.standard_normal((24, 24))
            tensors[f"{layer}attention.self.{name}.bias"] = rng.standard_normal(24)
        for name, shape in (
            ("attention.output.dense", (24, 24)),
            ("intermediate.dense", (40, 24)),
            ("output.dense", (24, 40)),
        ):
            tensors[f"{layer}{name}.weight"] = rng.standard_normal(shape)
            tensors[f"{layer}{name}.bias"] = rng.standard_normal(shape[:1])
        for name in ("attention.output", "output"):
            tensors[f"{layer}{name}.LayerNorm.gamma"] = rng.standard_normal(24)
            tensors[f"{layer}{name}.LayerNorm.beta"] = rng.standard_normal(24)
    tensors = {name: value.astype(np.float32) for name, value in tensors.items()}
    shards(tmp_path / "bert", tensors)
    config = dict(
        architectures=["BertForMaskedLM"], model_type="bert", vocab_size=70, hidden_size=24,
        num_hidden_layers=2, num_attention_heads=3, intermediate_size=40,
        max_position_embeddings=32,
    )  # fmt: skip
    (tmp_path / "bert/config.json").write_text(json.dumps(config))
    opened = hf.open_hf(tmp_path / "bert")
    leaf = {path.removeprefix("params/qformer/"): leaf for path, leaf in opened.leaves.items()}
    words = leaf["word/embedding"].value()
    assert words.shape == (71, 24) and opened.config.model.qformer.vocab_size == 71
    np.testing.assert_array_equal(words[:70], tensors["bert.embeddings.word_embeddings.weight"])
    np.testing.assert_array_equal(
        leaf["position/embedding"].value(),
        tensors["bert.embeddings.position_embeddings.weight"]
        + tensors["bert.embeddings.token_type_embeddings.weight"][0],
    )
    assert 0 < np.abs(words[70]).max() < 0.1
    for half in ("text", "query"):
        np.testing.assert_array_equal(
            leaf[f"pairs/odd/ffn_{half}/fc1/kernel"].value()[0],
            tensors["bert.encoder.layer.1.intermediate.dense.weight"].T,
        )
    np.testing.assert_array_equal(
        leaf["ln/scale"].value(), tensors["bert.embeddings.LayerNorm.gamma"]
    )
    assert [name for _, name in opened.coverage.unused] == ["bert.pooler.dense.weight"]
    assert ("qformer", "cls.predictions.bias") in opened.coverage.missing


def test_a_vit_alone(tmp_path, tensors, shards):
    whole = tensors("blip2")
    alone = {
        n.removeprefix("vision_model."): v for n, v in whole.items() if n.startswith("vision_model")
    }
    shards(tmp_path / "vit", alone)
    config = dict(
        model_type="blip_2_vision_model", hidden_size=32, intermediate_size=64,
        num_hidden_layers=2, num_attention_heads=4, image_size=28,
    )  # fmt: skip
    (tmp_path / "vit/config.json").write_text(json.dumps(config))
    hf.from_hf(tmp_path / "vit", tmp_path / "dst")
    stored, _ = checkpoint.describe(tmp_path / "dst")
    assert {path.split("/")[1] for path in stored} == {"vision", "ln_vision"}


# --- other resolutions ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [42, 14])
def test_positions_are_resized_on_the_way_in(tmp_path, tensors, directory, size):
    src = directory(tmp_path / "src", "instructblip")
    opened = hf.open_hf(src, reader.Options(image_size=size))
    side = size // 14
    got = opened.leaves["params/vision/pos_embed"].value()
    table = tensors("instructblip")["vision_model.embeddings.position_embedding"]
    np.testing.assert_array_equal(got, resize_positions(jax.numpy.asarray(table), (side, side)))
    assert opened.config.model.vision.image_size == size
    assert opened.coverage.reshaped == (("vision", "params/vision/pos_embed"),)


@pytest.mark.parametrize(
    "preset, corners", [("ziya_visual_base_13b", False), ("ziya_visual_base_13b_clip_l", True)]
)
def test_positions_of_clip_are_resized_with_aligned_corners(preset, corners):
    """As LAVIS does, which resizes those of EVA without."""
    config = validate(recipe(preset, stage={"name": "stage1", "variant": "base"}))
    table = np.random.default_rng(0).standard_normal((1, 257, 2)).astype("f4")
    config, change = reader.resized(config, reader.Options(image_size=336))
    (resize,) = change.values()
    wanted, other = (resize_positions(table, (24, 24), way) for way in (corners, not corners))
    np.testing.assert_array_equal(resize(table), wanted)
    assert np.abs(wanted - other).max() > 0.1 and config.model.vision.image_size == 336


def test_positions_are_resized_on_the_way_out(tmp_path, workdir):
    model = own_checkpoint.open_checkpoint(workdir("stage1", "base"))
    export.to_hf(model, tmp_path / "out", export.Options(image_size=56))
    spec = open_source(tmp_path / "out").specs["vision_model.embeddings.position_embedding"]
    assert spec.shape == (1, 17, 32)
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["vision_config"]["image_size"] == 56


def test_an_image_size_that_cuts_a_patch_is_refused(tmp_path, directory):
    src = directory(tmp_path / "src", "instructblip")
    with pytest.raises(ConversionError, match="multiple of the patch size"):
        hf.from_hf(src, tmp_path / "dst", reader.Options(image_size=30))


def test_the_number_of_queries_cannot_change(tmp_path, directory):
    src = directory(tmp_path / "src", "instructblip", num_query_tokens=8)
    with pytest.raises(ConversionError, match=r"has shape \(1, 5, 24\)") as caught:
        hf.from_hf(src, tmp_path / "dst")
    assert "cannot be changed without training" in str(caught.value)
