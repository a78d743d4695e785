"""Text to ids and back: SentencePiece for the LLM (and the Q-Former), WordPiece for a BERT
Q-Former.

SentencePiece follows the layout of LLaMA (`<unk>`=0, `<s>`=1, `</s>`=2, dummy prefix, byte
fallback, no normalisation); one trained here also has the Q-Former's `[PAD] [CLS] [SEP] [DEC]` as
control pieces, which no text can produce, so that one model can serve both.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import logging
import os
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from zv_jax.errors import ConfigError, DataError, EnvironmentProblem

KINDS = {"sentencepiece": "tokenizer.model", "bert": "vocab.txt"}
CONTROL_PIECES = ("[PAD]", "[CLS]", "[SEP]", "[DEC]")
USER_PIECES = ("<human>:", "<bot>:", "\n")
MAX_SENTENCES = 2_000_000
_CACHED_TEXTS = 1 << 17
_DELIMITER = "\x1f"
# Before and after every Chinese character: CJK ideographs with their extensions.
_HAN = "[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]"
_BETWEEN_HAN = re.compile(f"(?<={_HAN})(?=.)|(?<=.)(?={_HAN})")

log = logging.getLogger(__name__)


class Tokenizer:
    """Ids of a text, without any special token, and the ids of the special tokens.

    `pad_id`, `bos_id`, `eos_id`, `unk_id` always exist; `cls_id`, `sep_id` and `dec_id` are the
    Q-Former's and raise `ConfigError` where the vocabulary has none. Make one with `load`.

    Attributes:
      kind: ``"sentencepiece"`` or ``"bert"``.
      vocab_size: number of ids `encode` and the special tokens use.
      fingerprint: SHA-256 of the kind and the file, hexadecimal.
    """

    def __init__(self, kind: str, data: bytes, where: str = "tokenizer", lowercase: bool = True):
        self.kind, self.lowercase = kind, lowercase
        self._data, self._where = data, where
        head = f"{kind}:{lowercase if kind == 'bert' else ''}:".encode()
        self.fingerprint = hashlib.sha256(head + data).hexdigest()
        self._special: dict[str, int]
        if kind == "sentencepiece":
            self._open_sentencepiece()
        elif kind == "bert":
            self._open_bert()
        else:
            raise ConfigError(
                f"unknown tokenizer kind {kind!r}",
                where=where,
                expected="one of " + ", ".join(KINDS),
                fix="set --config.data.tokenizer.kind=sentencepiece",
            )
        # Captions repeat and instructions come from short lists: remember the ids of each text.
        self._encode = functools.lru_cache(_CACHED_TEXTS)(self._encode_text)

    def __reduce__(self):
        # Worker processes rebuild it from the file's bytes.
        return Tokenizer, (self.kind, self._data, self._where, self.lowercase)

    def _open_sentencepiece(self) -> None:
        import sentencepiece

        try:
            model = sentencepiece.SentencePieceProcessor(model_proto=self._data)
        except RuntimeError as error:
            raise DataError(
                f"not a SentencePiece model: {error}",
                where=self._where,
                expected="a file trained by SentencePiece",
                fix="check the path, or set kind to bert for a vocab.txt",
            ) from None
        self._model = model
        self.vocab_size = model.vocab_size()
        names = {model.id_to_piece(i): i for i in range(min(64, self.vocab_size))}
        pad = names.get("[PAD]", model.pad_id() if model.pad_id() >= 0 else model.unk_id())
        self._special = {
            "unk": model.unk_id(),
            "bos": model.bos_id(),
            "eos": model.eos_id(),
            "pad": pad,
        }
        for key in ("cls", "sep", "dec"):
            if f"[{key.upper()}]" in names:
                self._special[key] = names[f"[{key.upper()}]"]

    def _open_bert(self) -> None:
        try:
            import tokenizers
        except ImportError:
            raise EnvironmentProblem(
                "a bert tokenizer needs the package `tokenizers`",
                where=self._where,
                expected="tokenizers installed",
                fix="pip install tokenizers",
            ) from None
        pieces = self._data.decode("utf-8").split("\n")
        if pieces and not pieces[-1]:
            pieces.pop()
        vocab = {piece.rstrip("\r"): i for i, piece in enumerate(pieces)}
        missing = [p for p in ("[PAD]", "[UNK]", "[CLS]", "[SEP]") if p not in vocab]
        if missing:
            raise DataError(
                f"the vocabulary lacks {', '.join(missing)}",
                where=self._where,
                expected="a vocab.txt of BERT, one piece per line",
                fix="check the path, or set kind to sentencepiece",
            )
        self._model = tokenizers.BertWordPieceTokenizer(vocab, lowercase=self.lowercase)
        # As BLIP-2 does, [DEC] starts a generated caption and comes after all pieces.
        dec = vocab.get("[DEC]", len(vocab))
        self.vocab_size = max(len(vocab), dec + 1)
        self._special = {
            "unk": vocab["[UNK]"],
            "bos": dec,
            "eos": vocab["[SEP]"],
            "pad": vocab["[PAD]"],
            "cls": vocab["[CLS]"],
            "sep": vocab["[SEP]"],
            "dec": dec,
        }

    def _id(self, name: str) -> int:
        if name not in self._special:
            raise ConfigError(
                f"the tokenizer has no [{name.upper()}] piece",
                where=self._where,
                expected="a Q-Former vocabulary with [PAD], [CLS], [SEP], [DEC]",
                fix="leave data.qformer_tokenizer.path empty to train one, or use "
                "kind=bert with a vocab.txt",
            )
        return self._special[name]

    @property
    def unk_id(self) -> int:
        return self._id("unk")

    @property
    def bos_id(self) -> int:
        return self._id("bos")

    @property
    def eos_id(self) -> int:
        return self._id("eos")

    @property
    def pad_id(self) -> int:
        return self._id("pad")

    @property
    def cls_id(self) -> int:
        return self._id("cls")

    @property
    def sep_id(self) -> int:
        return self._id("sep")

    @property
    def dec_id(self) -> int:
        return self._id("dec")

    def _encode_text(self, text: str) -> tuple[int, ...]:
        if self.kind == "bert":
            return tuple(self._model.encode(text, add_special_tokens=False).ids)
        return tuple(self._model.encode(text))

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, no special tokens added."""
        return list(self._encode(text))

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`; special tokens and ids beyond the pieces are left out."""
        special = set(self._special.values())
        kept = [int(i) for i in ids if int(i) not in special and 0 <= int(i) < self.vocab_size]
        return self._model.decode(kept) if kept else ""

    def can_produce(self, token: int) -> bool:
        """Whether some text may be encoded with the id `token`."""
        if not 0 <= token < self.vocab_size:
            return False
        if self.kind == "bert":
            return token not in self._special.values()
        return not (self._model.is_control(token) or self._model.is_unused(token))

    def save(self, directory: str | Path) -> Path:
        """Writes the vocabulary file and `zv_tokenizer.json` (its kind) into `directory`,
        atomically."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        write_atomic(directory / KINDS[self.kind], self._data)
        about = {"kind": self.kind, "lowercase": self.lowercase, "fingerprint": self.fingerprint}
        write_atomic(directory / "zv_tokenizer.json", json.dumps(about, indent=1).encode())
        return directory / KINDS[self.kind]


def load(path: str | Path, kind: str = "sentencepiece") -> Tokenizer:
    """The tokenizer in a file, or in a directory written by `Tokenizer.save` or by others.

    Raises:
      DataError: there is no such file, or it is not of that kind.
      EnvironmentProblem: `kind` is bert and the package `tokenizers` is missing.
    """
    path = Path(path)
    lowercase = True
    folder = path if path.is_dir() else path.parent
    if path.is_dir():
        if (path / "zv_tokenizer.json").is_file():
            kind = json.loads((path / "zv_tokenizer.json").read_text())["kind"]
        path = path / KINDS.get(kind, kind)
    for name in ("zv_tokenizer.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            about = json.loads((folder / name).read_text())
            lowercase = about.get("lowercase", about.get("do_lower_case", lowercase))
            break
    if not path.is_file():
        raise DataError(
            "tokenizer file not found",
            where=str(path),
            expected=f"a {KINDS.get(kind, 'tokenizer')} file or its directory",
            fix="check data.tokenizer.path; leave it empty to train one",
        )
    return Tokenizer(kind, path.read_bytes(), str(path), lowercase)


def check_image_token(tokenizer: Tokenizer, image_token_id: int, vocab_size: int) -> None:
    """Checks that the ids fit the LLM and that no text can imitate an image.

    Raises:
      ConfigError: the tokenizer has more ids than the LLM's `vocab_size`, or `image_token_id` is
        outside it or is a piece that text can produce.
    """
    if tokenizer.vocab_size > vocab_size:
        raise ConfigError(
            f"the tokenizer has {tokenizer.vocab_size} ids, the LLM {vocab_size}",
            where="model.llm.vocab_size",
            expected=f"at least {tokenizer.vocab_size}",
            fix=f"set --config.model.llm.vocab_size={tokenizer.vocab_size + 1}",
        )
    if not 0 <= image_token_id < vocab_size or tokenizer.can_produce(image_token_id):
        raise ConfigError(
            f"image placeholder {image_token_id} cannot be used",
            where="model.image_token_id",
            expected=f"an id below {vocab_size} that is no piece of text",
            fix=f"set --config.model.image_token_id={vocab_size - 1} and train the "
            "tokenizer with fewer pieces",
        )


def train_sentencepiece(
    texts: Iterable[str], vocab_size: int, out_dir: str | Path, pieces: Sequence[str] = ()
) -> Tokenizer:
    """Trains a unigram model on `texts` and saves it in `out_dir`; the same texts, the same bytes.

    Every character of the texts becomes a piece, and no piece holds more than one Chinese
    character, as in Ziya-LLaMA's vocabulary: whole phrases, which unspaced text would give, hide
    the words in them. Where the texts do not support `vocab_size` pieces, there are fewer, and
    the log says so.

    Args:
      texts: what to learn from, in any order; vocab_size: the most pieces; out_dir: where to.
      pieces: strings that are always one piece, such as the numbers of boxes.

    Raises:
      DataError: there is no text.
      ConfigError: `vocab_size` cannot hold 256 bytes, the special pieces and every character.
    """
    import sentencepiece

    lines = {line for text in texts for line in text.split("\n") if line.strip()}
    sentences = sorted(lines)
    if not sentences:
        raise DataError(
            "no text to train a tokenizer on",
            where=str(out_dir),
            expected="records with texts",
            fix="check data.sources",
        )
    if len(sentences) > MAX_SENTENCES:
        sentences = sentences[:: -(-len(sentences) // MAX_SENTENCES)]
    longest = max(len(line.encode()) for line in sentences)
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(_BETWEEN_HAN.sub(_DELIMITER, line) for line in sentences),
            pretokenization_delimiter=_DELIMITER,  # seen by the trainer only
            model_writer=model,
            model_type="unigram",
            vocab_size=vocab_size,
            hard_vocab_limit=False,
            character_coverage=1.0,
            byte_fallback=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            split_digits=False,
            control_symbols=list(CONTROL_PIECES),
            user_defined_symbols=[*USER_PIECES, *pieces],
            unk_id=0,
            bos_id=1,
            eos_id=2,
            pad_id=-1,
            max_sentence_length=max(4192, 2 * longest),
            num_threads=1,  # the sums of several threads differ from run to run
            minloglevel=2,
        )
    except RuntimeError as error:
        needed = re.search(r"required_chars\. (\d+) vs (\d+)", str(error))
        if not needed:
            raise
        raise ConfigError(
            f"{vocab_size} pieces cannot cover the texts",
            where="data.tokenizer.vocab_size",
            expected=f"at least {needed[2]}: every byte and every character",
            fix="raise data.tokenizer.vocab_size and the model's vocab_size",
        ) from None
    tokenizer = Tokenizer("sentencepiece", model.getvalue(), str(out_dir))
    if tokenizer.vocab_size < vocab_size:
        log.warning(
            "the texts support only %d of the %d pieces asked for", tokenizer.vocab_size, vocab_size
        )
    tokenizer.save(out_dir)
    return tokenizer


def write_atomic(path: Path, data: bytes) -> None:
    """Writes a file that appears complete or not at all, also with several writers."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
