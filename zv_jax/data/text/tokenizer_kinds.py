"""The three libraries' ways to hold a vocabulary, behind one interface that `tokenizers.py` uses.

Each class has `vocab_size`, `special` (ids by the words unk, bos, eos, pad, cls, sep, dec, as far
as there are such tokens; unk and pad always), `encode`, `decode`, `name`, `token` (the id with a
name, or None), `spelling` and `can_produce`.

In none of them a text produces a special id, whatever it spells: what a user types ends no answer
and separates nothing. (The unknown token is the exception: it stands for what a vocabulary lacks.)
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any

from zv_jax import json_input
from zv_jax.data.text import tokenizer_checks as checks
from zv_jax.errors import DataError, SetupError


class SentencePiece:
    """A `.model` file in the layout of LLaMA."""

    def __init__(self, data: bytes, where: str):
        import sentencepiece
        from google.protobuf.message import DecodeError
        from sentencepiece import sentencepiece_model_pb2 as messages

        try:
            model = sentencepiece.SentencePieceProcessor(model_proto=data)
            proto = messages.ModelProto.FromString(data)  # what exports read
            if not any(p.type == messages.ModelProto.SentencePiece.NORMAL for p in proto.pieces):
                raise RuntimeError("it has no piece of text")
            checks.check_charsmap(proto.normalizer_spec.precompiled_charsmap)
            checks.check_charsmap(proto.denormalizer_spec.precompiled_charsmap)
            # All of them: one that is not UTF-8 would end a run when a text is decoded.
            every = [model.id_to_piece(i) for i in range(model.vocab_size())]
        except (RuntimeError, ValueError, DecodeError) as error:
            raise DataError(
                f"not a SentencePiece model: {error}",
                where=where,
                expected="a file trained by SentencePiece",
                fix="check the path, or set kind to bert for a vocab.txt",
            ) from None
        self.vocab_size = len(every)
        names = {piece: i for i, piece in enumerate(every[:64])}
        own = dict(unk=model.unk_id(), bos=model.bos_id(), eos=model.eos_id(), pad=model.pad_id())
        own |= {k: names[_name(k)] for k in ("pad", "cls", "sep", "dec") if _name(k) in names}
        self.special = {key: i for key, i in own.items() if i >= 0}  # -1: made without it
        if "unk" not in self.special:
            raise DataError(
                "the SentencePiece model has no unknown piece",
                where=where,
                expected="a model trained with unk_id=0, as LLaMA's",
                fix="train it again without --unk_id=-1",
            )
        self.special.setdefault("pad", self.special["unk"])
        self._model = _controlled(model, data, self.special.values())

    def encode(self, text: str) -> Sequence[int]:
        return self._model.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        return self._model.decode(ids)

    def name(self, token: int) -> str:
        return self._model.id_to_piece(token)

    def token(self, name: str) -> int | None:
        found = self._model.piece_to_id(name)
        return found if self.name(found) == name else None

    def spelling(self, token: int) -> bytes:
        return _spelled(self.name(token))

    def can_produce(self, token: int) -> bool:
        return not (self._model.is_control(token) or self._model.is_unused(token))


def _controlled(model: Any, data: bytes, special: Iterable[int]) -> Any:
    """`model` with its special pieces as control pieces, which no text produces. Some are made with
    them as user-defined ones, which every text that spells them produces."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2 as messages

    plain = [i for i in special if not (model.is_control(i) or model.is_unknown(i))]
    if not plain:
        return model
    proto = messages.ModelProto.FromString(data)
    for i in plain:
        proto.pieces[i].type = messages.ModelProto.SentencePiece.CONTROL
    return sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())


def _name(key: str) -> str:
    return f"[{key.upper()}]"


class WordPiece:
    """A `vocab.txt` of BERT, one piece per line; of equal lines the last counts, as there."""

    def __init__(self, data: bytes, where: str, lowercase: bool):
        library = _library(where)
        self._pieces = pieces(data, where)
        vocab = {piece: i for i, piece in enumerate(self._pieces)}
        missing = [p for p in ("[PAD]", "[UNK]", "[CLS]", "[SEP]") if p not in vocab]
        if missing:
            raise _lacks(missing, where, "a vocab.txt of BERT, one piece per line")
        # The library's BertWordPieceTokenizer would find "[SEP]" in a text; this one splits it.
        self._model = library.Tokenizer(library.models.WordPiece(vocab, unk_token="[UNK]"))
        self._model.normalizer = library.normalizers.BertNormalizer(lowercase=lowercase)
        self._model.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
        self._model.decoder = library.decoders.WordPiece()
        # As BLIP-2 does, [DEC] starts a generated caption and comes after all pieces.
        dec = vocab.get("[DEC]", len(self._pieces))
        self.vocab_size = max(len(self._pieces), dec + 1)
        self.special = {
            "unk": vocab["[UNK]"],
            "bos": dec,
            "eos": vocab["[SEP]"],
            "pad": vocab["[PAD]"],
            "cls": vocab["[CLS]"],
            "sep": vocab["[SEP]"],
            "dec": dec,
        }

    def encode(self, text: str) -> Sequence[int]:
        return self._model.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        return self._model.decode(ids)

    def name(self, token: int) -> str:
        # [DEC] need not be in the file.
        return self._pieces[token] if token < len(self._pieces) else "[DEC]"

    def token(self, name: str) -> int | None:
        return self.special["dec"] if name == "[DEC]" else self._model.token_to_id(name)

    def spelling(self, token: int) -> bytes:
        name = self.name(token)
        return (name[2:] if name.startswith("##") else f" {name}").encode()

    def can_produce(self, token: int) -> bool:
        # Brackets are split off before pieces are looked for, so no "[MASK]" is reached either.
        return not (token in self.special.values() or re.fullmatch(r"\[.+\]", self.name(token)))


class Json:
    """A `tokenizer.json`, with the names of the special tokens that `tokenizer_config.json` has."""

    def __init__(self, data: bytes, where: str, names: Mapping[str, str]):
        library = _library(where)
        checks.check(data, where)
        self._where = where
        with checks.library(where, "not a tokenizer.json"):
            model = library.Tokenizer.from_buffer(data)
            vocab = model.get_vocab(with_added_tokens=True)
        checks.check_ids(vocab, where)
        self._byte_level = '"ByteLevel"' in json.dumps(json.loads(data).get("decoder"))
        model.encode_special_tokens = True  # text that spells a special token is text
        # Rows are cut and filled here; a file may ask for both, and would do so without a word.
        model.no_truncation()
        model.no_padding()
        self._model = model
        self.vocab_size = max(vocab.values()) + 1
        missing = [name for name in names.values() if name not in vocab]
        if missing:
            raise _lacks(missing, where, "every special token that tokenizer_config.json names")
        self.special = {key: vocab[name] for key, name in names.items()}
        if "[DEC]" in vocab:
            self.special["dec"] = vocab["[DEC]"]
        added = model.get_added_tokens_decoder().items()
        self._never = {i for i, token in added if token.special} | set(self.special.values())
        # Some vocabularies name no padding; then any token serves that no text produces.
        others = ("eos", "unk", "bos", "sep")
        spare = next((self.special[key] for key in others if key in self.special), 0)
        self.special.setdefault("pad", spare)
        self.special.setdefault("unk", self.special["pad"])

    def encode(self, text: str) -> Sequence[int]:
        with checks.library(self._where, "the tokenizer cannot encode a text"):
            return self._ids(text)

    def _ids(self, text: str) -> Sequence[int]:
        found = self._model.encode(text, add_special_tokens=False)
        if self._never.isdisjoint(found.ids):
            return found.ids
        # A special token may be a piece or a plain added token of the file, too; then a text that
        # spells it is cut inside the name. A single character that is one is left out.
        spans = [
            span
            for token, span in zip(found.ids, found.offsets, strict=True)
            if token in self._never and self._spells(text[slice(*span)], token)
        ]
        if not spans:  # unknown characters
            return found.ids
        ends = [*((start + end) // 2 for start, end in spans), len(text)]
        starts = [0, *((start + end) // 2 if end - start > 1 else end for start, end in spans)]
        return [i for a, b in zip(starts, ends, strict=True) for i in self._ids(text[a:b])]

    def _spells(self, part: str, token: int) -> bool:
        normalizer = self._model.normalizer
        return self.name(token) in (normalizer.normalize_str(part) if normalizer else part)

    def decode(self, ids: Sequence[int]) -> str:
        with checks.library(self._where, "the tokenizer cannot decode its own ids"):
            return self._model.decode(ids)

    def name(self, token: int) -> str:
        return self._model.id_to_token(token)

    def token(self, name: str) -> int | None:
        return self._model.token_to_id(name)

    def spelling(self, token: int) -> bytes:
        name, table = self.name(token) or "", _byte_letters()
        if self._byte_level and all(letter in table for letter in name):
            return bytes(table[letter] for letter in name)
        return _spelled(name)

    def can_produce(self, token: int) -> bool:
        return token not in self._never and self._model.id_to_token(token) is not None


def _spelled(piece: str) -> bytes:
    """The bytes of a piece of SentencePiece, which writes blanks as U+2581 and a byte as <0xE5>."""
    byte = re.fullmatch("<0x([0-9A-F]{2})>", piece)
    return bytes.fromhex(byte[1]) if byte else piece.replace("\u2581", " ").encode()


@functools.cache
def _byte_letters() -> dict[str, int]:
    """The byte of each letter of a byte-level vocabulary, as GPT-2 numbers them: printable bytes of
    Latin-1 are themselves, and the others follow from U+0100 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}


def pieces(data: bytes, where: str = "vocab.txt") -> list[str]:
    """The pieces of a vocab.txt.

    Raises:
        DataError: it is not UTF-8.
    """
    try:
        lines = data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        line = f"{where}, line {data[: error.start].count(10) + 1}"
        raise json_input.not_utf8(data, line) from None
    if not lines[-1]:
        lines.pop()
    return [line.rstrip("\r") for line in lines]


def _lacks(missing: Sequence[str], where: str, expected: str) -> DataError:
    return DataError(
        f"the vocabulary lacks {', '.join(missing)}",
        where=where,
        expected=expected,
        fix="check the path and the kind, and take all files from the same model",
    )


def _library(where: str) -> ModuleType:
    try:
        import tokenizers
    except ImportError:
        raise SetupError(
            "this tokenizer needs the package `tokenizers`",
            where=where,
            expected="tokenizers installed",
            fix='pip install -e ".[tokenizers]"',
        ) from None
    return tokenizers
