"""Chinese for vocabularies that know little of it: BERT's for the Q-Former, LLaMA's for the LLM.

Ids that exist stay, new pieces follow, so that pre-trained embeddings keep their rows. This is what
Ziya-LLaMA did to LLaMA's SentencePiece model (32,000 pieces and some 7,400 Chinese characters), and
what a BLIP-2 Q-Former needs before it can read Chinese: the English BERT vocabulary has few Chinese
characters, and every other one becomes [UNK].
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from zv_jax.data.text.tokenizer_kinds import pieces as bert_pieces
from zv_jax.errors import ConfigError, DataError

HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]")
# Lead bytes of the two-byte codes of national standards, each with all its trail bytes: all of
# GB 2312 (6,763 simplified characters), and the frequent ones of Big5 (5,401 traditional).
STANDARDS = {"gb2312": range(0xB0, 0xF8), "big5": range(0xA4, 0xC7)}


def characters(name: str) -> list[str]:
    """Chinese characters of a national standard in its order, or of a UTF-8 file without repeats.

    Args:
        name: "gb2312", "big5", or the path of a file; what is no Chinese character is skipped.

    Raises:
        ConfigError: neither a standard nor a file.
        DataError: the file is not UTF-8 or has no Chinese character.
    """
    if name in STANDARDS:
        codes = (bytes((lead, trail)) for lead in STANDARDS[name] for trail in range(0x40, 0xFF))
        return [c for code in codes for c in code.decode(name, "ignore") if HAN.fullmatch(c)]
    path = Path(name)
    if not path.is_file():
        raise ConfigError(
            f"there are no characters {name!r}",
            where="--characters",
            expected="a file, or one of " + ", ".join(STANDARDS),
            fix="--characters=gb2312",
        )
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8: {error}", where=name, fix="save the file as UTF-8") from None
    found = list(dict.fromkeys(HAN.findall(text)))
    if not found:
        raise DataError(
            "no Chinese character in the file", where=name, expected="the characters to add"
        )
    return found


def union(vocabulary: bytes, wanted: Iterable[str]) -> bytes:
    """A `vocab.txt` with [DEC] behind its own pieces and then the wanted characters it lacks.

    BERT splits Chinese into single characters before it looks for pieces, so "##" forms would never
    be used and none are added.
    """
    have = bert_pieces(vocabulary)
    new = [piece for piece in ("[DEC]", *wanted) if piece not in set(have)]
    return "".join(piece + "\n" for piece in (*have, *dict.fromkeys(new))).encode()


def extend(model: bytes, pieces: Sequence[str], where: str = "tokenizer.model") -> bytes:
    """A SentencePiece model with the `pieces` it lacks, in their order.

    A new byte-pair piece is merged after all others; a new unigram piece counts as rare as the
    rarest. Both come before falling back to bytes.

    Raises:
        DataError: not a SentencePiece model, or a piece is empty or holds a space or control
            character.
    """
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2 as messages

    kind = messages.ModelProto.SentencePiece
    try:
        proto = messages.ModelProto.FromString(model)
        have = {piece.piece for piece in proto.pieces}
        lowest = min(piece.score for piece in proto.pieces if piece.type == kind.NORMAL)
    except (DecodeError, ValueError) as error:
        raise DataError(
            f"not a SentencePiece model: {error}",
            where=where,
            expected="a file trained by SentencePiece",
            fix="check the path",
        ) from None
    step = 1.0 if proto.trainer_spec.model_type == messages.TrainerSpec.BPE else 0.0
    for piece in pieces:
        if not piece or not piece.isprintable() or " " in piece:
            raise DataError(
                f"{piece!r} cannot be a piece",
                where=where,
                expected="printable characters without spaces",
                fix="remove it from the list of pieces",
            )
        if piece not in have:
            have.add(piece)
            lowest -= step
            proto.pieces.add(piece=piece, score=lowest, type=kind.NORMAL)
    proto.trainer_spec.vocab_size = len(proto.pieces)
    return proto.SerializeToString(deterministic=True)
