"""GGUF headers that claim more than their file can hold, and metadata of the wrong kinds.

The walk of the header needs no package; the configuration is read from what a file would hold.
"""

import struct
from types import SimpleNamespace

import numpy as np
import pytest

from zv_jax.convert import gguf, gguf_header, gguf_tokenizer
from zv_jax.convert.sources import Spec
from zv_jax.errors import ConversionError

UINT8, UINT32, STRING, ARRAY, UINT64 = 0, 4, 8, 9, 10


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def field(name: str, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def array(kind: int, count: int, values: bytes = b"") -> bytes:
    return struct.pack("<IQ", kind, count) + values


def tensor(name: str, *shape: int) -> bytes:
    axes = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return text(name) + axes + struct.pack("<IQ", 0, 0)


def header(fields=(), tensors=(), counts=None, magic=b"GGUF", version=3) -> bytes:
    tensor_count, field_count = counts or (len(tensors), len(fields))
    start = magic + struct.pack("<IQQ", version, tensor_count, field_count)
    return start + b"".join((*fields, *tensors))


@pytest.fixture
def check(tmp_path):
    """`check(data)` walks a file with those bytes."""

    def run(data: bytes) -> None:
        (tmp_path / "x.gguf").write_bytes(data)
        gguf_header.check(tmp_path / "x.gguf")

    return run


def test_a_sound_header_passes(check):
    words = array(STRING, 2, text("图") + text("cat"))
    check(
        header(
            [field("a", UINT32, struct.pack("<I", 3)), field("words", ARRAY, words)],
            [tensor("t", 2, 4)],
        )
        + bytes(32)
    )


def test_a_sound_header_of_the_other_byte_order_passes(check):
    check(b"GGUF" + struct.pack(">IQQ", 3, 0, 1) + struct.pack(">Q", 1) + b"a" + bytes(4) + b"\7")


@pytest.mark.parametrize(
    "data, says",
    [
        (header([field("a", ARRAY, array(UINT8, 1 << 40))]), "1099511627776 values of an array"),
        (header([field("a", ARRAY, array(STRING, 1 << 40))]), "values of an array"),
        (header([field("a", ARRAY, array(UINT64, 9, bytes(64)))]), "values of an array"),
        (header([field("a", ARRAY, array(ARRAY, 1, array(UINT8, 1, b"x")))]), "arrays of arrays"),
        (header([field("a", ARRAY, array(99, 0))]), "no type 99"),
        (header([field("a", STRING, struct.pack("<Q", 1 << 60))]), "ends too early"),
        (header([field("a", 77, b"")]), "no type 77"),
        (header(counts=(0, 1 << 62)), "claims 4611686018427387904 fields"),
        (header(counts=(1 << 62, 0)), "claims 4611686018427387904 tensors"),
        (header(tensors=[tensor("t", 1 << 40, 1 << 40)]), "more than it can hold"),
        (header(tensors=[tensor("t", 1 << 60, 0)]), "a tensor is empty"),
        (header(tensors=[tensor("t", *[1] * 5)]), "5 axes"),
        (header(tensors=[tensor("t") + bytes(32)]), "0 axes"),
        (header(version=1), "version 1"),
        (header(magic=b"GGML"), "does not begin"),
        (b"GG", "ends too early"),
        (b"", "ends too early"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_file_cannot_hold_is_refused_before_it_is_read(check, data, says):
    with pytest.raises(ValueError, match=says):
        check(data)


def test_arrays_have_a_bound_of_their_own(check, monkeypatch):
    """The package holds each value as an array: some 200 bytes for a byte of the file."""
    monkeypatch.setattr(gguf_header, "MAX_VALUES", 10)
    fields = [field(name, ARRAY, array(UINT8, 6, bytes(6))) for name in "ab"]
    with pytest.raises(ValueError, match="more than 10 values"):
        check(header(fields))


# --- kinds of the metadata ------------------------------------------------------------------------

FIELDS = {
    "general.architecture": "llama",
    "llama.context_length": 128,
    "llama.embedding_length": 64,
    "llama.block_count": 2,
    "llama.feed_forward_length": 96,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
}


def read_config(**changes):
    specs = {"token_embd.weight": Spec((300, 64), np.dtype(np.float32))}
    fields = {**FIELDS, **{f"llama.{name}": value for name, value in changes.items()}}
    return gguf.read_config(SimpleNamespace(fields=fields, specs=specs, where="x.gguf"))


def test_sound_metadata_are_read():
    assert read_config().model.llm.kv_heads == 2
    assert read_config(expert_count=0).model.llm.layers == 2


@pytest.mark.parametrize(
    "name",
    [
        "context_length",
        "embedding_length",
        "block_count",
        "feed_forward_length",
        "attention.head_count",
        "attention.head_count_kv",
        "attention.key_length",
        "attention.layer_norm_rms_epsilon",
        "rope.freq_base",
    ],
)
@pytest.mark.parametrize("value", [0, -1, "text", [4, 4], True, 10**18, float("nan"), None])
def test_metadata_that_no_model_has_are_one_error(name, value):
    if value == 10**18 and name in ("attention.layer_norm_rms_epsilon", "rope.freq_base"):
        return  # a number as any other there
    if value is None and name in ("attention.head_count_kv", "attention.key_length"):
        return  # as if it were missing
    with pytest.raises(ConversionError) as caught:
        read_config(**{name: value})
    assert "x.gguf" in caught.value.where


PIECES = ["<unk>", "<s>", "</s>", "a", *(f"<0x{i:02X}>" for i in range(256))]
SIZE = len(PIECES)
SENTENCE_PIECE = {
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": PIECES,
    "tokenizer.ggml.scores": [-1.0] * SIZE,
    "tokenizer.ggml.token_type": [2, 3, 3, 1, *[6] * 256],
}


def test_a_sound_vocabulary_is_read():
    assert gguf_tokenizer.read_tokenizer(SENTENCE_PIECE, "x.gguf").vocab_size == SIZE


@pytest.mark.parametrize(
    "changes",
    [
        {"tokens": 5},
        {"tokens": "text"},
        {"tokens": [7] * SIZE},
        {"tokens": []},
        {"scores": [0.0]},
        {"scores": ["a"] * SIZE},
        {"token_type": [99] * SIZE},
        {"token_type": None},
        {"bos_token_id": SIZE},
        {"eos_token_id": -1},
        {"unknown_token_id": "0"},
        {"model": ["llama"]},
        {"model": "gpt2"},
        {"model": "gpt2", "pre": ["gpt-2"]},
        {"model": "gpt2", "merges": 5},
        {"model": "gpt2", "merges": [], "bos_token_id": SIZE},
    ],
    ids=lambda changes: " ".join(changes),
)
def test_vocabularies_of_the_wrong_kinds_are_one_error(changes):
    fields = SENTENCE_PIECE | {f"tokenizer.ggml.{name}": value for name, value in changes.items()}
    with pytest.raises(ConversionError):
        gguf_tokenizer.read_tokenizer(fields, "x.gguf")
