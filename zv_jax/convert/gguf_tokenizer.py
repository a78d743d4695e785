"""The tokenizer inside a GGUF file, as one of ours.

Files made from SentencePiece hold its pieces with their scores: that gives the model back. Files
made from byte-level BPE hold pieces, merges and the name of a rule that splits text into words
first; the rules are those of the models' own tokenizer.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.errors import ConversionError

_NAMES = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
_CONTROL, _USER_DEFINED = 3, 4  # types of pieces, as in SentencePiece
_LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _bytes(use_regex: bool) -> dict[str, Any]:
    return dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=use_regex)


def _words(pattern: str) -> dict[str, Any]:
    return dict(type="Split", pattern={"Regex": pattern}, behavior="Isolated", invert=False)


_SPLITTERS: dict[str, list[dict[str, Any]]] = {
    "gpt-2": [_bytes(True)],
    "smollm": [{"type": "Digits", "individual_digits": True}, _bytes(True)],
    "llama-bpe": [_words(_LLAMA_3), _bytes(False)],
}


def read_tokenizer(fields: Mapping[str, Any], where: str) -> Tokenizer:
    """The tokenizer that the metadata of a GGUF file describes.

    Args:
        fields: the metadata as Python values.
        where: the file, for messages.

    Raises:
        ConversionError: it has none, one of a kind that is not known here, or one whose fields do
            not fit each other.
    """
    try:
        return _read(fields, where)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise ConversionError(
            f"its tokenizer is damaged: {error!s:.200}",
            where=where,
            expected="pieces, scores, types and merges as llama.cpp writes them",
            fix="give the model's own tokenizer: --tokenizer=FILE",
        ) from None


def _read(fields: Mapping[str, Any], where: str) -> Tokenizer:
    kind = fields.get("tokenizer.ggml.model")
    if kind == "llama":
        return Tokenizer("sentencepiece", _sentence_piece(fields), where)
    splitter = str(fields.get("tokenizer.ggml.pre", "gpt-2"))
    if kind != "gpt2" or splitter not in _SPLITTERS:
        found = f"{splitter!r}" if kind == "gpt2" else f"of the kind {kind!r}"
        raise ConversionError(
            f"its tokenizer is {found}" if kind else "it has no tokenizer",
            where=where,
            expected="llama (SentencePiece), or BPE with one of " + ", ".join(_SPLITTERS),
            fix="give the model's own tokenizer: --tokenizer=FILE",
        )
    pieces = _pieces(fields)
    special = {
        key: pieces[_id(fields, name, pieces)]
        for key, name in _NAMES.items()
        if f"tokenizer.ggml.{name}_token_id" in fields
    }
    body = json.dumps(_byte_level(fields, splitter), ensure_ascii=False)
    return Tokenizer("hf", body.encode(), where, special=special)


def _pieces(fields: Mapping[str, Any]) -> list[str]:
    pieces = fields["tokenizer.ggml.tokens"]
    if not (isinstance(pieces, list) and pieces and all(isinstance(p, str) for p in pieces)):
        raise ValueError("tokenizer.ggml.tokens is no list of texts")
    return pieces


def _id(fields: Mapping[str, Any], name: str, of: Sequence[Any], default: int = 0) -> int:
    """The id of a special token, which is one of the vocabulary's."""
    found = fields.get(f"tokenizer.ggml.{name}_token_id", default)
    if not (isinstance(found, int) and 0 <= found < len(of)):
        raise ValueError(f"tokenizer.ggml.{name}_token_id is {found!r}, of {len(of)} pieces")
    return found


def _sentence_piece(fields: Mapping[str, Any]) -> bytes:
    from sentencepiece import sentencepiece_model_pb2 as messages

    proto = messages.ModelProto()
    for piece, score, kind in zip(
        _pieces(fields),
        fields["tokenizer.ggml.scores"],
        fields["tokenizer.ggml.token_type"],
        strict=True,
    ):
        proto.pieces.add(piece=piece, score=score, type=kind)
    spec = proto.trainer_spec
    spec.model_type = messages.TrainerSpec.BPE
    spec.byte_fallback = True
    spec.vocab_size = len(proto.pieces)
    spec.unk_id = _id(fields, "unknown", proto.pieces)
    for name in ("bos", "eos"):
        i = _id(fields, name, proto.pieces, 1 if name == "bos" else 2)
        setattr(spec, f"{name}_id", i)
        setattr(spec, f"{name}_piece", proto.pieces[i].piece)
    spec.pad_id = -1
    proto.normalizer_spec.name = "identity"
    proto.normalizer_spec.remove_extra_whitespaces = False
    proto.normalizer_spec.add_dummy_prefix = bool(
        fields.get("tokenizer.ggml.add_space_prefix", True)
    )
    return proto.SerializeToString(deterministic=True)


def _byte_level(fields: Mapping[str, Any], splitter: str) -> dict[str, Any]:
    pieces, kinds = _pieces(fields), fields["tokenizer.ggml.token_type"]
    flags = dict(single_word=False, lstrip=False, rstrip=False, normalized=False)
    added = [
        {"id": i, "content": piece, "special": kind == _CONTROL, **flags}
        for i, (piece, kind) in enumerate(zip(pieces, kinds, strict=True))
        if kind in (_CONTROL, _USER_DEFINED)
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": _SPLITTERS[splitter]},
        "post_processor": None,
        "decoder": _bytes(True),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            # A word that is a piece stays whole, as in tiktoken, which Llama 3 was trained with.
            "ignore_merges": splitter == "llama-bpe",
            "vocab": {piece: i for i, piece in enumerate(pieces)},
            "merges": [merge.split(" ", 1) for merge in fields["tokenizer.ggml.merges"]],
        },
    }
