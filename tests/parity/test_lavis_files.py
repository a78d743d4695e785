"""LAVIS's files: what is in them, what is missing, and the way back."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from zv_jax import trees
from zv_jax.cli import main as cli
from zv_jax.config.build import to_dict
from zv_jax.convert import formats, lavis, reader, stream
from zv_jax.errors import ConversionError
from zv_jax.models import presets
from zv_jax.models.ziya_visual import ZiyaVisual

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import lavis_model  # noqa: E402

# Heads as wide as in the preset tiny_chat, which the files are read with.
SIZES = lavis_model.Sizes(width=32, heads=4)
VISION, LLM_WIDTH = "visual_encoder.", 48
HEADS = ("vision_proj", "text_proj", "itm_head", "temp", "Qformer.cls")


@pytest.fixture
def state():
    model = lavis_model.Blip2Qformer(SIZES)
    lavis_model.randomise(model)
    return model.state_dict()


@pytest.fixture
def save(tmp_path):
    """`save(state)` writes a .pth as LAVIS's trainer does and returns its path."""

    def run(state, name="checkpoint_best.pth"):
        torch.save({"model": state, "epoch": 3}, tmp_path / name)
        return tmp_path / name

    return run


def instruct(state, text: bool = True) -> dict:
    """Of an InstructBLIP, or of a BLIP-2 without text half: only what its trainer saves."""
    state = {name: value for name, value in state.items() if not name.startswith(HEADS)}
    kept = lavis_model.trained(state, text)
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(LLM_WIDTH, SIZES.width, generator=generator)
    return {**kept, "llm_proj.weight": weight, "llm_proj.bias": weight[:, 0].clone()}


def test_stage_1_is_read_whole_and_written_back_bit_for_bit(state, save, tmp_path):
    mixed = {  # as with vit_precision="fp16": matrices in half precision, the rest not
        name: value.half() if name.startswith(VISION) and value.ndim > 1 else value
        for name, value in state.items()
    }
    opened = lavis.open_lavis(save(mixed), preset="tiny_chat")
    config = opened.config
    assert (config.stage.name, config.stage.variant) == ("stage0", "chat")
    v, q = config.model.vision, config.model.qformer
    assert (v.image_size, v.patch_size, v.width, v.layers, v.heads) == (28, 14, 32, 2, 4)
    assert (q.num_queries, q.width, q.layers, q.heads, q.vocab_size) == (5, 32, 4, 4, 70)
    assert v.ln_vision_eps == 1e-5 and q.embed_dim == SIZES.embed
    assert not opened.coverage.missing and not opened.coverage.unexpected
    with stream.building(tmp_path / "ours") as folder:
        reader.save(opened, folder, "blip2_pretrained.pth")
    back = formats.open_any(tmp_path / "ours")
    assert to_dict(back.config) == to_dict(config)
    towers = lavis.to_lavis(back, tmp_path / "again.pth")
    assert set(towers) == {"vision", "ln_vision", "qformer", "heads"}
    again = torch.load(tmp_path / "again.pth", weights_only=True)["model"]
    assert again.keys() == mixed.keys()
    for name, value in mixed.items():
        assert again[name].dtype == value.dtype and torch.equal(again[name], value), name
    model = lavis_model.Blip2Qformer(SIZES)
    assert model.load_state_dict(again, strict=True)


@pytest.mark.parametrize("text", [True, False])
def test_frozen_parts_that_are_not_in_the_file_are_named(state, save, text):
    opened = lavis.open_lavis(save(instruct(state, text)), preset="tiny_chat")
    assert opened.config.stage.variant == ("chat" if text else "base")
    assert opened.config.model.qformer_sees_instruction == text
    missing = {tower for tower, _ in opened.coverage.missing}
    assert missing == {"vision", "llm"}
    names = {name for _, name in opened.coverage.missing}
    assert {"visual_encoder.blocks.1.mlp.fc2.weight", "llm_model.lm_head.weight"} <= names
    assert not any(path.startswith(("params/vision/", "params/llm/")) for path in opened.leaves)
    kernel = opened.leaves["params/projector/kernel"].value()
    np.testing.assert_array_equal(kernel, instruct(state)["llm_proj.weight"].numpy().T)


def test_a_vicuna_takes_the_place_of_the_missing_language_model(state, save, tmp_path):
    llama = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=96, hidden_size=LLM_WIDTH, intermediate_size=56, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2,
        )
    )  # fmt: skip
    llama.save_pretrained(tmp_path / "vicuna")
    options = reader.Options(llm=str(tmp_path / "vicuna"))
    opened = lavis.open_lavis(save(instruct(state)), options, preset="tiny_chat")
    assert {tower for tower, _ in opened.coverage.missing} == {"vision"}
    assert opened.config.model.llm.vocab_size == 96
    kernel = opened.leaves["params/llm/layers/attn/q/kernel"].value()
    expected = llama.model.layers[1].self_attn.q_proj.weight.detach().numpy().T
    np.testing.assert_array_equal(kernel[1], expected)
    wrong = json.loads((tmp_path / "vicuna/config.json").read_text())
    (tmp_path / "vicuna/config.json").write_text(json.dumps({**wrong, "hidden_size": 64}))
    with pytest.raises(ConversionError, match="has shape"):
        lavis.open_lavis(save(instruct(state)), options, preset="tiny_chat")


def vit(state) -> dict:
    """The ViT of `state` as in a file of its own."""
    eva = lavis_model.Eva(SIZES)
    eva.load_state_dict({n.removeprefix(VISION): v for n, v in state.items() if VISION in n})
    return lavis_model.vit_file(eva)


@pytest.mark.parametrize("kind", ["alone", "in a file of LAVIS"])
def test_a_vit_from_a_file_of_its_own_fills_the_gap(state, save, kind):
    held = vit(state) if kind == "alone" else state
    options = reader.Options(vision=str(save(held, "eva_vit_g.pth")))
    opened = lavis.open_lavis(save(instruct(state)), options, preset="tiny_chat")
    assert {tower for tower, _ in opened.coverage.missing} == {"llm"}
    whole = lavis.open_lavis(save(state, "whole.pth"), preset="tiny_chat")
    assert opened.config.model.vision == whole.config.model.vision
    paths = [path for path in whole.leaves if path.startswith("params/vision/")]
    assert len(paths) == 17
    for path in paths:
        np.testing.assert_array_equal(opened.leaves[path].value(), whole.leaves[path].value())
    unused = {name for tower, name in opened.coverage.unused if tower == "vision"}
    block = {f"{VISION}blocks.2.{name}" for name in ("norm1.weight", "mlp.fc2.bias", "attn.q_bias")}
    rest = block | {f"{VISION}norm.weight", f"{VISION}head.weight"}
    assert unused >= rest if kind == "alone" else not unused


def test_the_vit_of_clip_loses_its_last_block_too(state, save, monkeypatch):
    monkeypatch.setattr(presets, "CLIP_L", dataclasses.replace(presets.CLIP_L, layers=2))
    vision = transformers.CLIPVisionModel(
        transformers.CLIPVisionConfig(
            hidden_size=SIZES.vision, intermediate_size=72, num_hidden_layers=3,
            num_attention_heads=1, image_size=28, patch_size=14,
        )
    )  # fmt: skip
    clip = {name.removeprefix(VISION): value for name, value in clip_state(vision).items()}
    behind = {"ln_post.weight": torch.ones(32), "proj": torch.ones(32, 8)}
    options = reader.Options(vision=str(save(clip | behind, "clip_vit_L.pth")))
    opened = lavis.open_lavis(save(instruct(state)), options, preset="tiny_chat")
    assert opened.config.model.vision.family == "clip"
    assert opened.leaves["params/vision/blocks/fc1/kernel"].shape[0] == 2
    unused = {name for _, name in opened.coverage.unused}
    assert {f"{VISION}proj", f"{VISION}transformer.resblocks.2.ln_1.bias"} <= unused
    assert not any(".resblocks.1." in name for name in unused)


def test_a_vit_that_does_not_fit_is_refused(state, save):
    other = lavis_model.vit_file(lavis_model.Eva(SIZES._replace(vision=64)))
    few = {n: v for n, v in vit(state).items() if "blocks.1." not in n and "blocks.2." not in n}
    strange = vit(state) | {"rope.table": torch.ones(2)}
    part = {n: v for n, v in vit(state).items() if n != "blocks.1.attn.v_bias"}
    for wrong, words in (
        ({"weight": torch.ones(2)}, "there is no ViT in this file"),
        (other, "this ViT is 64 wide, and the checkpoint reads features of 32"),
        (few, "visual_encoder.blocks.1.* is missing"),
        (part, "'visual_encoder.blocks.1.attn.v_bias' is missing"),
        (strange, "no place for tensor 'visual_encoder.rope.table'"),
    ):
        options = reader.Options(vision=str(save(wrong, "vit.pth")))
        with pytest.raises(ConversionError, match=words):
            lavis.open_lavis(save(instruct(state)), options, preset="tiny_chat")
    options = reader.Options(vision=str(save(vit(state), "vit.pth")))
    with pytest.raises(ConversionError, match="has a ViT of its own") as caught:
        lavis.open_lavis(save(state), options, preset="tiny_chat")
    assert "leave --vision out" in str(caught.value)
    with pytest.raises(ConversionError, match="no weights here"):
        lavis.open_lavis(save(instruct(state)), reader.Options(vision="nowhere.pth"), "tiny_chat")


def clip_state(vision) -> dict:
    """A CLIP ViT of transformers in the names of CLIP's first release, which LAVIS keeps."""
    theirs = {n.removeprefix("vision_model."): v for n, v in vision.state_dict().items()}
    out = {
        "class_embedding": theirs["embeddings.class_embedding"],
        "positional_embedding": theirs["embeddings.position_embedding.weight"],
        "conv1.weight": theirs["embeddings.patch_embedding.weight"],
        "ln_pre.weight": theirs["pre_layrnorm.weight"],
        "ln_pre.bias": theirs["pre_layrnorm.bias"],
    }
    words = {
        "ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out_proj": "self_attn.out_proj",
        "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2",
    }  # fmt: skip
    for i in range(vision.config.num_hidden_layers):
        here, there = f"transformer.resblocks.{i}.", f"encoder.layers.{i}."
        for end in ("weight", "bias"):
            out |= {f"{here}{o}.{end}": theirs[f"{there}{t}.{end}"] for o, t in words.items()}
            qkv = [theirs[f"{there}self_attn.{n}_proj.{end}"] for n in "qkv"]
            out[f"{here}attn.in_proj_{end}"] = torch.cat(qkv)
    return {VISION + name: value for name, value in out.items()}


def test_clip_vit_l_computes_what_transformers_does(save):
    vision = transformers.CLIPVisionModel(
        transformers.CLIPVisionConfig(
            hidden_size=SIZES.vision * 2, intermediate_size=72, num_hidden_layers=3,
            num_attention_heads=1, image_size=28, patch_size=14,
        )
    )  # fmt: skip
    lavis_model.randomise(vision)
    wide = SIZES._replace(vision=SIZES.vision * 2)
    full = lavis_model.Blip2Qformer(wide).state_dict()
    rest = {name: value for name, value in full.items() if not name.startswith(VISION)}
    opened = lavis.open_lavis(save({**rest, **clip_state(vision)}), preset="tiny_chat")
    assert opened.config.model.vision.family == "clip"
    leaves = {path: leaf.value() for path, leaf in opened.leaves.items()}
    leaves["params/ln_vision/scale"] = np.ones(64, np.float32)
    images = np.random.default_rng(2).standard_normal((2, 28, 28, 3)).astype(np.float32)
    ours = ZiyaVisual(opened.config.model)
    got = jax.jit(lambda v: ours.apply(v, images, method=lambda m, x: m.vision(x)))(
        trees.unflatten(leaves)
    )
    pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        expected = vision(pixels).last_hidden_state
    assert float(expected.abs().max()) > 1
    np.testing.assert_allclose(got, expected, atol=2e-5, rtol=1e-5)


def test_wrong_files_are_named(state, save, tmp_path):
    eva = {n: v for n, v in state.items() if n.startswith(VISION) and "blocks.1.norm" not in n}
    part = instruct(state) | eva
    for wrong, words in (
        ({**instruct(state), "opt_proj.weight": torch.ones(2, 2)}, "its language model is OPT"),
        ({"weight": torch.ones(2)}, "no BLIP-2 checkpoint"),
        (part, "blocks.1.norm"),
        ({**state, "extra.weight": torch.ones(2)}, "no place for tensor 'extra.weight'"),
        ({**state, "itm_head.bias": torch.ones(3)}, "has shape"),
    ):
        with pytest.raises(ConversionError, match=words):
            lavis.open_lavis(save(wrong), preset="tiny_chat")
    whole = save(state).read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConversionError, match="cannot be read"):
        lavis.open_lavis(tmp_path / "cut.pth")
    for options in (reader.Options(llm="vicuna"), reader.Options(base="llama")):
        with pytest.raises(ConversionError, match="leave --"):
            lavis.open_lavis(save(state), options, preset="tiny_chat")


def test_the_command_reports_resizes_and_writes(state, save, tmp_path, capsys):
    source, out = str(save(instruct(state))), str(tmp_path / "run")
    assert cli.main(["convert", "from-lavis", source, out, "--preset=tiny_chat"]) == 0
    shown = capsys.readouterr().out
    assert "missing in llm: llm_model.model." in shown
    assert "missing in vision: visual_encoder." in shown
    source = str(save(state, "stage1.pth"))
    command = ["convert", "from-lavis", source, str(tmp_path / "wide"), "--image_size=56"]
    assert cli.main([*command, "--preset=tiny_chat"]) == 0
    wide = formats.open_any(tmp_path / "wide")
    assert wide.specs["params/vision/pos_embed"].shape == (1, 17, SIZES.vision)
    assert cli.main(["convert", "to-lavis", str(tmp_path / "wide"), str(tmp_path / "w.pth")]) == 0
    table = torch.load(tmp_path / "w.pth", weights_only=True)["model"][f"{VISION}pos_embed"]
    square = state[f"{VISION}pos_embed"][:, 1:].reshape(1, 2, 2, -1).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(square, size=(4, 4), mode="bicubic")
    expected = expected.permute(0, 2, 3, 1).reshape(1, 16, -1)
    np.testing.assert_allclose(table[:, 1:], expected, atol=1e-5)


def test_what_lavis_cannot_hold_is_not_written(state, save, tmp_path):
    with stream.building(tmp_path / "ours") as folder:
        reader.save(lavis.open_lavis(save(state), preset="tiny_chat"), folder, "x.pth")
    model = formats.open_any(tmp_path / "ours")
    (tmp_path / "there.pth").write_bytes(b"mine")
    for out, words in ((tmp_path / "there.pth", "exists"), (tmp_path / "folder", "is one file")):
        with pytest.raises(ConversionError, match=words):
            lavis.to_lavis(model, out)
    assert (tmp_path / "there.pth").read_bytes() == b"mine"
    assert not list(tmp_path.glob("*.partial"))
