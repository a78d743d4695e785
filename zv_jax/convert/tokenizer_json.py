"""Our tokenizers as the files Hugging Face reads: `tokenizer.json` and `tokenizer_config.json`.

The ids are those of our own tokenizer. A SentencePiece model becomes what the library `tokenizers`
computes the same way: unigram pieces with their scores, or byte-pair merges in the order of the
scores, as the converter of transformers derives them. One difference is deliberate: a special token
spelled out in a text is that token there, as everywhere in that library; ours never reads one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from zv_jax.data.text.tokenizer_kinds import pieces as bert_pieces
from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.errors import ConversionError

SPACE = "\u2581"  # SentencePiece writes a space so


def hf_files(
    tokenizer: Tokenizer,
    added: Mapping[str, int] | None = None,
    *,
    qformer: bool = False,
    bos: bool = True,
    **config: object,
) -> dict[str, str]:
    """The two files, by name.

    Args:
        tokenizer: of any kind.
        added: special tokens beyond its vocabulary and their ids ("<image>": 39411); ids between
            are filled with reserved tokens, since there every id has a token.
        qformer: a text becomes [CLS] text [SEP] instead of <s> text.
        bos: whether a text of the language model begins with <s>.
        config: more fields of `tokenizer_config.json`.

    Raises:
        ConversionError: the SentencePiece model does what `tokenizers` cannot express, or an added
            token has the name or the id of another.
        ConfigError: the tokenizer lacks a special token that rows start or end with.
    """
    if tokenizer.kind == "hf":
        body = json.loads(tokenizer.data) | {"truncation": None, "padding": None}
    elif tokenizer.kind == "bert":
        body = _word_piece(tokenizer)
    else:
        body = _sentence_piece(tokenizer)
    names = tokenizer.special_names(qformer)
    tokens = {token["content"]: token for token in body["added_tokens"]}
    tokens |= _special({name: i for name, i in names.values() if name not in tokens})
    new = {name: i for name, i in (added or {}).items() if tokens.get(name, {}).get("id") != i}
    for name, i in new.items():
        if name in tokens or i < tokenizer.vocab_size:
            raise ConversionError(
                f"{name} cannot have the id {i}: the vocabulary has the token or the id already",
                where=tokenizer.where,
                expected=f"a token of its own, with an id from {tokenizer.vocab_size} on",
                fix="take a tokenizer with fewer pieces, or another name or id",
            )
    tokens |= _special(_filled(new, tokenizer.vocab_size))
    body["added_tokens"] = sorted(tokens.values(), key=lambda token: token["id"])
    # What our own rows start with, whatever the authors of a tokenizer.json had in mind.
    body["post_processor"] = _template(names, qformer, bos)
    about = {
        # Reads the file as it is; the classes of single models rebuild parts of it.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "padding_side": "right" if qformer else "left",
        **{f"{key}_token": name for key, (name, _) in names.items()},
        **config,
    }
    return {
        "tokenizer.json": json.dumps(body, ensure_ascii=False, indent=1),
        "tokenizer_config.json": json.dumps(about, ensure_ascii=False, indent=2),
    }


def _special(ids: Mapping[str, int]) -> dict[str, dict]:
    flags = dict(single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
    return {name: {"id": i, "content": name, **flags} for name, i in ids.items()}


def _filled(added: Mapping[str, int], size: int) -> dict[str, int]:
    """`added` and a token for each id between the vocabulary and its largest id."""
    taken = {i: name for name, i in added.items()}
    end = max(taken, default=size - 1) + 1
    return {taken.get(i, f"<reserved_{i}>"): i for i in range(size, end)} | dict(added)


def _template(names: Mapping[str, tuple[str, int]], qformer: bool, bos: bool) -> dict:
    def special(key: str, part: int = 0) -> dict:
        return {"SpecialToken": {"id": names[key][0], "type_id": part}}

    def text(name: str, part: int = 0) -> dict:
        return {"Sequence": {"id": name, "type_id": part}}

    if qformer:
        single = [special("cls"), text("A"), special("sep")]
        pair = [*single, text("B", 1), special("sep", 1)]
    else:
        single = [special("bos"), text("A")] if bos else [text("A")]
        pair = [*single, *([special("bos", 1)] if bos else []), text("B", 1)]
    used = ("cls", "sep") if qformer else ("bos",) * bos
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": pair,
        "special_tokens": {
            name: {"id": name, "ids": [i], "tokens": [name]}
            for name, i in (names[key] for key in used)
        },
    }


def _body(normalizer: dict | None, pre: dict | None, model: dict, decoder: dict) -> dict:
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": normalizer,
        "pre_tokenizer": pre,
        "post_processor": None,
        "decoder": decoder,
        "model": model,
    }


def _word_piece(tokenizer: Tokenizer) -> dict:
    normalizer = dict(
        type="BertNormalizer",
        clean_text=True,
        handle_chinese_chars=True,
        strip_accents=None,
        lowercase=tokenizer.lowercase,
    )
    model = dict(
        type="WordPiece",
        unk_token="[UNK]",
        continuing_subword_prefix="##",
        max_input_chars_per_word=100,
        vocab={piece: i for i, piece in enumerate(bert_pieces(tokenizer.data, tokenizer.where))},
    )
    decoder = dict(type="WordPiece", prefix="##", cleanup=True)
    return _body(normalizer, {"type": "BertPreTokenizer"}, model, decoder)


# --- SentencePiece --------------------------------------------------------------------------------


def _sentence_piece(tokenizer: Tokenizer) -> dict:
    from sentencepiece import sentencepiece_model_pb2 as messages

    proto = messages.ModelProto.FromString(tokenizer.data)
    _check(proto, tokenizer)
    unigram = proto.trainer_spec.model_type == messages.TrainerSpec.UNIGRAM
    model = _unigram(proto.pieces) if unigram else _bpe(proto.pieces)
    model |= {"byte_fallback": proto.trainer_spec.byte_fallback}
    steps = [{"type": "Replace", "pattern": {"String": " "}, "content": SPACE}]
    strip = []
    if proto.normalizer_spec.add_dummy_prefix:
        steps.insert(0, {"type": "Prepend", "prepend": SPACE})
        strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}]
    decoder = [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        *strip,
    ]
    return _body(
        {"type": "Sequence", "normalizers": steps},
        None,
        model,
        {"type": "Sequence", "decoders": decoder},
    )


def _check(proto, tokenizer: Tokenizer) -> None:
    from sentencepiece import sentencepiece_model_pb2 as messages

    spec, normal = proto.trainer_spec, proto.normalizer_spec
    kinds = {piece.type for piece in proto.pieces}
    kind = messages.ModelProto.SentencePiece
    bpe = spec.model_type == messages.TrainerSpec.BPE
    for wrong, what in (
        (spec.model_type not in (1, 2), "it is neither unigram nor BPE"),
        (bool(normal.precompiled_charsmap), f"it normalises texts ({normal.name})"),
        (normal.remove_extra_whitespaces, "it removes spaces"),
        (spec.treat_whitespace_as_suffix, "its spaces end words"),
        (kind.UNUSED in kinds, "it has unused pieces"),
        (bpe and kind.USER_DEFINED in kinds, "it is BPE with user-defined pieces"),
    ):
        if wrong:
            raise ConversionError(
                f"this SentencePiece model cannot be written as tokenizer.json: {what}",
                where=tokenizer.where,
                expected="a model in the manner of LLaMA, or one trained here",
                fix="give the tokenizer.json of its authors instead (kind=hf)",
            )


def _unigram(pieces: Sequence) -> dict:
    """Scores as SentencePiece's search uses them (`EncodeOptimized` in unigram_model.cc)."""
    from sentencepiece import sentencepiece_model_pb2 as messages

    kind = messages.ModelProto.SentencePiece
    scores = [piece.score for piece in pieces if piece.type == kind.NORMAL]
    # Control and byte pieces take no part in the search; here they must lose instead.
    never = min(scores) * 16 - 100

    def score(piece) -> float:
        if piece.type == kind.NORMAL:
            return piece.score
        if piece.type == kind.USER_DEFINED:
            return len(piece.piece.encode()) * max(scores) - 0.1
        return never

    unknown = next(i for i, piece in enumerate(pieces) if piece.type == kind.UNKNOWN)
    vocab = [[piece.piece, score(piece)] for piece in pieces]
    return {"type": "Unigram", "unk_id": unknown, "vocab": vocab}


def _bpe(pieces: Sequence) -> dict:
    """Merges from scores: a pair may merge where both halves and the whole are pieces."""
    from sentencepiece import sentencepiece_model_pb2 as messages

    kind = messages.ModelProto.SentencePiece
    ids = {piece.piece: i for i, piece in enumerate(pieces)}
    rank = {piece.piece: i for i, piece in enumerate(pieces) if piece.type == kind.NORMAL}
    merges = []
    for piece in pieces:
        word = piece.piece
        if word in rank:
            halves = [(word[:i], word[i:]) for i in range(1, len(word))]
            halves = [pair for pair in halves if pair[0] in rank and pair[1] in rank]
            halves.sort(key=lambda pair: (rank[pair[0]], rank[pair[1]]))
            merges += [(piece.score, pair) for pair in halves]
    merges.sort(key=lambda merge: -merge[0])  # stable
    unknown = next(piece.piece for piece in pieces if piece.type == kind.UNKNOWN)
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": unknown,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "ignore_merges": False,
        "vocab": ids,
        "merges": [list(pair) for _, pair in merges],
    }
