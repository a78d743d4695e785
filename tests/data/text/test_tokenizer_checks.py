"""Files of tokenizers that would end the process, or a run long after they were read."""

import base64
import io
import json

import pytest

from zv_jax.data.text import tokenizer_checks, tokenizers
from zv_jax.errors import DataError

BPE = {
    "type": "BPE",
    "dropout": None,
    "unk_token": None,
    "continuing_subword_prefix": None,
    "end_of_word_suffix": None,
    "fuse_unk": False,
    "vocab": {"a": 0, "图": 1, "a图": 2},
    "merges": [["a", "图"]],
}


def body(model=BPE, **parts) -> bytes:
    empty = dict.fromkeys(("normalizer", "pre_tokenizer", "post_processor", "decoder"))
    return json.dumps(
        {"version": "1.0", "added_tokens": [], **empty, "model": model, **parts}
    ).encode()


def charsmap(table: bytes) -> dict:
    return {
        "type": "Precompiled",
        "precompiled_charsmap": base64.b64encode(table).decode(),
    }


PREPENDS = {"type": "Prepend", "prepend": "▁"}
REPLACES = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}

SOUND = [
    body(),
    body({**BPE, "continuing_subword_prefix": ""}),
    body({**BPE, "continuing_subword_prefix": "##", "merges": [["a", "##b"]]}),
    body({**BPE, "continuing_subword_prefix": "##", "merges": ["a ##b"]}),
    body(normalizer=charsmap(b"\4\0\0\0" + bytes(8))),
    body(normalizer={"type": "Sequence", "normalizers": [charsmap(b"\4\0\0\0" + bytes(4))]}),
    body(normalizer={"type": "Sequence", "normalizers": [
        charsmap(b"\4\0\0\0" + bytes(4) + b"a" * 33), PREPENDS, REPLACES]}),
]  # fmt: skip
# The library slices merges at the prefix, in the middle of a character too: it ends the process.
ABORTS = [
    *(
        body({**BPE, "continuing_subword_prefix": prefix, "merges": merges})
        for prefix in ("x", "##", "图图", "abcdef")
        for merges in ([["a", "图"]], ["a 图"], [["a", "b", "c"]], [["a", 5]], [5])
    ),
    *(
        body(normalizer=normalizer)
        for table in (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f" + bytes(8), b"", b"\3\0\0\0abc")
        for normalizer in (
            charsmap(table),
            {"type": "Sequence", "normalizers": [{"type": "NFC"}, charsmap(table)]},
        )
    ),
    body(normalizer={"type": "Precompiled", "precompiled_charsmap": None}),
    body(normalizer={"type": "Precompiled", "precompiled_charsmap": "no base64!"}),
    b"[1]",
    b"[" * 100_000,
    b"\xff",
    b"",
]


@pytest.mark.parametrize("data", SOUND, ids=range(len(SOUND)))
def test_sound_files_pass(data):
    tokenizer_checks.check(data, "tokenizer.json")


@pytest.mark.parametrize("data", ABORTS, ids=range(len(ABORTS)))
def test_files_that_would_end_the_process_are_one_error(data):
    with pytest.raises(DataError, match="not a tokenizer.json") as caught:
        tokenizer_checks.check(data, "tokenizer.json")
    assert caught.value.where == "tokenizer.json" and caught.value.fix


TWICE = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
GROWS = {
    "again and again": {"type": "Sequence", "normalizers": [TWICE] * 24},
    "within another": {"type": "Sequence", "normalizers": [
        {"type": "Sequence", "normalizers": [TWICE] * 6} for _ in range(4)]},
    "at once": REPLACES | {"content": "a" * 10**6},
    "before a text": PREPENDS | {"prepend": "a" * 10**6},
    "before every character": {"type": "Sequence", "normalizers": [
        {"type": "Replace", "pattern": {"Regex": "(?=.)"}, "content": "ab"}] * 7},
    "where nothing is": {"type": "Sequence", "normalizers": [
        {"type": "Replace", "pattern": {"String": ""}, "content": "ab"}] * 7},
    "byte by byte": {"type": "Sequence", "normalizers": [{"type": "ByteLevel"}] * 11},
    "by a table": charsmap(b"\4\0\0\0" + bytes(4) + b"a" * 10**6),
}  # fmt: skip


@pytest.mark.parametrize("kind", GROWS)
def test_a_normalizer_by_which_a_text_grows_without_measure_is_refused(kind):
    with pytest.raises(DataError, match="times longer"):
        tokenizer_checks.check(body(normalizer=GROWS[kind]), "tokenizer.json")


@pytest.mark.parametrize("name, part", [
    ("decoder", {"type": "Sequence", "decoders": [TWICE] * 30}),
    ("decoder", REPLACES | {"content": "a" * 10**6}),
    ("pre_tokenizer", {"type": "Sequence", "pretokenizers": [{"type": "ByteLevel"}] * 11}),
])  # fmt: skip
def test_other_parts_by_which_a_text_grows_are_refused_too(name, part):
    with pytest.raises(DataError, match="times longer"):
        tokenizer_checks.check(body(**{name: part}), "tokenizer.json")


# As GPT-2, Llama 3, GPT-4o, CLIP, BLOOM, DeepSeek, GPT-4 and DeBERTa have them.
PATTERNS = [
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+",
    r"'s|'t|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
    r" ?[^(\s|[.,!?…。，、।۔،])]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    r" {2,}",
    r"(?:\d{3})+",
    r"^\s+|\s+$",
]
ENDLESS = [
    "(a|a){22}[!?]", "(a+)+!", "(?:a|b)*!", "((aa?))+!", "(a|a)" * 22, "a?" * 22 + "!",
    r"(a|a)[\]|]" * 22, "(a|a)[a[b]|]" * 22, "(a|a)[]|]" * 22, "(a|a)[^]|]" * 22,
    "a*a*a*a*a*a*!", r"(?<x>a\g<x>?b)c", "(?#[)(a|a)*(?#])", "a" * 20_000,
    r"\s*\s*x", r"\s*?\s*?x", r"\s*" * 5 + "x", r"\s+\s+$", r"\s{1,}\s{1,}x", r"\s*(?:\s*x)?x",
    r"(?:\s*x)?(?:\s*x)?", r"(?:\s*\s*x|y)", r"\s+(?:\s|y)*x", r"(?=\s*\s*x)", r"\s*\s*(?!x?)",
    r"\s*x{,}\s*x{,}", r"\s*(?:" + "|".join("x" * 33) + ")",
]  # fmt: skip


def with_pattern(pattern, kind):
    if kind == "pre_tokenizer":
        part = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"}
        return body(pre_tokenizer={"type": "Sequence", "pretokenizers": [part]})
    return body(**{kind: REPLACES | {"pattern": {"Regex": pattern}}})


@pytest.mark.parametrize("pattern", PATTERNS, ids=range(len(PATTERNS)))
def test_patterns_of_published_tokenizers_pass(pattern):
    tokenizer_checks.check(with_pattern(pattern, "pre_tokenizer"), "tokenizer.json")


@pytest.mark.parametrize("kind", ["normalizer", "pre_tokenizer", "decoder"])
@pytest.mark.parametrize("pattern", ENDLESS, ids=range(len(ENDLESS)))
def test_a_pattern_that_takes_for_ever_is_refused(pattern, kind):
    with pytest.raises(DataError, match="for ever"):
        tokenizer_checks.check(with_pattern(pattern, kind), "tokenizer.json")


def test_words_that_are_cut_to_pieces_have_a_bound():
    model = {"type": "WordPiece", "vocab": {"a": 0}, "max_input_chars_per_word": 100}
    tokenizer_checks.check(body(model=model), "tokenizer.json")
    with pytest.raises(DataError, match="for ever"):
        long = model | {"max_input_chars_per_word": 10**6}
        tokenizer_checks.check(body(model=long), "tokenizer.json")


@pytest.mark.parametrize("part", ["normalizer_spec", "denormalizer_spec"])
def test_a_sentencepiece_model_by_which_a_text_grows_is_refused(part):
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2 as messages

    words, model = ["the red cat sat on the mat", "红色的猫坐在垫子上"] * 20, io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(words),
        model_writer=model,
        vocab_size=50,
        hard_vocab_limit=False,
        normalization_rule_name="nmt_nfkc",
        minloglevel=2,
    )
    assert tokenizers.Tokenizer("sentencepiece", model.getvalue(), "x.model").encode("cat")
    proto = messages.ModelProto.FromString(model.getvalue())
    table = proto.normalizer_spec.precompiled_charsmap
    getattr(proto, part).precompiled_charsmap = table + b"a" * 10**6 + b"\0"
    with pytest.raises(DataError, match="times longer"):
        tokenizers.Tokenizer("sentencepiece", proto.SerializeToString(), "x.model")


@pytest.mark.parametrize("vocab", [{}, {"a": 1 << 24}, {"a": 2**32 - 1}])
def test_vocabularies_without_a_size_that_can_be(vocab):
    with pytest.raises(DataError, match="its vocabulary has"):
        tokenizer_checks.check_ids(vocab, "tokenizer.json")


class PanicException(BaseException):
    """As the Rust bindings name theirs, in a module that cannot be imported."""


@pytest.mark.parametrize("error", [PanicException("index out of bounds"), Exception("Unk token")])
def test_whatever_the_library_raises_is_one_error(error):
    with (
        pytest.raises(DataError, match=f"cannot encode: {error}"),
        tokenizer_checks.library("x.json", "cannot encode"),
    ):
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_ends_a_program_goes_on(error):
    with pytest.raises(error), tokenizer_checks.library("x.json", "cannot encode"):
        raise error


def test_a_file_that_panics_while_it_encodes():
    pytest.importorskip("tokenizers")
    data = body(pre_tokenizer={"type": "FixedLength", "length": 0})
    with pytest.raises(DataError):
        tokenizers.Tokenizer("hf", data).encode("a图")


@pytest.mark.parametrize(
    "about",
    [
        {"kind": 5},
        {"kind": ["hf"]},
        {"kind": "../x"},
        {"bos_token": 5},
        {"bos_token": ["<s>"]},
        {"eos_token": {"text": "</s>"}},
        {"special": ["a"]},
        {"special": {"bos": 5}},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["zv_tokenizer.json", "tokenizer_config.json"])
def test_descriptions_of_the_wrong_kinds_are_one_error(tmp_path, about, name):
    (tmp_path / "tokenizer.json").write_bytes(body())
    (tmp_path / name).write_text(json.dumps(about))
    with pytest.raises(DataError, match="the file cannot be read") as caught:
        tokenizers.load(tmp_path, "hf")
    assert caught.value.where.endswith(name)


def test_a_damaged_piece_far_down_a_sentencepiece_model(tmp_path):
    """It would end a run when an answer holds the piece."""
    words = ["the red cat sat on the mat", "红色的猫坐在垫子上"] * 20
    data = tokenizers.train_sentencepiece(words, 330, tmp_path).data
    at = data.rindex("红".encode())
    damaged = data[:at] + b"\xff" + data[at + 1 :]
    with pytest.raises(DataError, match="not a SentencePiece model"):
        tokenizers.Tokenizer("sentencepiece", damaged, "x.model")
