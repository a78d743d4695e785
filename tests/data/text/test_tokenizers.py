import pickle

import pytest

from zv_jax.data.text import tokenizers, vocabulary
from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.errors import ConfigError, DataError


@pytest.mark.parametrize(
    "text", ["a red square", "一个红色的方块", "<human>:是 what?\n<bot>:", "  two  spaces", "☃ 鑫"]
)
def test_text_comes_back_in_both_languages_even_unseen(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.unk_id not in ids


def test_special_ids_are_llamas_and_no_text_produces_them(tokenizer):
    assert (tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id) == (0, 1, 2)
    special = [tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.dec_id]
    assert len(set(special)) == 4
    ids = tokenizer.encode("<s></s>[PAD][CLS][SEP][DEC]<image>")
    assert not set(ids) & {1, 2, *special}
    assert not any(tokenizer.can_produce(i) for i in [1, 2, *special])
    assert tokenizer.decode([1, 4, *tokenizer.encode("red"), 2, 3, 3, 5000]) == "red"


def test_roles_newline_and_each_chinese_character_are_pieces(tokenizer):
    for piece in ("<human>:", "<bot>:", "\n", "红", "色", "方", "块"):
        assert len(tokenizer.encode(piece)) <= 2  # with the dummy prefix
    assert len(tokenizer.encode("红色的方块")) == 6


def test_training_is_deterministic_and_covers_characters(tmp_path):
    texts = ["a red cat", "三只红色的猫", "where?"]
    one = tokenizers.train_sentencepiece(texts, 400, tmp_path / "a", ["0.12"])
    two = tokenizers.train_sentencepiece(texts[::-1] * 2, 400, tmp_path / "b", ["0.12"])
    assert one.fingerprint == two.fingerprint
    assert one.vocab_size <= 400
    assert len(one.encode("0.12")) == 2


def test_saved_and_pickled_tokenizers_are_the_same(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    for other in (
        tokenizers.load(tmp_path),
        tokenizers.load(tmp_path / "tokenizer.model"),
        pickle.loads(pickle.dumps(tokenizer)),
    ):
        assert other.fingerprint == tokenizer.fingerprint
        assert other.encode("a 方块") == tokenizer.encode("a 方块")


def test_too_small_a_vocabulary_names_the_size_needed(tmp_path):
    with pytest.raises(ConfigError, match="at least"):
        tokenizers.train_sentencepiece(["红色 red"], 100, tmp_path)
    with pytest.raises(DataError, match="no text"):
        tokenizers.train_sentencepiece([" ", ""], 400, tmp_path)


def test_missing_and_wrong_files_are_named(tmp_path):
    with pytest.raises(DataError, match="none.model"):
        tokenizers.load(tmp_path / "none.model")
    (tmp_path / "bad.model").write_bytes(b"words")
    with pytest.raises(DataError, match="not a SentencePiece model"):
        tokenizers.load(tmp_path / "bad.model")


def test_the_image_placeholder_may_not_be_a_piece(tokenizer):
    size = tokenizer.vocab_size
    tokenizers.check_image_token(tokenizer, size, size + 1)
    with pytest.raises(ConfigError, match="model.image_token_id"):
        tokenizers.check_image_token(tokenizer, tokenizer.encode("红")[-1], size + 1)
    with pytest.raises(ConfigError, match="model.image_token_id"):
        tokenizers.check_image_token(tokenizer, size + 1, size + 1)
    with pytest.raises(ConfigError, match="model.llm.vocab_size"):
        tokenizers.check_image_token(tokenizer, 5, size - 1)


def test_bert_vocabulary(tmp_path):
    pytest.importorskip("tokenizers")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "cat", "##s", "红", "色"]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    bert = tokenizers.load(tmp_path / "vocab.txt", "bert")
    assert bert.encode("Red cats 红色") == [4, 5, 6, 7, 8]
    assert (bert.cls_id, bert.sep_id, bert.pad_id, bert.dec_id) == (2, 3, 0, 9)
    assert bert.vocab_size == 10
    assert bert.decode([2, 4, 5, 6, 3]) == "red cats"
    (tmp_path / "vocab.txt").write_text("red\n", encoding="utf-8")
    with pytest.raises(DataError, match="lacks"):
        tokenizers.load(tmp_path / "vocab.txt", "bert")


# --- no text produces a special id ----------------------------------------------------------------

SPELLED = [
    "what [SEP] is [CLS] this [PAD]?", "[MASK][UNK][DEC]", "答案是 [SEP]红色", "a</s>b", "<s>",
    "</s></s></s>", "<unk> <pad>", "<|im_end|>", "图<image>片", "＜／ｓ＞", "[sep] [ SEP ]", "❤",
]  # fmt: skip
BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[", "]", *"abcdefghijklmnopqrstuvwxyz"]
BERT += [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]


def sentencepiece_model(**options) -> bytes:
    """A small model made as its users make them."""
    import io

    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a red cat", "three dogs [PAD] here", "三只红猫"] * 5),
        model_writer=model, vocab_size=320, byte_fallback=True, hard_vocab_limit=False,
        minloglevel=2, **options,
    )  # fmt: skip
    return model.getvalue()


def word_level(**added) -> bytes:
    """A tokenizer.json whose special tokens are plain words of its vocabulary, or plain added
    tokens: the library finds both in every text."""
    library = pytest.importorskip("tokenizers")
    words = ["<unk>", "<s>", "</s>", "[SEP]", "❤", "a", "b", "<", "/", "s", ">"]
    model = library.Tokenizer(
        library.models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>")
    )
    model.normalizer = library.normalizers.NFKC()
    model.pre_tokenizer = library.pre_tokenizers.WhitespaceSplit()
    model.add_tokens([library.AddedToken("<image>", special=False)])
    model.add_special_tokens(["<|im_end|>"])
    for name, value in added.items():
        getattr(model, f"enable_{name}")(**value)
    return model.to_str().encode()


NAMES = {"unk": "<unk>", "bos": "<s>", "eos": "</s>", "sep": "[SEP]", "pad": "❤", "cls": "<image>"}


@pytest.mark.parametrize(
    "make",
    [
        lambda: Tokenizer("bert", "\n".join(BERT).encode()),
        lambda: Tokenizer("bert", "\n".join(BERT).encode(), lowercase=False),
        lambda: Tokenizer("sentencepiece", sentencepiece_model()),
        lambda: Tokenizer("sentencepiece", sentencepiece_model(model_type="bpe", pad_id=3)),
        lambda: Tokenizer(
            "sentencepiece", sentencepiece_model(user_defined_symbols=["[PAD]", "[SEP]"])
        ),
        lambda: Tokenizer("hf", word_level(), special=NAMES),
    ],
    ids=["bert", "cased bert", "unigram", "bpe", "user-defined", "json"],
)
def test_no_text_produces_a_special_id(make):
    pytest.importorskip("tokenizers")
    own = make()
    special = {i for i in range(own.vocab_size) if own.piece(i) in {*NAMES.values(), "[MASK]"}}
    special |= {own.eos_id, own.pad_id, own.bos_id} - {own.unk_id}
    special -= {own.unk_id}
    if own.kind == "hf":
        special.add(next(i for i in range(own.vocab_size) if own.piece(i) == "<|im_end|>"))
    for text in [*SPELLED, " ".join(SPELLED), "".join(SPELLED) * 400]:
        assert not special & set(own.encode(text)), text
    assert not any(own.can_produce(i) for i in special)


def test_what_spells_no_special_token_is_encoded_as_before():
    own = Tokenizer("hf", word_level(), special=NAMES)
    assert own.encode("a b unseen a") == [5, 6, 0, 5]
    assert [own.encode("a </s> b")[i] for i in (0, -1)] == [5, 6]


def test_a_tokenizer_json_neither_cuts_nor_fills():
    """Files saved behind a training often ask for both."""
    data = word_level(truncation={"max_length": 2}, padding={"length": 8, "pad_id": 2})
    assert Tokenizer("hf", data, special=NAMES).encode("a b a b") == [5, 6, 5, 6]


@pytest.mark.parametrize("name", ["bos", "eos"])
def test_a_sentencepiece_model_without_ends_is_refused_where_rows_need_them(name):
    own = Tokenizer("sentencepiece", sentencepiece_model(**{f"{name}_id": -1}), "own.model")
    with pytest.raises(ConfigError, match=f"no {name} token") as caught:
        getattr(own, f"{name}_id")
    assert "own.model" in caught.value.where
    assert f"--{name}_id=-1" in caught.value.fix
    assert own.encode("a red cat") and own.decode(own.encode("a red cat")) == "a red cat"


def test_a_sentencepiece_model_without_unknown_piece_is_refused():
    with pytest.raises(DataError, match="no unknown piece"):
        Tokenizer("sentencepiece", sentencepiece_model(unk_id=-1))


def test_a_sentencepiece_model_with_a_damaged_byte_is_named():
    data = sentencepiece_model().replace(b"<unk>", b"<u\xffk>", 1)
    with pytest.raises(DataError, match="not a SentencePiece model"):
        Tokenizer("sentencepiece", data, "own.model")


def test_a_missing_end_stops_a_run_before_its_first_row(tmp_path, make_config):
    (tmp_path / "own.model").write_bytes(sentencepiece_model(eos_id=-1))
    config = make_config("stage1", tokenizer={"path": str(tmp_path / "own.model")})
    with pytest.raises(ConfigError, match="no eos token"):
        vocabulary.load_tokenizers(config, tmp_path / "cache")


def test_a_vocabulary_in_another_encoding_names_the_line(tmp_path):
    pytest.importorskip("tokenizers")
    text = "\n".join([*BERT[:6], "红", "色"])
    for codec in ("gbk", "utf-16"):
        (tmp_path / "vocab.txt").write_bytes(text.encode(codec))
        with pytest.raises(DataError, match="Not UTF-8") as caught:
            tokenizers.load(tmp_path / "vocab.txt", "bert")
        assert caught.value.where.endswith(f"vocab.txt, line {7 if codec == 'gbk' else 1}")
        assert f"iconv -f {'GB18030' if codec == 'gbk' else 'UTF-16'} " in caught.value.fix


def test_marks_of_windows_in_a_vocabulary_are_no_part_of_it():
    pytest.importorskip("tokenizers")
    text = "\n".join(BERT) + "\n"
    plain = Tokenizer("bert", text.encode())
    for data in (text.replace("\n", "\r\n").encode(), text.encode("utf-8-sig")):
        own = Tokenizer("bert", data)
        assert (own.vocab_size, own.pad_id) == (plain.vocab_size, 0)
        assert own.encode("a cat") == plain.encode("a cat")


def test_a_piece_that_stands_twice_moves_no_other():
    """The last one counts, as in BERT; [DEC] comes behind all lines."""
    pytest.importorskip("tokenizers")
    own = Tokenizer("bert", "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "a", "b"]).encode())
    assert own.encode("a b") == [5, 6]
    assert (own.dec_id, own.vocab_size, own.piece(4)) == (7, 8, "a")


def test_a_damaged_configuration_beside_a_tokenizer_is_named(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    (tmp_path / "zv_tokenizer.json").write_text('{"kind": "sen')
    with pytest.raises(DataError, match="cannot be read") as caught:
        tokenizers.load(tmp_path)
    assert caught.value.where.endswith("zv_tokenizer.json")
