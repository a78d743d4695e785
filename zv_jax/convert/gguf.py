"""GGUF in: a LLaMA in the file format of llama.cpp, whole or quantised, with its tokenizer.

Source of the format and of its names: ggml-org/llama.cpp, gguf-py. Weights are dequantised by that
project's package; what we add is the way to our model.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np

from zv_jax.config import Config
from zv_jax.convert import asking, config_json, gguf_header, gguf_tokenizer, names, reader, stream
from zv_jax.convert.architectures import LLAMA
from zv_jax.convert.names import Entry, Family, Transform, entry
from zv_jax.convert.reader import ForeignCheckpoint, Options
from zv_jax.convert.sources import Spec
from zv_jax.errors import ConversionError, SetupError
from zv_jax.models.llama import rope_frequencies
from zv_jax.models.presets import LlamaConfig, LoraConfig, ModelConfig, RopeScaling

SUFFIX = ".gguf"
_FACTORS = "rope_freqs.weight"


class GgufFile:
    """One file as a source of tensors: float32, or the half precision that they are stored in.

    Attributes:
        where: the path.
        specs: shape and dtype of every tensor by name, shapes as in Hugging Face.
        fields: the metadata as Python values.
    """

    def __init__(self, path: Path):
        """Reads the header; values are mapped, and dequantised one tensor at a time.

        Raises:
            SetupError: the package `gguf` is not installed.
            ConversionError: it is damaged, or a part of a split model.
        """
        library = _library(path)
        self.where = str(path)
        self._dequantize = library.quants.dequantize
        try:
            gguf_header.check(path)
            file = library.GGUFReader(path)
            self.fields = {name: field.contents() for name, field in file.fields.items()}
            if sum(tensor.n_bytes for tensor in file.tensors) > path.stat().st_size:
                raise ValueError("its tensors lie on one another")
        except (ValueError, IndexError, KeyError, OverflowError, OSError) as error:
            raise ConversionError(
                f"the file is damaged, cut off or no GGUF: {error}",
                where=self.where,
                expected="a whole GGUF file of version 2 or 3",
                fix="download or copy it again",
            ) from None
        parts = self.fields.get("split.count", 1)
        if parts not in (0, 1):
            raise ConversionError(
                f"this is one of {parts} parts",
                where=self.where,
                expected="one file with the whole model",
                fix="join them: gguf-split --merge FIRST OUT",
            )
        self._tensors = {tensor.name: tensor for tensor in file.tensors}
        halves = {"F16": np.dtype(np.float16), "BF16": np.dtype(ml_dtypes.bfloat16)}
        self._dtypes = {
            name: halves.get(tensor.tensor_type.name, np.dtype(np.float32))
            for name, tensor in self._tensors.items()
        }
        self.specs = {
            name: Spec(tuple(int(n) for n in reversed(tensor.shape)), self._dtypes[name])
            for name, tensor in self._tensors.items()
        }

    def read(self, name: str) -> np.ndarray:
        tensor = self._tensors[name]
        try:
            value = self._dequantize(tensor.data, tensor.tensor_type)
        except NotImplementedError:
            raise ConversionError(
                f"tensor {name!r} is quantised as {tensor.tensor_type.name}",
                where=self.where,
                expected="a type that the package gguf can dequantise, such as Q8_0 or Q4_1",
                fix="take the model in another quantisation",
            ) from None
        return value.reshape(self.specs[name].shape).astype(self._dtypes[name])


def _library(path: Path) -> ModuleType:
    try:
        import gguf
    except ImportError:
        raise SetupError(
            "reading a GGUF file needs the package `gguf`",
            where=str(path),
            expected="gguf installed",
            fix='pip install -e ".[gguf]"',
        ) from None
    return gguf


def open_gguf(path: str | Path, options: Options | None = None) -> ForeignCheckpoint:
    """Reads everything of a GGUF file but its values.

    Raises:
        ConversionError: it is no LLaMA, has a part without counterpart here, or its tokenizer is
            of an unknown kind and `options` names none.
        SetupError: the package `gguf` is not installed.
    """
    options = options or Options()
    source = GgufFile(Path(path))
    config = read_config(source)
    if options.prompt_format:
        config, notes = asking.by_name(config, options.prompt_format)
    else:
        template = str(source.fields.get("tokenizer.chat_template", ""))
        config, notes = asking.of_language_model(config, (config.model.preset,), template)
    llm = config.model.llm
    found, coverage = stream.plan(
        family(llm),
        source,
        reader.wanted(config, LLAMA),
        allow=options.allow,
        dtype=options.dtype,
    )
    if options.tokenizer:
        tokenizer = reader.find_tokenizer([Path(options.tokenizer)], required=True)
    else:
        tokenizer = gguf_tokenizer.read_tokenizer(source.fields, source.where)
    reader.check_vocabularies(config, (tokenizer, None))
    return ForeignCheckpoint(
        config, found, replace(coverage, notes=(*coverage.notes, *notes)), (tokenizer, None)
    )


# --- names ----------------------------------------------------------------------------------------


def family(llm: LlamaConfig) -> Family:
    """The table of a LLaMA. Rows of q and k stand in pairs there, in halves here."""
    layer, ours = "blk.{}.", "llm/layers/"
    rows = [
        names.table("llm/embed", "token_embd"),
        *names.norm(f"{ours}ln_attn", f"{layer}attn_norm", bias=False),
        *names.norm(f"{ours}ln_mlp", f"{layer}ffn_norm", bias=False),
        *names.norm("llm/norm", "output_norm", bias=False),
        *names.linear("llm/lm_head", "output", bias=False),
        *_rotary(f"{ours}attn/q", f"{layer}attn_q", llm.heads),
        *_rotary(f"{ours}attn/k", f"{layer}attn_k", llm.kv_heads),
        *names.linear(f"{ours}attn/v", f"{layer}attn_v"),
        *names.linear(f"{ours}attn/o", f"{layer}attn_output"),
    ]
    for name in ("gate", "up", "down"):
        rows += names.linear(f"{ours}{name}", f"{layer}ffn_{name}")
    return Family(tuple(rows), (re.escape(_FACTORS),))


def _rotary(ours: str, theirs: str, heads: int) -> list[Entry]:
    def halves(x: np.ndarray) -> np.ndarray:
        pairs = x.reshape(heads, -1, 2, *x.shape[1:])
        return pairs.swapaxes(1, 2).reshape(x.shape)

    return [
        entry(f"{ours}/kernel", f"{theirs}.weight", Transform(lambda x: (halves(x).T,), None)),
        entry(f"{ours}/bias", f"{theirs}.bias", Transform(lambda x: (halves(x),), None)),
    ]


# --- configuration --------------------------------------------------------------------------------


def read_config(source: GgufFile) -> Config:
    """A run of ours whose language model is the one in the file.

    Raises:
        ConversionError: it is no LLaMA, or has a part without counterpart here.
    """
    fields, where = source.fields, source.where
    kind = fields.get("general.architecture")
    if kind != "llama":
        raise ConversionError(
            f"the architecture is {kind!r}",
            where=f"{where} (general.architecture)",
            expected="'llama'",
            fix="take a model of the LLaMA family",
        )

    def number(name: str, default: Any = None, kind: type = int) -> Any:
        """A field above 0; what is missing is `default`, which may be 0."""
        value = fields.get(f"llama.{name}", default)
        right = isinstance(value, (int, kind)) and not isinstance(value, bool)
        if right and (0 < value < math.inf or value == default):
            return value
        raise ConversionError(
            f"the metadata has no llama.{name}"
            if value is None
            else f"llama.{name} is {str(value)[:100]!r}",
            where=where,
            expected=f"a {'whole ' if kind is int else ''}number above 0, as llama.cpp writes it",
            fix="convert the model to GGUF again with a current llama.cpp",
        )

    heads, width = number("attention.head_count"), number("embedding_length")
    head_dim = number("attention.key_length", width // heads)
    for field, allowed in (
        ("expert_count", 0),
        ("rope.dimension_count", head_dim),
        ("attention.value_length", head_dim),
    ):
        if number(field, allowed) != allowed:
            raise ConversionError(
                f"llama.{field} is {number(field)}",
                where=where,
                expected=f"{allowed}",
                fix="this variant has no counterpart here; take a model without it",
            )
    theta = float(number("rope.freq_base", 10000.0, float))
    llm = LlamaConfig(
        vocab_size=source.specs["token_embd.weight"].shape[0]
        if "token_embd.weight" in source.specs
        else number("vocab_size"),
        width=width,
        layers=number("block_count"),
        heads=heads,
        kv_heads=number("attention.head_count_kv", heads),
        mlp_width=number("feed_forward_length"),
        max_positions=number("context_length"),
        norm_eps=_rounded(number("attention.layer_norm_rms_epsilon", kind=float)),
        head_dim=0 if head_dim * heads == width else head_dim,
        rope_theta=theta,
        rope_scaling=_scaling(source, head_dim, theta),
        attention_bias="blk.0.attn_q.bias" in source.specs,
        mlp_bias="blk.0.ffn_gate.bias" in source.specs,
        tie_embeddings="output.weight" not in source.specs,
    )
    model = ModelConfig(
        preset=str(fields.get("general.name", "gguf")),
        llm=llm,
        qformer_sees_instruction=False,
        image_token_id=llm.vocab_size - 1,
        lora=LoraConfig(),
        dtype="float32",
        remat="none",
    )
    return config_json.run_of(model, "language", "base", where)


def _rounded(value: float) -> float:
    """The number that was meant by one stored in float32: 1e-05, not 9.99999974737875e-06."""
    return float(str(np.float32(value)))


def _scaling(source: GgufFile, head_dim: int, theta: float) -> RopeScaling:
    """Linear scaling is named in the metadata; Llama 3's is a tensor of factors.

    Raises:
        ConversionError: another kind, or factors that no published Llama 3 has.
    """
    kind = source.fields.get("llama.rope.scaling.type", "none")
    if kind == "linear":
        factor = source.fields.get("llama.rope.scaling.factor")
        if isinstance(factor, int | float) and 0 < factor < math.inf:
            return RopeScaling("linear", float(factor))
        kind = f"linear with the factor {factor}"
    if kind == "none" and _FACTORS not in source.specs:
        return RopeScaling()
    if kind == "none":
        factors = source.read(_FACTORS).reshape(-1)
        scaling = RopeScaling("llama3", float(factors.max()))  # 1, 4 and 8192, as in all releases
        if len(factors) == head_dim // 2 and 0 < scaling.factor < math.inf:
            plain, scaled = (
                np.asarray(rope_frequencies(head_dim, theta, how))
                for how in (RopeScaling(), scaling)
            )
            if np.allclose(plain / scaled, factors, rtol=1e-3):
                return scaling
        kind = "given by factors other than those of Llama 3"
    raise ConversionError(
        f"rotary scaling is {kind}",
        where=source.where,
        expected="none, linear, or the factors of Llama 3",
        fix="convert the model from its Hugging Face directory instead",
    )
