import pytest

from zv_jax.data.text import tokenizers, vocabulary
from zv_jax.errors import ConfigError


def test_one_model_serves_both_towers_and_is_found_again(make_config, tmp_path, monkeypatch):
    monkeypatch.setenv("ZV_CACHE", str(tmp_path / "cache"))
    config = make_config("stage0")
    own, other = vocabulary.load_tokenizers(config)
    assert own is other
    assert not own.can_produce(config.model.image_token_id)
    assert own.unk_id not in own.encode("一个红色的方块 [0.12,0.25,0.50,1.00] pink")
    monkeypatch.setattr(tokenizers, "train_sentencepiece", None)
    again, _ = vocabulary.load_tokenizers(make_config("stage2"))
    assert again.fingerprint == own.fingerprint


def test_a_number_of_a_box_is_one_piece(make_config, tmp_path):
    own, _ = vocabulary.load_tokenizers(make_config("stage0"), tmp_path)
    ids = own.encode("[0.07,0.25,0.50,1.00]")
    assert [i for i in ids if own.decode([i]).strip("[,]")] == [
        own.encode(number)[-1] for number in ("0.07", "0.25", "0.50", "1.00")
    ]


def test_given_files_are_used_and_checked(make_config, tokenizer, tmp_path):
    path = str(tokenizer.save(tmp_path))
    given = {"tokenizer": {"path": path}, "qformer_tokenizer": {"path": path}}
    own, other = vocabulary.load_tokenizers(make_config("stage0", **given))
    assert own.fingerprint == other.fingerprint == tokenizer.fingerprint
    with pytest.raises(ConfigError, match="cannot be trained"):
        vocabulary.load_tokenizers(make_config("stage0", qformer_tokenizer={"kind": "bert"}))
