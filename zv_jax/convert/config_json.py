"""`config.json` of transformers to our configuration and back.

Defaults are those of transformers 5, which leaves out what has its default value.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from zv_jax.config.build import to_dict, validate
from zv_jax.config.schema import Config, DataConfig, StageConfig
from zv_jax.convert import asking, names
from zv_jax.convert.architectures import (
    BLIP2,
    INSTRUCT_BLIP,
    LLAMA,
    RETRIEVAL,
    ZIYA_BASE,
    Architecture,
)
from zv_jax.errors import ConversionError, ZvError
from zv_jax.models import presets
from zv_jax.models.presets import (
    LlamaConfig,
    LoraConfig,
    ModelConfig,
    QFormerConfig,
    RopeScaling,
    VisionConfig,
)

Json = Mapping[str, Any]

# --- theirs -> ours -------------------------------------------------------------------------------


def read_config(raw: Json, architecture: Architecture, where: str) -> Config:
    """A run of ours whose model is the one that a `config.json` describes.

    Args:
        raw: the JSON; where: its path.

    Raises:
        ConversionError: a part of it has no counterpart here, or a value is of the wrong kind.
    """
    with kinds(where):
        model = _model(raw, architecture, where)
        return run_of(model, architecture.stage, architecture.variant, where)


@contextmanager
def kinds(where: str) -> Iterator[None]:
    """Turns what a `config.json` with values of the wrong kind leads to into one error.

    Raises:
        ConversionError: in place of it.
    """
    try:
        yield
    except (TypeError, ValueError, AttributeError, KeyError, ArithmeticError) as error:
        raise ConversionError(
            f"a value is of the wrong kind: {error!s:.300}",
            where=where,
            expected="numbers, words and parts as transformers writes them",
            fix="copy config.json again from where the weights came from",
        ) from None


def whole(raw: Json, field: str, default: int, where: str) -> int:
    """The whole number in `field`.

    Raises:
        ConversionError: it is something else.
    """
    value = raw.get(field, default)
    if type(value) is not int:
        raise ConversionError(
            f"{value!r:.200} is a {type(value).__name__}",
            where=f"{where} ({field})",
            expected="a whole number",
            fix="copy config.json again from where the weights came from",
        )
    return value


def _model(raw: Json, architecture: Architecture, where: str) -> ModelConfig:
    model = ModelConfig(
        preset=architecture.name,
        qformer_sees_instruction=architecture.variant == "chat",
        dtype="float32",
        remat="none",
        lora=LoraConfig(),
    )
    if architecture in (INSTRUCT_BLIP, BLIP2, ZIYA_BASE, RETRIEVAL):
        vision, former = raw.get("vision_config") or {}, raw.get("qformer_config") or {}
        model = replace(
            model,
            vision=_vision(vision, where),
            qformer=replace(
                _qformer(former, where),
                num_queries=whole(raw, "num_query_tokens", 32, where),
                embed_dim=whole(raw, "image_text_hidden_size", 256, where),
            ),
        )
    if architecture in (INSTRUCT_BLIP, BLIP2):
        model = with_language_model(model, raw.get("text_config") or {}, where)
        model = replace(model, image_token_id=_image_token(raw, model, where))
    elif architecture is LLAMA:
        model = with_language_model(model, raw, where)
    elif architecture.family is names.VISION:
        model = replace(model, vision=_vision(raw, where))
    elif architecture.model_type == "bert":
        former = _qformer(raw, where)
        # [DEC] is appended to the vocabulary, as BLIP-2 does.
        model = replace(model, qformer=replace(former, vocab_size=former.vocab_size + 1))
    return model


def run_of(model: ModelConfig, stage: str, variant: str, where: str) -> Config:
    """The configuration of a run with `model`.

    Raises:
        ConversionError: the model fails one of the checks that every run passes.
    """
    stages = StageConfig(stage, variant)
    return checked(Config(model=model, stage=stages, data=_lengths(model)), where)


def _lengths(model: ModelConfig) -> DataConfig:
    """The usual lengths of texts, as far as the model has positions for them, and images read as
    transformers and LAVIS read them."""
    usual, positions = DataConfig(), model.qformer.max_positions
    return replace(
        usual,
        transparency="black",
        max_text=min(usual.max_text, positions),
        max_qformer_text=min(usual.max_qformer_text, positions),
        max_length=min(usual.max_length, model.llm.max_positions),
    )


def checked(config: Config, where: str) -> Config:
    """`config` after the checks every run passes.

    Raises:
        ConversionError: one of them fails.
    """
    try:
        return validate(to_dict(config))
    except ZvError as error:
        raise ConversionError(
            error.what, where=f"{where} ({error.where})", expected=error.expected
        ) from None


def with_language_model(model: ModelConfig, raw: Json, where: str) -> ModelConfig:
    """`model` with the language model that `raw`, a LLaMA's configuration, describes."""
    with kinds(where):
        llm = _llama(raw, where)
    spare = min(model.image_token_id, llm.vocab_size - 1)
    return replace(model, llm=llm, image_token_id=spare)


def _image_token(raw: Json, model: ModelConfig, where: str) -> int:
    token = raw.get("image_token_index", raw.get("image_token_id"))
    if type(token) is not int or token < 0:
        raise ConversionError(
            "the image placeholder has no id"
            if token is None
            else f"the image placeholder has the id {token!r:.100}",
            where=f"{where} (image_token_index)",
            expected=f"an id below {model.llm.vocab_size} that no text produces",
            fix='add it: "image_token_index": the id of <image> in the tokenizer',
        )
    return token


def _require(raw: Json, field: str, default: Any, allowed: Any, where: str, part: str) -> None:
    value = raw.get(field, default)
    if value != allowed:
        raise ConversionError(
            f"{field} is {value!r}",
            where=f"{where} ({part})",
            expected=repr(allowed),
            fix="this variant has no counterpart here; take a checkpoint without it",
        )


def _vision(raw: Json, where: str) -> VisionConfig:
    _require(raw, "hidden_act", "gelu", "gelu", where, "vision_config")
    _require(raw, "qkv_bias", True, True, where, "vision_config")
    eps = float(raw.get("layer_norm_eps", 1e-6))
    return VisionConfig(
        image_size=whole(raw, "image_size", 224, where),
        patch_size=whole(raw, "patch_size", 14, where),
        width=whole(raw, "hidden_size", 1408, where),
        layers=whole(raw, "num_hidden_layers", 39, where),
        heads=whole(raw, "num_attention_heads", 16, where),
        mlp_width=whole(raw, "intermediate_size", 6144, where),
        norm_eps=eps,
        ln_vision_eps=eps,
    )


def _qformer(raw: Json, where: str) -> QFormerConfig:
    _require(raw, "hidden_act", "gelu", "gelu", where, "qformer_config")
    _require(raw, "cross_attention_frequency", 2, 2, where, "qformer_config")
    position = "position_embedding_type"
    _require(raw, position, "absolute", "absolute", where, "qformer_config")
    return QFormerConfig(
        width=whole(raw, "hidden_size", 768, where),
        layers=whole(raw, "num_hidden_layers", 12, where),
        heads=whole(raw, "num_attention_heads", 12, where),
        mlp_width=whole(raw, "intermediate_size", 3072, where),
        vocab_size=whole(raw, "vocab_size", 30522, where),
        max_positions=whole(raw, "max_position_embeddings", 512, where),
        norm_eps=float(raw.get("layer_norm_eps", 1e-12)),
        dropout=float(raw.get("hidden_dropout_prob", 0.1)),
    )


def _llama(raw: Json, where: str) -> LlamaConfig:
    part = "text_config"
    # transformers takes OPT where a language model has no type.
    _require(raw, "model_type", "opt", "llama", where, part)
    _require(raw, "hidden_act", "silu", "silu", where, part)
    heads = whole(raw, "num_attention_heads", 32, where)
    width = whole(raw, "hidden_size", 4096, where)
    head_dim = whole(raw, "head_dim", 0, where) if raw.get("head_dim") else 0
    theta, scaling = _rope(raw, where)
    return LlamaConfig(
        vocab_size=whole(raw, "vocab_size", 32000, where),
        width=width,
        layers=whole(raw, "num_hidden_layers", 32, where),
        heads=heads,
        kv_heads=whole(raw, "num_key_value_heads", heads, where)
        if raw.get("num_key_value_heads") is not None
        else heads,
        mlp_width=whole(raw, "intermediate_size", 11008, where),
        max_positions=whole(raw, "max_position_embeddings", 2048, where),
        norm_eps=float(raw.get("rms_norm_eps", 1e-6)),
        head_dim=0 if head_dim * heads == width else head_dim,
        rope_theta=theta,
        rope_scaling=scaling,
        attention_bias=raw.get("attention_bias", False),
        mlp_bias=raw.get("mlp_bias", False),
        tie_embeddings=raw.get("tie_word_embeddings", False),
    )


def _typed(form: Any) -> dict[str, Any]:
    """A form of rotary parameters, its type under the name that it has today."""
    found = dict(form or {})
    if "type" in found:
        found = {"rope_type": found.pop("type")} | found
    return found


def _rope(raw: Json, where: str) -> tuple[float, RopeScaling]:
    """`rope_parameters` (transformers 5), or `rope_theta` and `rope_scaling` (before)."""
    scaling, parameters = (_typed(raw.get(form)) for form in ("rope_scaling", "rope_parameters"))
    plain = {"rope_type": "default", "rope_theta": raw.get("rope_theta", 10000.0)}
    if scaling and parameters and plain | scaling != plain | parameters:
        raise ConversionError(
            f"rope_scaling is {scaling!r:.150}, and rope_parameters {parameters!r:.150}",
            where=where,
            expected="the same in both: transformers reads the first alone",
            fix="leave out the one that the model was not trained with",
        )
    rope = scaling | parameters
    theta = float(rope.get("rope_theta", raw.get("rope_theta", 10000.0)))
    kind = rope.get("rope_type")
    _require(rope, "partial_rotary_factor", 1.0, 1.0, where, "rope_parameters")
    if kind is None and "factor" in rope:
        raise ConversionError(
            "rotary scaling has a factor and no type",
            where=f"{where} (rope_scaling)",
            expected='"rope_type": linear or llama3',
            fix="copy config.json again, or add the type that the model was trained with",
        )
    if kind in (None, "default"):
        return theta, RopeScaling()
    if kind not in presets.ROPE_SCALINGS:
        raise ConversionError(
            f"rotary scaling {kind!r} is not supported",
            where=f"{where} (rope_parameters)",
            expected="default, linear or llama3",
            fix="take a checkpoint with one of these: another would read far positions wrongly",
        )

    def number(field: str) -> float:
        try:
            value = float(rope[field])
            if 0 < value < math.inf:
                return value
        except (KeyError, TypeError, ValueError, OverflowError):
            pass
        raise ConversionError(
            f"rotary scaling {kind!r} has {field} {rope.get(field, 'missing')!r}",
            where=f"{where} (rope_parameters)",
            expected=f"{field}: a number above 0",
            fix="copy config.json again, or add what the model was trained with",
        )

    if kind == "linear":
        return theta, RopeScaling("linear", number("factor"))
    return theta, RopeScaling(
        "llama3",
        number("factor"),
        number("low_freq_factor"),
        number("high_freq_factor"),
        int(number("original_max_position_embeddings")),
    )


# --- ours -> theirs -------------------------------------------------------------------------------


def write_config(
    config: Config, architecture: Architecture, dtype: str, special: Mapping[str, int]
) -> dict[str, Any]:
    """The `config.json` of an exported model.

    Args:
        dtype: of the tensors; `dtype="auto"` loads in it.
        special: ids `bos`, `eos`, `pad` of the language model's tokenizer and `qformer_pad`.
    """
    model = config.model
    head = {"architectures": [architecture.name], "model_type": architecture.model_type}
    tail = {"dtype": dtype, "transformers_version": "5.23.0", **asking.written(config)}
    if architecture is LLAMA:
        return {**head, **_write_llama(model.llm, special), **tail}
    chat = architecture is INSTRUCT_BLIP
    kind = "instructblip" if chat else "blip_2"
    former = _write_qformer(model, f"{kind}_qformer", special)
    if not chat:
        former["use_qformer_text_input"] = architecture is RETRIEVAL
    out = {
        **head,
        "vision_config": _write_vision(model.vision, f"{kind}_vision_model"),
        "qformer_config": former,
        "num_query_tokens": model.qformer.num_queries,
        "initializer_range": 0.02,
        "initializer_factor": 1.0,
    }
    if architecture is RETRIEVAL:
        # Without an image token the class takes plain ids of the Q-Former's vocabulary.
        return {**out, "image_text_hidden_size": model.qformer.embed_dim, **tail}
    return {
        **out,
        "text_config": {**_write_llama(model.llm, special), "dtype": dtype},
        "image_token_index": model.image_token_id,
        "use_decoder_only_language_model": True,
        "tie_word_embeddings": model.llm.tie_embeddings,
        **tail,
    }


def _write_vision(vision: VisionConfig, model_type: str) -> dict[str, Any]:
    return {
        "model_type": model_type,
        "hidden_size": vision.width,
        "intermediate_size": vision.mlp_width,
        "num_hidden_layers": vision.layers,
        "num_attention_heads": vision.heads,
        "image_size": vision.image_size,
        "patch_size": vision.patch_size,
        "hidden_act": "gelu",
        "layer_norm_eps": vision.norm_eps,
        "attention_dropout": 0.0,
        "qkv_bias": True,
    }


def _write_qformer(
    model: ModelConfig, model_type: str, special: Mapping[str, int]
) -> dict[str, Any]:
    former = model.qformer
    return {
        "model_type": model_type,
        "vocab_size": former.vocab_size,
        "hidden_size": former.width,
        "num_hidden_layers": former.layers,
        "num_attention_heads": former.heads,
        "intermediate_size": former.mlp_width,
        "hidden_act": "gelu",
        "hidden_dropout_prob": former.dropout,
        "attention_probs_dropout_prob": former.dropout,
        "max_position_embeddings": former.max_positions,
        "layer_norm_eps": former.norm_eps,
        "cross_attention_frequency": 2,
        "encoder_hidden_size": model.vision.width,
        "pad_token_id": special.get("qformer_pad", 0),
    }


def _write_llama(llm: LlamaConfig, special: Mapping[str, int]) -> dict[str, Any]:
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": llm.rope_theta}
    scaling = llm.rope_scaling
    if scaling.kind != "none":
        rope |= {"rope_type": scaling.kind, "factor": scaling.factor}
    if scaling.kind == "llama3":
        rope |= {
            "low_freq_factor": scaling.low_freq_factor,
            "high_freq_factor": scaling.high_freq_factor,
            "original_max_position_embeddings": scaling.original_positions,
        }
    scaled = {name: value for name, value in rope.items() if name != "rope_theta"}
    return {
        "model_type": "llama",
        "vocab_size": llm.vocab_size,
        "hidden_size": llm.width,
        "intermediate_size": llm.mlp_width,
        "num_hidden_layers": llm.layers,
        "num_attention_heads": llm.heads,
        "num_key_value_heads": llm.kv_heads,
        "head_dim": llm.key_dim,
        "hidden_act": "silu",
        "max_position_embeddings": llm.max_positions,
        "rms_norm_eps": llm.norm_eps,
        "rope_parameters": rope,
        # What releases of transformers before 5 read, and much that reads the files without it.
        "rope_theta": llm.rope_theta,
        **({"rope_scaling": scaled} if scaling.kind != "none" else {}),
        "attention_bias": llm.attention_bias,
        "mlp_bias": llm.mlp_bias,
        "tie_word_embeddings": llm.tie_embeddings,
        "bos_token_id": special.get("bos", 1),
        "eos_token_id": special.get("eos", 2),
        "pad_token_id": special.get("pad"),
    }
