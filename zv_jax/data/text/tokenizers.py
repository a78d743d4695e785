"""Text to ids and back: SentencePiece for the LLM (and the Q-Former), WordPiece for a BERT
Q-Former, or whatever a `tokenizer.json` of Hugging Face says.

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
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from zv_jax.data.text import tokenizer_kinds
from zv_jax.errors import ConfigError, DataError, unknown_name
from zv_jax.files import write_atomic
from zv_jax.models.prompt import PromptConfig

KINDS = {"sentencepiece": "tokenizer.model", "bert": "vocab.txt", "hf": "tokenizer.json"}
SPECIAL = ("unk", "bos", "eos", "pad", "cls", "sep")  # as tokenizer_config.json names them
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

    `pad_id` and `unk_id` always exist; `bos_id` and `eos_id` do for SentencePiece and BERT;
    `cls_id`, `sep_id` and `dec_id` are the Q-Former's. Asking for one that a vocabulary does not
    have raises `ConfigError`. Make one with `load`.

    Attributes:
      kind: ``"sentencepiece"``, ``"bert"`` or ``"hf"``.
      data: the bytes of its file; where: the path they came from.
      lowercase: whether a BERT vocabulary sees lower-case text.
      special: the names of special tokens that stand beside a ``tokenizer.json``, not in it.
      vocab_size: number of ids `encode` and the special tokens use.
      fingerprint: SHA-256 of the kind, its options and the file, hexadecimal.
    """

    def __init__(
        self,
        kind: str,
        data: bytes,
        where: str = "tokenizer",
        lowercase: bool = True,
        special: Mapping[str, str] | None = None,
    ):
        self.kind, self.data, self.where = kind, data, where
        self.lowercase, self.special = lowercase, dict(special or {})
        options = {"bert": lowercase, "hf": sorted(self.special.items())}.get(kind, "")
        self.fingerprint = hashlib.sha256(f"{kind}:{options}:".encode() + data).hexdigest()
        if kind == "sentencepiece":
            self._model = tokenizer_kinds.SentencePiece(data, where)
        elif kind == "bert":
            self._model = tokenizer_kinds.WordPiece(data, where, lowercase)
        elif kind == "hf":
            self._model = tokenizer_kinds.Json(data, where, self.special)
        else:
            raise unknown_name(
                "tokenizer kind",
                kind,
                KINDS,
                where,
                fix="set --config.data.tokenizer.kind=sentencepiece",
            )
        self.vocab_size = self._model.vocab_size
        # Captions repeat and instructions come from short lists: remember the ids of each text.
        self._encode = functools.lru_cache(_CACHED_TEXTS)(lambda t: tuple(self._model.encode(t)))

    def __reduce__(self):
        # Worker processes rebuild it from the file's bytes.
        return Tokenizer, (self.kind, self.data, self.where, self.lowercase, self.special)

    def _id(self, name: str) -> int:
        if name not in self._model.special:
            if name in ("bos", "eos") and self.kind == "sentencepiece":
                piece = {"bos": "<s>", "eos": "</s>"}[name]
                expected = f"a control piece {piece}, which every row needs"
                fix = f"train it again without --{name}_id=-1, or give another tokenizer"
            elif name in ("bos", "eos"):
                expected = f"a {name}_token in tokenizer_config.json beside it"
                fix = "copy the whole folder of the tokenizer"
            else:
                expected = "a Q-Former vocabulary with [PAD], [CLS], [SEP], [DEC]"
                fix = (
                    "leave data.qformer_tokenizer.path empty to train one, or use kind=bert "
                    "with a vocab.txt"
                )
            raise ConfigError(
                f"the tokenizer has no {name} token",
                where=self.where,
                expected=expected,
                fix=fix,
            )
        return self._model.special[name]

    @property
    def unk_id(self) -> int:
        return self._id("unk")

    @property
    def unknown_id(self) -> int | None:
        """The id that stands for what the vocabulary lacks; None where nothing can be unknown, and
        `unk_id` is another token's."""
        same = {name for name, i in self._model.special.items() if i == self.unk_id}
        return self.unk_id if same <= {"unk", "pad"} else None

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

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, no special tokens added."""
        return list(self._encode(text))

    def forget(self) -> None:
        """Drops the texts that `encode` remembers: a server sees few of them twice."""
        self._encode.cache_clear()

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`; special tokens and ids beyond the pieces are left out."""
        special = set(self._model.special.values())
        kept = [int(i) for i in ids if int(i) not in special and 0 <= int(i) < self.vocab_size]
        return self._model.decode(kept) if kept else ""

    def piece(self, token: int) -> str:
        """The piece with the id `token`, as the vocabulary writes it."""
        return self._model.name(token)

    def spelling(self, token: int) -> bytes:
        """The bytes that `token` adds to a text: its name if it is special, none for ids beyond the
        pieces."""
        return self._model.spelling(token) if 0 <= token < self.vocab_size else b""

    def special_id(self, name: str) -> int:
        """The id of a token that no text produces, by its name.

        Raises:
          ConfigError: there is no such token, or texts produce it.
        """
        token = self._model.token(name)
        if token is None or self.can_produce(token):
            raise ConfigError(
                f"the tokenizer has no special token {name!r}",
                where=self.where,
                expected="every token in model.prompt.tokens, as one that no text can spell",
                fix="take the tokenizer of the model that was trained with this prompt format",
            )
        return token

    def special_names(self, qformer: bool = False) -> dict[str, tuple[str, int]]:
        """Name and id of the special tokens of a language model, or of a Q-Former, by their words
        in `tokenizer_config.json`. A Q-Former's `bos` is [DEC], as in BLIP-2.

        Raises:
          ConfigError: it lacks one of them.
        """
        keys = {key: key for key in ("unk", "bos", "eos", "pad")}
        if qformer:
            keys = {"unk": "unk", "pad": "pad", "bos": "dec", "cls": "cls", "sep": "sep"}
        ids = {key: self._id(source) for key, source in keys.items()}
        return {key: (self.piece(i), i) for key, i in ids.items()}

    def can_produce(self, token: int) -> bool:
        """Whether some text may be encoded with the id `token`."""
        return 0 <= token < self.vocab_size and self._model.can_produce(token)

    def save(self, directory: str | Path) -> Path:
        """Writes the vocabulary file and `zv_tokenizer.json` (its kind) into `directory`,
        atomically."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        write_atomic(directory / KINDS[self.kind], self.data)
        about = {
            "kind": self.kind,
            "lowercase": self.lowercase,
            "special": self.special,
            "fingerprint": self.fingerprint,
        }
        write_atomic(directory / "zv_tokenizer.json", json.dumps(about, indent=1).encode())
        return directory / KINDS[self.kind]


def load(path: str | Path, kind: str = "sentencepiece") -> Tokenizer:
    """The tokenizer in a file, or in a directory written by `Tokenizer.save` or by others.

    Raises:
      DataError: there is no such file, or it is not of that kind.
      SetupError: `kind` is bert or hf and the package `tokenizers` is missing.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    about: dict = {}
    for name in ("zv_tokenizer.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            about = _read_about(folder / name)
            break
    if path.is_dir():
        kind = about.get("kind", kind)
        path = path / KINDS.get(kind, kind)
    lowercase = bool(about.get("lowercase", about.get("do_lower_case", True)))
    if not path.is_file():
        raise DataError(
            "tokenizer file not found",
            where=str(path),
            expected=f"a {KINDS.get(kind, 'tokenizer')} file or its directory",
            fix="check data.tokenizer.path; leave it empty to train one",
        )
    special = (about.get("special") or _special_names(about)) if kind == "hf" else {}
    return Tokenizer(kind, path.read_bytes(), str(path), lowercase, special)


def _read_about(path: Path) -> dict:
    try:
        about = json.loads(path.read_text("utf-8-sig"))
        about = about if isinstance(about, dict) else {}
        if about.get("kind", "hf") not in KINDS:  # an unhashable one is a TypeError
            raise ValueError(f"there is no kind {about['kind']!r} of tokenizers")
        special = about.get("special") or {}
        names = [*special.values(), *_special_names(about).values()]
        if not all(isinstance(name, str) for name in (*special, *names)):
            raise ValueError("a special token is no text")
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"the file cannot be read: {error!s:.300}",
            where=str(path),
            expected="JSON in UTF-8, with special tokens as texts",
            fix="copy the whole folder of the tokenizer again",
        ) from None
    return about


def _special_names(config: Mapping[str, object]) -> dict[str, str]:
    """The special tokens of a tokenizer_config.json: text, or the text of a description."""
    named = {key: config.get(f"{key}_token") for key in SPECIAL}
    return {k: v["content"] if isinstance(v, dict) else v for k, v in named.items() if v}


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


def check_prompt(tokenizer: Tokenizer, prompt: PromptConfig) -> None:
    """Checks that the words of a prompt format can be written in a vocabulary.

    Raises:
      ConfigError: it lacks a special token of the format, or the format has words where another
        token than theirs ends an answer.
    """
    tokens = prompt.words.tokens
    ids = {tokenizer.special_id(name) for name in tokens}
    if ids and tokenizer.eos_id not in ids:
        raise ConfigError(
            f"answers end with {tokenizer.piece(tokenizer.eos_id)!r}",
            where=tokenizer.where,
            expected=f"one of {', '.join(tokens)}, as in the prompt format",
            fix="name it as eos_token in tokenizer_config.json, or give another --prompt_format",
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
