import pytest

from zv_jax.cli import main as cli
from zv_jax.data.text import chinese_pieces, tokenizers
from zv_jax.data.text.tokenizer_kinds import pieces
from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.errors import ConfigError, DataError


def test_the_standards_have_the_characters_they_are_known_for(tmp_path):
    simplified, traditional = (chinese_pieces.characters(name) for name in ("gb2312", "big5"))
    assert (len(simplified), len(traditional)) == (6763, 5401)
    assert simplified[0] == "啊" and {"红", "猫", "鑫"} <= set(simplified)
    assert traditional[0] == "一" and {"紅", "貓", "圖"} <= set(traditional)
    assert len(set(simplified)) == 6763 and len(set(traditional)) == 5401
    (tmp_path / "mine.txt").write_text("红色的, red 红!\n鑫", "utf-8")
    assert chinese_pieces.characters(str(tmp_path / "mine.txt")) == ["红", "色", "的", "鑫"]


def test_union_keeps_ids_puts_dec_behind_them_and_adds_what_is_missing():
    vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\nred\n猫\n##猫\n".encode()
    new = pieces(chinese_pieces.union(vocabulary, ["红", "猫", "红", "色"]))
    assert new[:7] == pieces(vocabulary)
    assert new[7:] == ["[DEC]", "红", "色"]
    # Once more adds nothing.
    again = chinese_pieces.union("\n".join(new).encode(), ["红"])
    assert pieces(again) == new


def test_an_extended_model_keeps_ids_and_reads_new_characters_as_one(tokenizer):
    added = ["鑫", "红", "鹏", "鑫鹏"]  # the second is a piece already
    new = Tokenizer("sentencepiece", chinese_pieces.extend(tokenizer.data, added))
    size = tokenizer.vocab_size
    assert new.vocab_size == size + 3
    assert new.encode("a red square 红色") == tokenizer.encode("a red square 红色")
    assert [i for i in new.encode("鑫,鹏") if i >= size] == [size, size + 1]
    assert len(tokenizer.encode("鑫")) > 2  # bytes
    assert new.decode(new.encode("鑫鹏 red")) == "鑫鹏 red"
    assert chinese_pieces.extend(new.data, added) == new.data


@pytest.mark.parametrize("piece", ["", "a b", "\n"])
def test_what_cannot_be_a_piece_is_refused(tokenizer, piece):
    with pytest.raises(DataError, match="cannot be a piece"):
        chinese_pieces.extend(tokenizer.data, ["鑫", piece])


def test_wrong_inputs_are_named(tmp_path):
    with pytest.raises(DataError, match="not a SentencePiece model"):
        chinese_pieces.extend(b"\x0f\xff\x00words", ["鑫"], "bad.model")
    with pytest.raises(ConfigError, match="gb2313"):
        chinese_pieces.characters("gb2313")
    (tmp_path / "latin.txt").write_bytes("é".encode("latin-1"))
    with pytest.raises(DataError, match="UTF-8"):
        chinese_pieces.characters(str(tmp_path / "latin.txt"))
    (tmp_path / "english.txt").write_text("no Chinese")
    with pytest.raises(DataError, match="no Chinese character"):
        chinese_pieces.characters(str(tmp_path / "english.txt"))


def test_the_command_extends_a_model_and_writes_it_for_hugging_face(tokenizer, tmp_path, capsys):
    source = str(tokenizer.save(tmp_path / "old"))
    (tmp_path / "pieces.txt").write_text("鑫鹏\n魑魅\n", "utf-8")
    (tmp_path / "characters.txt").write_text("鑫鹏红", "utf-8")
    flags = [f"--characters={tmp_path}/characters.txt", f"--pieces={tmp_path}/pieces.txt"]
    assert cli.main(["tokenizer", "extend", source, str(tmp_path / "new"), *flags]) == 0
    assert f"{tokenizer.vocab_size + 4:,} ids, 4 of them new" in capsys.readouterr().out
    new = tokenizers.load(tmp_path / "new")
    assert new.vocab_size == tokenizer.vocab_size + 4
    assert cli.main(["tokenizer", "to-hf", str(tmp_path / "new"), str(tmp_path / "hf")]) == 0
    assert {p.name for p in (tmp_path / "hf").iterdir()} == {
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_the_command_says_what_it_needs(tmp_path, capsys):
    assert cli.main(["tokenizer", "extend", "a"]) == 2
    assert "two paths" in capsys.readouterr().err
    assert cli.main(["tokenizer", "extend", "no.model", str(tmp_path / "out")]) == 2
    assert "no.model" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
