"""The three libraries' ways to hold a vocabulary, behind one interface that `tokenizers.py` uses.

Each class has `vocab_size`, `special` (ids by the words unk, bos, eos, pad, cls, sep, dec, as far
as there are such tokens; unk and pad always), `encode`, `decode`, `name` and `can_produce`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType

from zv_jax.errors import DataError, EnvironmentProblem


class SentencePiece:
    """A `.model` file in the layout of LLaMA."""

    def __init__(self, data: bytes, where: str):
        import sentencepiece

        try:
            model = sentencepiece.SentencePieceProcessor(model_proto=data)
        except RuntimeError as error:
            raise DataError(
                f"not a SentencePiece model: {error}",
                where=where,
                expected="a file trained by SentencePiece",
                fix="check the path, or set kind to bert for a vocab.txt",
            ) from None
        self._model = model
        self.vocab_size = model.vocab_size()
        names = {model.id_to_piece(i): i for i in range(min(64, self.vocab_size))}
        pad = names.get("[PAD]", model.pad_id() if model.pad_id() >= 0 else model.unk_id())
        self.special = {
            "unk": model.unk_id(),
            "bos": model.bos_id(),
            "eos": model.eos_id(),
            "pad": pad,
        }
        for key in ("cls", "sep", "dec"):
            if f"[{key.upper()}]" in names:
                self.special[key] = names[f"[{key.upper()}]"]

    def encode(self, text: str) -> Sequence[int]:
        return self._model.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        return self._model.decode(ids)

    def name(self, token: int) -> str:
        return self._model.id_to_piece(token)

    def can_produce(self, token: int) -> bool:
        return not (self._model.is_control(token) or self._model.is_unused(token))


class WordPiece:
    """A `vocab.txt` of BERT, one piece per line."""

    def __init__(self, data: bytes, where: str, lowercase: bool):
        library = _library(where)
        vocab = {piece: i for i, piece in enumerate(pieces(data))}
        missing = [p for p in ("[PAD]", "[UNK]", "[CLS]", "[SEP]") if p not in vocab]
        if missing:
            raise _lacks(missing, where, "a vocab.txt of BERT, one piece per line")
        self._model = library.BertWordPieceTokenizer(vocab, lowercase=lowercase)
        # As BLIP-2 does, [DEC] starts a generated caption and comes after all pieces.
        dec = vocab.get("[DEC]", len(vocab))
        self.vocab_size = max(len(vocab), dec + 1)
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
        return self._model.id_to_token(token) or "[DEC]"  # which need not be in the file

    def can_produce(self, token: int) -> bool:
        return token not in self.special.values()


class Json:
    """A `tokenizer.json`, with the names of the special tokens that `tokenizer_config.json` has."""

    def __init__(self, data: bytes, where: str, names: Mapping[str, str]):
        library = _library(where)
        try:
            model = library.Tokenizer.from_buffer(data)
        except ValueError as error:
            raise DataError(
                f"not a tokenizer.json: {error}",
                where=where,
                expected="a file written by the library `tokenizers`",
                fix="check the path and the kind",
            ) from None
        model.encode_special_tokens = True  # text that spells a special token is text
        self._model = model
        vocab = model.get_vocab(with_added_tokens=True)
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
        return self._model.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        return self._model.decode(ids)

    def name(self, token: int) -> str:
        return self._model.id_to_token(token)

    def can_produce(self, token: int) -> bool:
        return token not in self._never and self._model.id_to_token(token) is not None


def pieces(data: bytes) -> list[str]:
    """The pieces of a vocab.txt."""
    lines = data.decode("utf-8").split("\n")
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
        raise EnvironmentProblem(
            "this tokenizer needs the package `tokenizers`",
            where=where,
            expected="tokenizers installed",
            fix='pip install "zv_jax[tokenizers]"',
        ) from None
    return tokenizers
