"""Tiny models of Hugging Face transformers against ours, float32, with the same random weights."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity_models import (
    IMAGE,
    LLM,
    QFORMER,
    QUERIES,
    VISION,
    blip2_config,
    instructblip_config,
    llama_config,
    pixels,
    qformer_fields,
    t,
    vision_fields,
)

from zv_jax.models.presets import LlamaConfig, ModelConfig, RopeScaling
from zv_jax.models.qformer import bidirectional_mask
from zv_jax.models.ziya_visual import ZiyaVisual
from zv_jax.objectives import lm_loss

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
hf = pytest.importorskip("transformers")

CLOSE = dict(atol=1e-5, rtol=1e-5)
RNG = np.random.default_rng(8)
IMAGES = RNG.standard_normal((2, 28, 28, 3)).astype(np.float32)
TEXT = RNG.integers(1, 70, (2, 7))
TEXT_MASK = np.array([[1] * 7, [1] * 4 + [0] * 3], bool)


def ours(chat: bool = True) -> ZiyaVisual:
    return ZiyaVisual(
        ModelConfig(
            vision=VISION, qformer=QFORMER, llm=LLM, qformer_sees_instruction=chat,
            image_token_id=IMAGE, dtype="float32", remat="none",
        )
    )  # fmt: skip


def run(model: ZiyaVisual, params: dict, method, *arguments):
    return jax.jit(lambda p: model.apply({"params": p}, *arguments, method=method))(params)


@pytest.mark.parametrize("size", [28, 42])
def test_vision(convert, size):
    """`last_hidden_state` is after the norm that we call ln_vision; 42 px resizes the positions."""
    model = hf.Blip2VisionModel(hf.Blip2VisionConfig(**vision_fields()))
    converted = convert(model)
    assert converted.config.model.vision == VISION
    images = RNG.standard_normal((2, size, size, 3)).astype(np.float32)
    with torch.no_grad():
        expected = model(pixels(images), interpolate_pos_encoding=size != 28).last_hidden_state
    got = run(ours(), converted.params, "encode_images", images)
    assert float(expected.abs().max()) > 1
    np.testing.assert_allclose(got, expected, **CLOSE)


FEATURES = RNG.standard_normal((2, 5, 32)).astype(np.float32)


def test_qformer_with_instruction(convert):
    """InstructBlipQFormerModel: queries and text in one bidirectional row."""
    whole = hf.InstructBlipForConditionalGeneration(instructblip_config())
    params = convert(whole).params
    queries = whole.query_tokens.detach().expand(2, -1, -1)
    mask = np.concatenate([np.ones((2, QUERIES), bool), TEXT_MASK], 1)
    with torch.no_grad():
        expected = whole.qformer(
            input_ids=t(TEXT), attention_mask=t(mask), query_embeds=queries,
            encoder_hidden_states=t(FEATURES),
        ).last_hidden_state[:, :QUERIES]  # fmt: skip
    got = run(ours(), params, "query", FEATURES, TEXT, TEXT_MASK)
    np.testing.assert_allclose(got, expected, **CLOSE)


def test_qformer_of_queries_alone(convert):
    whole = hf.Blip2ForConditionalGeneration(blip2_config())
    params = convert(whole).params
    assert "word" not in params["qformer"]
    queries = whole.query_tokens.detach().expand(2, -1, -1)
    with torch.no_grad():
        expected = whole.qformer(query_embeds=queries, encoder_hidden_states=t(FEATURES))
    got = run(ours(), params, "query", FEATURES)
    np.testing.assert_allclose(got, expected.last_hidden_state, **CLOSE)


def test_bert_is_the_text_half(convert):
    """BertForMaskedLM: hidden states and logits; our tables have [DEC] too."""
    config = hf.BertConfig(
        vocab_size=69, hidden_size=24, num_hidden_layers=4, num_attention_heads=3,
        intermediate_size=40, max_position_embeddings=32,
    )  # fmt: skip
    model = hf.BertForMaskedLM(config)
    params = convert(model).params
    # A BERT has no queries; the half of the text does not look at them.
    width = config.hidden_size
    params["qformer"]["query_tokens"] = np.zeros((1, QUERIES, width), np.float32)
    with torch.no_grad():
        expected = model(input_ids=t(TEXT.clip(max=68)), attention_mask=t(TEXT_MASK.astype(int)))

    def logits(m):
        mask = bidirectional_mask(0, jnp.asarray(TEXT_MASK))
        _, text = m.qformer(None, TEXT.clip(max=68), mask)
        return m.qformer.text_logits(text)

    got = run(ours(), params, logits)[..., :69]
    np.testing.assert_allclose(got[TEXT_MASK], expected.logits[TEXT_MASK], **CLOSE)


def test_image_text_retrieval(convert):
    """Blip2ForImageTextRetrieval: both heads."""
    model = hf.Blip2ForImageTextRetrieval(
        hf.Blip2Config(
            vision_config=vision_fields(),
            qformer_config={**qformer_fields(), "use_qformer_text_input": True},
            num_query_tokens=QUERIES, image_text_hidden_size=12, image_token_index=None,
        )
    )  # fmt: skip
    params = convert(model).params
    inputs = dict(
        pixel_values=pixels(IMAGES), input_ids=t(TEXT), attention_mask=t(TEXT_MASK.astype(int))
    )
    with torch.no_grad():
        itm = model(**inputs, use_image_text_matching_head=True)
        itc = model(**inputs, use_image_text_matching_head=False)

    def scores(m):
        features = m.encode_images(IMAGES)
        image, text = m.image_embed(IMAGES), m.text_embed(TEXT, TEXT_MASK)
        return m.match(features, TEXT, TEXT_MASK), image, text

    match, image, text = run(ours(), params, scores)
    np.testing.assert_allclose(match, itm.logits_per_image, **CLOSE)
    np.testing.assert_allclose(image, itc.image_embeds, **CLOSE)
    np.testing.assert_allclose(text, itc.text_embeds.reshape(text.shape), **CLOSE)
    similarity = jnp.einsum("bqe,ce->bqc", image, text).max(1)
    np.testing.assert_allclose(similarity, itc.logits_per_image, **CLOSE)


@pytest.mark.parametrize("padded", [False, True])
def test_llama_with_grouped_heads(convert, padded):
    model = hf.LlamaForCausalLM(llama_config())
    same_logits(convert, model, LLM, padded)


LLAMA_3 = dict(
    rope_type="llama3", rope_theta=5e5, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
    original_max_position_embeddings=16,
)  # fmt: skip
VARIANTS = {
    "wide heads": (dict(head_dim=16), dict(head_dim=16)),
    "biases": (
        dict(attention_bias=True, mlp_bias=True),
        dict(attention_bias=True, mlp_bias=True),
    ),
    "tied embeddings, large eps": (
        dict(tie_word_embeddings=True, rms_norm_eps=1e-2),
        dict(tie_embeddings=True, norm_eps=1e-2),
    ),
    "theta": (
        dict(rope_parameters=dict(rope_type="default", rope_theta=1e3)),
        dict(rope_theta=1e3),
    ),
    "linear scaling": (
        dict(rope_parameters=dict(rope_type="linear", rope_theta=1e4, factor=4.0)),
        dict(rope_scaling=RopeScaling("linear", 4.0)),
    ),
    "llama3 scaling": (
        dict(rope_parameters=LLAMA_3, head_dim=32),
        dict(rope_theta=5e5, rope_scaling=RopeScaling("llama3", 8.0, 1.0, 4.0, 16), head_dim=32),
    ),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_llama_variants(convert, name):
    theirs, our = VARIANTS[name]
    model = hf.LlamaForCausalLM(hf.LlamaConfig(**{**llama_config().to_dict(), **theirs}))
    same_logits(convert, model, dataclasses.replace(LLM, **our), padded=False)


def same_logits(convert, model, llm: LlamaConfig, padded: bool) -> None:
    converted = convert(model)
    params = converted.params
    assert converted.config.model.llm == llm
    ids = RNG.integers(3, 90, (2, 40))
    mask = np.ones((2, 40), bool)
    if padded:
        mask[1, :3] = False
    positions = np.maximum(mask.cumsum(1) - 1, 0)
    with torch.no_grad():
        expected = model(
            input_ids=t(ids), attention_mask=t(mask.astype(int)), position_ids=t(positions)
        ).logits.numpy()
    ours_ = ZiyaVisual(dataclasses.replace(ours().cfg, llm=llm))
    got = np.asarray(run(ours_, params, "__call__", None, ids, mask))
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(got[mask], expected[mask], **CLOSE)


def test_instructblip_logits_and_gradients(convert):
    """The whole model in one row, and what one training step would follow."""
    model = hf.InstructBlipForConditionalGeneration(instructblip_config())
    params = convert(model).params
    ids = RNG.integers(3, 90, (2, 11))
    ids[:, :QUERIES] = IMAGE
    mask = np.ones((2, 11), bool)
    mask[1, 9:] = False
    labels = np.where(mask & (np.arange(11) >= 6), ids, -100)
    out = model(
        pixel_values=pixels(IMAGES), input_ids=t(ids), attention_mask=t(mask.astype(int)),
        qformer_input_ids=t(TEXT), qformer_attention_mask=t(TEXT_MASK.astype(int)),
    )  # fmt: skip
    got = np.asarray(run(ours(), params, "__call__", IMAGES[:, None], ids, mask, TEXT, TEXT_MASK))
    expected = out.logits.detach().numpy()
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(got[mask], expected[mask], **CLOSE)

    torch_loss = torch.nn.functional.cross_entropy(
        out.logits[:, :-1].reshape(-1, 96), t(labels[:, 1:]).reshape(-1), ignore_index=-100
    )
    torch_loss.backward()

    def loss(trained):
        logits = ours().apply(
            {"params": {**params, **trained}}, IMAGES[:, None], ids, mask, TEXT, TEXT_MASK
        )
        total, weight = lm_loss(logits, jnp.asarray(labels))
        return total / weight

    trained = {name: params[name] for name in ("qformer", "projector")}
    value, gradient = jax.jit(jax.value_and_grad(loss))(trained)
    np.testing.assert_allclose(value, torch_loss.detach(), rtol=1e-5)
    named = dict(model.named_parameters())

    def by_end(end: str) -> np.ndarray:
        return next(p for name, p in named.items() if name.endswith(end)).grad.numpy()

    pairs = gradient["qformer"]["pairs"]
    for got, expected in [
        (gradient["qformer"]["query_tokens"], by_end("query_tokens")),
        (gradient["projector"]["kernel"], by_end("language_projection.weight").T),
        (pairs["even"]["cross"]["k"]["kernel"][1],
         by_end("layer.2.crossattention.attention.key.weight").T),
        (gradient["qformer"]["word"]["embedding"], by_end("word_embeddings.weight")),
    ]:  # fmt: skip
        assert np.abs(expected).max() > 1e-4
        np.testing.assert_allclose(got, expected, atol=3e-6, rtol=1e-4)
