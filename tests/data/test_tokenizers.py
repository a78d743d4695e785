import pickle

import pytest

from zv_jax.data import tokenizers
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
