"""Adapters of PEFT in and out, merged and unmerged, on the model transformers makes."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from zv_jax import trees
from zv_jax.cli import main as cli
from zv_jax.convert import export, formats, peft
from zv_jax.errors import ConversionError
from zv_jax.models.ziya_visual import ZiyaVisual

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
hf = pytest.importorskip("transformers")
theirs = pytest.importorskip("peft")

IMAGE, QUERIES, VOCAB = 90, 4, 96
RNG = np.random.default_rng(8)
IDS = RNG.integers(3, 90, (2, 12))
IDS[:, :QUERIES] = IMAGE
MASK = np.ones((2, 12), bool)
TEXT = RNG.integers(1, 70, (2, 7))
TEXT_MASK = np.array([[1] * 7, [1] * 4 + [0] * 3], bool)
IMAGES = RNG.standard_normal((2, 28, 28, 3)).astype(np.float32)
REGEX = (
    r"vision_model\.encoder\.layers\.\d+\.(self_attn\.(qkv|projection)|mlp\.fc1)"
    r"|language_model\.model\.layers\.\d+\.self_attn\.[qv]_proj"
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A directory with a tiny InstructBLIP, every parameter random."""
    model = hf.InstructBlipForConditionalGeneration(
        hf.InstructBlipConfig(
            vision_config=dict(
                hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
                image_size=28, patch_size=14,
            ),
            qformer_config=dict(
                vocab_size=70, hidden_size=24, num_hidden_layers=4, num_attention_heads=3,
                intermediate_size=40, max_position_embeddings=32, encoder_hidden_size=32,
            ),
            text_config=dict(
                model_type="llama", vocab_size=VOCAB, hidden_size=32, intermediate_size=56,
                num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            ),
            num_query_tokens=QUERIES, image_token_index=IMAGE,
        )
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = 0.15 * torch.randn(parameter.shape, generator=generator)
            norm = name.endswith("weight") and parameter.ndim == 1
            parameter.copy_(noise + 1 if norm else noise)
            if name.endswith("qkv.bias"):
                parameter[len(parameter) // 3 : 2 * len(parameter) // 3] = 0
    folder = tmp_path_factory.mktemp("base") / "hf"
    model.save_pretrained(folder)
    return folder


def make_adapter(base, folder, **changes):
    """An adapter as PEFT trains and saves it, its B no longer zero."""
    fields = dict(r=4, lora_alpha=6, lora_dropout=0.05, target_modules=REGEX) | changes
    model = theirs.get_peft_model(load(base), theirs.LoraConfig(**fields))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory):
    return make_adapter(base, tmp_path_factory.mktemp("adapter"))


@pytest.fixture(scope="module")
def adapted(base, adapter, tmp_path_factory):
    """Our workdir of the base with the adapter."""
    folder = tmp_path_factory.mktemp("ours") / "run"
    assert peft.from_peft(adapter, formats.open_any(base), folder) == 3 * 3 + 2 * 2
    return folder


def load(folder):
    return hf.InstructBlipForConditionalGeneration.from_pretrained(folder).eval()


def their_logits(model) -> np.ndarray:
    def t(array):
        return torch.from_numpy(np.ascontiguousarray(array))

    with torch.no_grad():
        return model(
            pixel_values=t(IMAGES.transpose(0, 3, 1, 2)), input_ids=t(IDS),
            attention_mask=t(MASK.astype(int)), qformer_input_ids=t(TEXT),
            qformer_attention_mask=t(TEXT_MASK.astype(int)),
        ).logits.numpy()  # fmt: skip


def our_logits(folder) -> np.ndarray:
    model = formats.open_any(folder)
    leaves = trees.unflatten(model.read(model.specs))
    run = ZiyaVisual(model.config.model)
    compute = jax.jit(lambda v: run.apply(v, IMAGES[:, None], IDS, MASK, TEXT, TEXT_MASK))
    return np.asarray(compute(leaves))


CLOSE = dict(atol=1e-4, rtol=1e-5)


def test_an_adapter_of_peft_computes_the_same_here(base, adapter, adapted):
    expected = their_logits(theirs.PeftModel.from_pretrained(load(base), adapter).eval())
    assert np.abs(expected - their_logits(load(base))).max() > 0.5
    np.testing.assert_allclose(our_logits(adapted), expected, **CLOSE)
    lora = formats.open_any(adapted).config.model.lora
    assert (lora.rank, lora.alpha, lora.dropout) == (4, 6.0, 0.05)
    assert lora.targets.split("|") == [
        "vision/blocks/attn/qkv", "vision/blocks/attn/out", "vision/blocks/fc1",
        "llm/layers/attn/q", "llm/layers/attn/v",
    ]  # fmt: skip


def test_ours_is_loaded_by_peft_and_is_the_same_file(base, adapter, adapted, tmp_path):
    assert peft.to_peft(formats.open_any(adapted), tmp_path / "out", base=str(base)) == 13
    before = load_file(adapter / "adapter_model.safetensors")
    after = load_file(tmp_path / "out/adapter_model.safetensors")
    assert before.keys() == after.keys()
    for name in before:
        np.testing.assert_array_equal(before[name], after[name], err_msg=name)
    model = theirs.PeftModel.from_pretrained(load(base), tmp_path / "out").eval()
    np.testing.assert_allclose(their_logits(model), our_logits(adapted), **CLOSE)
    # The pattern reaches what is adapted and nothing else, least of all the Q-Former.
    names = {n.split(".lora_A")[0] for n, _ in model.named_parameters() if ".lora_A" in n}
    assert names == {n.split(".lora_A")[0] for n in before if ".lora_A" in n}


def test_merged_and_beside_are_the_same_model(base, adapted, tmp_path):
    """`to-hf --merge-lora` against PEFT's merge, `--nomerge-lora` against the base."""
    model = formats.open_any(adapted)
    export.to_hf(model, tmp_path / "merged", export.Options(merge_lora=True))
    export.to_hf(model, tmp_path / "plain", export.Options(merge_lora=False))
    peft.to_peft(model, tmp_path / "adapter")
    whole = theirs.PeftModel.from_pretrained(load(tmp_path / "plain"), tmp_path / "adapter")
    expected = their_logits(whole.merge_and_unload().eval())
    np.testing.assert_allclose(their_logits(load(tmp_path / "merged")), expected, **CLOSE)
    np.testing.assert_allclose(our_logits(tmp_path / "merged"), expected, **CLOSE)
    np.testing.assert_allclose(
        their_logits(load(tmp_path / "plain")), their_logits(load(base)), **CLOSE
    )


def test_rank_stabilised_and_partial_adapters(base, tmp_path):
    """Layers that the adapter leaves out get zeros, which change nothing."""
    folder = make_adapter(
        base, tmp_path / "adapter", use_rslora=True, target_modules=["q_proj", "down_proj"],
        layers_to_transform=[1],
    )  # fmt: skip
    peft.from_peft(folder, formats.open_any(base), tmp_path / "run")
    expected = their_logits(theirs.PeftModel.from_pretrained(load(base), folder).eval())
    np.testing.assert_allclose(our_logits(tmp_path / "run"), expected, **CLOSE)


@pytest.mark.parametrize(
    "changes, words",
    [
        (dict(use_dora=True), "use_dora is True"),
        (dict(modules_to_save=["language_projection"]), "modules_to_save"),
        (dict(rank_pattern={"q_proj": 2}), "rank_pattern"),
        (dict(bias="lora_only"), "bias is 'lora_only'"),
        (dict(peft_type="LOHA"), "'LOHA'"),
        (dict(r=8), "has shape"),
        (dict(r=None), "r is None"),
        *(
            (dict(init_lora_weights=start), f"init_lora_weights is '{start}'")
            for start in ("pissa", "pissa_niter_16", "olora", "corda", "loftq", "lora_ga", "mica")
        ),
        (dict(alora_invocation_tokens=[1, 2]), "alora_invocation_tokens"),
        (dict(target_parameters=["mlp.experts"]), "target_parameters"),
        (dict(use_bdlora={"nblocks": 2}), "use_bdlora"),
        (dict(use_qalora=True), "use_qalora is True"),
        (dict(kasa_config={}, arrow_config={"top_k": 2}), "arrow_config"),
        (dict(a_switch_of_tomorrow=True), "a_switch_of_tomorrow is True"),
        (dict(alpha_pattern={"q_proj": 2}), "alpha_pattern"),
        (dict(trainable_token_indices=[3]), "trainable_token_indices"),
        (dict(lora_dropout="much"), "lora_dropout is 'much'"),
    ],
)
def test_adapters_of_another_kind_are_refused(base, adapter, tmp_path, changes, words):
    shutil.copy(adapter / "adapter_model.safetensors", tmp_path)
    raw = json.loads((adapter / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps({**raw, **changes}))
    with pytest.raises(ConversionError, match=words):
        peft.from_peft(tmp_path, formats.open_any(base), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("start", ["gaussian", "orthogonal", "eva", False])
def test_starts_that_leave_the_base_alone_compute_the_same(base, tmp_path, start):
    folder = make_adapter(base, tmp_path / "adapter", init_lora_weights=start)
    assert json.loads((folder / "adapter_config.json").read_text())["init_lora_weights"] == start
    peft.from_peft(folder, formats.open_any(base), tmp_path / "run")
    expected = their_logits(theirs.PeftModel.from_pretrained(load(base), folder).eval())
    np.testing.assert_allclose(our_logits(tmp_path / "run"), expected, **CLOSE)


def test_the_mend_for_a_start_that_changes_the_base_works(base, tmp_path):
    """Merged by PEFT as the message says, the model is converted as PEFT computes it."""
    folder = make_adapter(base, tmp_path / "adapter", init_lora_weights="pissa")
    with pytest.raises(ConversionError, match="'pissa'") as caught:
        peft.from_peft(folder, formats.open_any(base), tmp_path / "run")
    assert "merge_and_unload" in caught.value.fix
    whole = theirs.PeftModel.from_pretrained(load(base), folder).eval()
    expected = their_logits(whole)
    whole.merge_and_unload().save_pretrained(tmp_path / "out")
    np.testing.assert_allclose(our_logits(tmp_path / "out"), expected, **CLOSE)


def test_weights_of_an_adapter_in_a_file_of_pytorch(base, adapter, adapted, tmp_path):
    shutil.copy(adapter / "adapter_config.json", tmp_path)
    tensors = load_file(adapter / "adapter_model.safetensors")
    torch.save({n: torch.from_numpy(v) for n, v in tensors.items()}, tmp_path / "adapter_model.bin")
    peft.from_peft(tmp_path, formats.open_any(base), tmp_path / "run")
    np.testing.assert_array_equal(our_logits(tmp_path / "run"), our_logits(adapted))
    (tmp_path / "adapter_model.bin").unlink()
    with pytest.raises(ConversionError, match="no weights of an adapter"):
        peft.from_peft(tmp_path, formats.open_any(base), tmp_path / "other")


@pytest.mark.parametrize(
    "module, says",
    [
        ("language_model.lm_head", "can be adapted in PEFT only"),
        ("language_projection", "can be adapted in PEFT only"),
        ("qformer.encoder.layer.0.attention.attention.query", "can be adapted in PEFT only"),
        ("model.layers.0.self_attn.q_proj", "a language model alone"),
        ("language_model.model.layers.9.self_attn.q_proj", "give the base model"),
    ],
)
def test_an_adapter_without_a_place_sends_the_user_the_right_way(
    base, adapter, tmp_path, module, says
):
    shutil.copy(adapter / "adapter_config.json", tmp_path)
    tensors = load_file(adapter / "adapter_model.safetensors")
    for end in "AB":
        tensors[f"base_model.model.{module}.lora_{end}.weight"] = np.ones((4, 4), np.float32)
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    with pytest.raises(ConversionError, match="no place for") as caught:
        peft.from_peft(tmp_path, formats.open_any(base), tmp_path / "run")
    assert says in caught.value.fix
    assert ("merge_and_unload" in caught.value.fix) == (says != "give the base model")


def test_wrong_tensors_are_refused(base, adapter, tmp_path):
    (tmp_path / "adapter_config.json").write_text((adapter / "adapter_config.json").read_text())
    whole = load_file(adapter / "adapter_model.safetensors")
    name = next(n for n in whole if n.endswith("q_proj.lora_A.weight"))
    for tensors, words in (
        ({**whole, name: whole[name] * np.nan}, "not finite"),
        ({**whole, "base_model.model.qformer.x.lora_A.weight": whole[name]}, "no place for"),
        ({n: v for n, v in whole.items() if n != name}, "no place for"),  # B without A
        ({}, "no place for"),
    ):
        save_file(tensors, tmp_path / "adapter_model.safetensors")
        with pytest.raises(ConversionError, match=words):
            peft.from_peft(tmp_path, formats.open_any(base), tmp_path / "run")
        assert not (tmp_path / "run").exists()
    (tmp_path / "adapter_config.json").unlink()
    with pytest.raises(ConversionError, match="no adapter_config.json"):
        peft.from_peft(tmp_path, formats.open_any(base), tmp_path / "run")


def test_the_commands(base, adapter, tmp_path, capsys):
    run, out = str(tmp_path / "run"), str(tmp_path / "out")
    assert cli.main(["convert", "from-peft", str(adapter), run]) == 2
    assert "--base is missing" in capsys.readouterr().err
    assert cli.main(["convert", "from-peft", str(adapter), run, f"--base={base}"]) == 0
    assert cli.main(["convert", "to-peft", run, out, f"--base={base}"]) == 0
    assert capsys.readouterr().out.count("13 layers") == 2
    raw = json.loads((tmp_path / "out/adapter_config.json").read_text())
    assert raw["base_model_name_or_path"] == str(base)


def test_models_without_or_with_other_adapters(base, adapter, adapted, tmp_path):
    with pytest.raises(ConversionError, match="no adapters"):
        peft.to_peft(formats.open_any(base), tmp_path / "out")
    with pytest.raises(ConversionError, match="adapters already"):
        peft.from_peft(adapter, formats.open_any(adapted), tmp_path / "run")
    small = formats.open_any(base)
    less = {p: s for p, s in small.specs.items() if not p.startswith("params/llm/")}
    with pytest.raises(ConversionError, match="no place for"):
        peft.from_peft(adapter, dataclasses.replace(small, specs=less), tmp_path / "run")
