"""Larger vocabularies: old rows stay as they are, new ones know what they were spelled with."""

import dataclasses

import numpy as np
import pytest

from zv_jax import trees
from zv_jax.cli import main as cli
from zv_jax.config import recipe, validate
from zv_jax.convert import formats, own_checkpoint
from zv_jax.convert.grow import grow
from zv_jax.data.text import chinese_pieces, tokenizers
from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.errors import ConversionError

RNG = np.random.default_rng(0)
WIDTH, SPARE_ROWS = 48, 7


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    texts = ["a red cat sat here", "一只红色的猫", "the cat is red"]
    return tokenizers.train_sentencepiece(texts, 400, tmp_path_factory.mktemp("old"))


@pytest.fixture(scope="module")
def new(old):
    return Tokenizer("sentencepiece", chinese_pieces.extend(old.data, ["鑫", "鹏", "红猫"]))


def model_with(old, other=None) -> own_checkpoint.OwnCheckpoint:
    """The leaves that have a row for every token, and one that has not."""
    size = old.vocab_size + SPARE_ROWS
    former = (other or old).vocab_size
    config = recipe(
        "tiny_chat",
        model=dict(
            llm=dict(vocab_size=size), qformer=dict(vocab_size=former), image_token_id=size - 1
        ),
        stage=dict(name="stage1", variant="chat"),
        data=dict(max_qformer_text=64),
    )

    def table(*shape):
        return RNG.standard_normal(shape).astype(np.float32)

    variables = {
        "params": {
            "llm": {
                "embed": {"embedding": table(size, WIDTH)},
                "lm_head": {"kernel": table(WIDTH, size).astype(np.float16)},
                "norm": {"scale": table(WIDTH)},
            },
            "qformer": {
                "word": {"embedding": table(former, 32)},
                "text_head": {"bias": table(former)},
            },
        }
    }
    flat = trees.flatten(variables)
    return formats.in_memory(validate(config), flat, (old, other or old), {"step": 3})


def leaf(model: own_checkpoint.OwnCheckpoint, path: str) -> np.ndarray:
    path = f"params/{path}"
    return model.read({path: model.specs[path]})[path]


def test_the_language_model_gets_rows_room_and_an_image_token(old, new, tmp_path):
    model = model_with(old)
    config = grow(model, tmp_path / "grown", new, multiple=32)
    grown = own_checkpoint.open_checkpoint(tmp_path / "grown")
    assert grown.config.model.llm == config.model.llm
    rows, known = config.model.llm.vocab_size, old.vocab_size
    assert rows % 32 == 0 and rows >= new.vocab_size + 2
    assert config.model.image_token_id == new.vocab_size + 1 < rows
    tokenizers.check_image_token(new, config.model.image_token_id, rows)
    before, after = leaf(model, "llm/embed/embedding"), leaf(grown, "llm/embed/embedding")
    assert after.shape == (rows, WIDTH)
    np.testing.assert_array_equal(after[:known], before[:known])
    spelled = old.encode("鑫")
    assert len(spelled) > 3 and old.piece(spelled[0]) == "\u2581"
    (piece,) = new.encode("鑫")[1:]
    np.testing.assert_allclose(after[piece], before[spelled[1:]].mean(0), rtol=1e-5)
    both = [old.encode(c)[-1] for c in "红猫"]
    np.testing.assert_allclose(after[new.encode("红猫")[-1]], before[both].mean(0), rtol=1e-5)
    # Rows of no piece, also those that the old table had to spare.
    np.testing.assert_allclose(after[-1], before[:known].mean(0), rtol=1e-4, atol=1e-6)
    head, wider = leaf(model, "llm/lm_head/kernel"), leaf(grown, "llm/lm_head/kernel")
    assert wider.shape == (WIDTH, rows) and wider.dtype == np.float16
    np.testing.assert_array_equal(wider[:, :known], head[:, :known])
    np.testing.assert_allclose(
        wider[:, piece], head[:, spelled[1:]].astype(np.float32).mean(1), rtol=2e-3, atol=1e-3
    )
    np.testing.assert_array_equal(leaf(grown, "llm/norm/scale"), leaf(model, "llm/norm/scale"))
    assert [t.fingerprint for t in grown.tokenizers] == [new.fingerprint, old.fingerprint]
    assert grown.config.model.qformer == model.config.model.qformer


def test_the_qformer_grows_alone(old, new, tmp_path):
    model = model_with(old)
    grow(model, tmp_path / "grown", qformer_tokenizer=new)
    grown = own_checkpoint.open_checkpoint(tmp_path / "grown")
    assert grown.config.model.qformer.vocab_size == new.vocab_size
    assert leaf(grown, "qformer/word/embedding").shape == (new.vocab_size, 32)
    assert leaf(grown, "qformer/text_head/bias").shape == (new.vocab_size,)
    assert grown.config.model.llm == model.config.model.llm


@pytest.mark.parity
def test_new_characters_of_bert_start_near_the_mean_and_apart(old, tmp_path):
    pytest.importorskip("tokenizers")
    vocabulary = b"[PAD]\n[UNK]\n[CLS]\n[SEP]\nred\ncat\n"
    bert = Tokenizer("bert", vocabulary)
    union = Tokenizer("bert", chinese_pieces.union(vocabulary, ["红", "猫"]))
    assert union.dec_id == bert.dec_id == 6
    model = model_with(old, bert)
    grow(model, tmp_path / "grown", qformer_tokenizer=union)
    grown = own_checkpoint.open_checkpoint(tmp_path / "grown")
    before, after = leaf(model, "qformer/word/embedding"), leaf(grown, "qformer/word/embedding")
    np.testing.assert_array_equal(after[:7], before)  # [DEC] too
    assert after.shape[0] == 9
    distance = np.abs(after[7:] - before.mean(0)).max()
    assert 0 < distance < 0.1 and np.abs(after[7] - after[8]).max() > 0.01
    bias = leaf(grown, "qformer/text_head/bias")
    np.testing.assert_array_equal(bias[7:], 0)


def test_what_is_not_the_old_vocabulary_with_more_is_refused(old, tmp_path):
    other = tokenizers.train_sentencepiece(["where is the dog 狗"], 400, tmp_path / "other")
    model = model_with(old)
    with pytest.raises(ConversionError, match="in the old vocabulary"):
        grow(model, tmp_path / "grown", other)
    none = dataclasses.replace(model, tokenizers=(None, old))
    with pytest.raises(ConversionError, match="not known"):
        grow(none, tmp_path / "grown", old)
    specs = {p: s for p, s in model.specs.items() if "/llm/" not in p}
    with pytest.raises(ConversionError, match="has no llm"):
        grow(dataclasses.replace(model, specs=specs), tmp_path / "grown", old)
    assert not (tmp_path / "grown").exists()


def test_the_command(old, new, tmp_path, capsys):
    new.save(tmp_path / "new")
    grow(model_with(old), tmp_path / "ckpt", old)  # writes it
    command = ["tokenizer", "grow", str(tmp_path / "ckpt"), str(tmp_path / "out")]
    assert cli.main(command) == 2
    assert "needs a new vocabulary" in capsys.readouterr().err
    assert cli.main([*command, f"--tokenizer={tmp_path}/new"]) == 0
    assert f"image placeholder {new.vocab_size + 1}" in capsys.readouterr().out
    assert cli.main([*command, f"--tokenizer={tmp_path}/new"]) == 2
    assert "exists already" in capsys.readouterr().err
