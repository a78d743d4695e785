"""Our tokenizers and the files written from them give the same ids, in the library that reads them.

The corpus is this project's own bilingual documentation and templates.
"""

import json
from pathlib import Path

import pytest

from zv_jax.convert.tokenizer_json import hf_files
from zv_jax.data.text import chinese_pieces, tokenizers
from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.errors import ConversionError

pytestmark = pytest.mark.parity
library = pytest.importorskip("tokenizers")

ROOT = Path(__file__).resolve().parents[2]
ODD = [
    "", " ", "  two  spaces", "trail ", "a\tb\n\nc", "<human>:图里有什么？\n<bot>:", "0.125,0.500",
    "☃ 鑫 🤣 \u200b 한국어 テスト éü", "aaaaaaaaaaaaa", "红苹果hello红 苹果",
]  # fmt: skip
BERT = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "cat", "##s", "##e", "dog", "猫", ",", ".",
]  # fmt: skip


def corpus() -> list[str]:
    files = [*ROOT.glob("docs/**/*.md"), *ROOT.glob("zv_jax/data/**/*.yaml")]
    lines = [line for file in files for line in file.read_text("utf-8").splitlines()]
    special = ("<image>", "<s>", "</s>", "[PAD]", "[CLS]", "[SEP]", "[DEC]", "[UNK]")
    kept = [line for line in lines if not any(name in line for name in special)]
    assert sum(bool(chinese_pieces.HAN.search(line)) for line in kept) > 100 < len(kept) // 3
    return kept + ODD


def bpe() -> Tokenizer:
    """The 32,000 pieces of a LLaMA-like model (Apache-2.0)."""
    package = pytest.importorskip("mistral_common")
    return tokenizers.load(Path(package.__file__).parent / "data/tokenizer.model.v1")


@pytest.fixture(scope="module", params=["unigram", "bpe", "bpe with Chinese", "bert"])
def tokenizer(request, tmp_path_factory) -> Tokenizer:
    if request.param == "unigram":
        # Half of the corpus, so that the other half has unknown characters.
        folder = tmp_path_factory.mktemp("unigram")
        return tokenizers.train_sentencepiece(corpus()[::2], 3000, folder, ["0.125"])
    if request.param == "bert":
        return Tokenizer("bert", "\n".join(BERT).encode())
    if request.param == "bpe":
        return bpe()
    pieces = [*chinese_pieces.characters("gb2312"), "中国", "中国人"]
    return Tokenizer("sentencepiece", chinese_pieces.extend(bpe().data, pieces))


def read(files: dict[str, str]):
    return library.Tokenizer.from_str(files["tokenizer.json"])


def test_ids_and_texts_are_the_same(tokenizer, request):
    # Of a unigram model, cuts into the same pieces in another order are equally probable ("9", "99"
    # and "99", "9"): only rounding decides, and the two libraries sum in different precision.
    unigram = request.node.callspec.params["tokenizer"] == "unigram"
    order = sorted if unigram else list
    other = read(hf_files(tokenizer, qformer=tokenizer.kind == "bert"))
    for text in corpus():
        ids = tokenizer.encode(text)
        found = other.encode(text, add_special_tokens=False).ids
        assert order(found) == order(ids), text
        if ids:
            assert other.decode(ids) == tokenizer.decode(ids)


def test_rows_start_as_ours_and_added_tokens_get_their_ids(tokenizer):
    qformer, size = tokenizer.kind == "bert", tokenizer.vocab_size
    added = {"<image>": size + 3}
    other = read(hf_files(tokenizer, added, qformer=qformer))
    ids = tokenizer.encode("a cat")
    if qformer:
        assert other.encode("a cat").ids == [tokenizer.cls_id, *ids, tokenizer.sep_id]
        assert other.token_to_id("[DEC]") == tokenizer.dec_id == size - 1
    else:
        assert other.encode("a cat").ids == [1, *ids]
    assert other.token_to_id("<image>") == size + 3
    assert other.get_vocab_size() == size + 4  # ids between have tokens too
    assert other.encode("a<image>", add_special_tokens=False).ids[-1] == size + 3


@pytest.mark.parametrize("added", [{"<image>": 5}, {"<unk>": 5000}])
def test_added_tokens_may_not_collide(tmp_path, added):
    own = tokenizers.train_sentencepiece(["a red cat"], 300, tmp_path)
    with pytest.raises(ConversionError, match="cannot have the id"):
        hf_files(own, added)


def test_transformers_reads_the_files_and_writes_them_again(tokenizer, tmp_path):
    hf = pytest.importorskip("transformers")
    qformer = tokenizer.kind == "bert"
    for name, text in hf_files(tokenizer, qformer=qformer).items():
        (tmp_path / name).write_text(text, "utf-8")
    for turn in range(2):
        other = hf.AutoTokenizer.from_pretrained(tmp_path)
        start = [tokenizer.cls_id] if qformer else [1]
        end = [tokenizer.sep_id] if qformer else []
        assert other("a 猫 cat").input_ids == start + tokenizer.encode("a 猫 cat") + end
        assert other.pad_token_id == tokenizer.pad_id
        assert other.bos_token_id == (tokenizer.dec_id if qformer else tokenizer.bos_id)
        assert other.padding_side == ("right" if qformer else "left")
        other.save_pretrained(tmp_path := tmp_path / str(turn))


def test_a_tokenizer_json_is_read_back_with_its_special_tokens(tokenizer, tmp_path):
    qformer = tokenizer.kind == "bert"
    for name, text in hf_files(tokenizer, qformer=qformer).items():
        (tmp_path / name).write_text(text, "utf-8")
    back = tokenizers.load(tmp_path, "hf")
    back.save(tmp_path / "saved")
    for own in (back, tokenizers.load(tmp_path / "saved")):
        assert own.fingerprint == back.fingerprint
        assert (own.vocab_size, own.pad_id) == (tokenizer.vocab_size, tokenizer.pad_id)
        assert own.encode("a 猫 cat") == tokenizer.encode("a 猫 cat")
        assert own.special_names(qformer) == tokenizer.special_names(qformer)
    # Text that spells a special token is text, as with all our tokenizers.
    special = {i for _, i in back.special_names(qformer).values()} - {back.unk_id}
    assert not special & set(back.encode("<s></s>[PAD][CLS][SEP][DEC]"))
    assert not any(back.can_produce(i) for i in special)


def test_a_byte_level_tokenizer_of_others_works(tmp_path):
    """As of Llama 3 or SmolLM: no padding token, no unknown token, specials behind the pieces."""
    model = library.Tokenizer(library.models.BPE())
    model.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|begin|>", "<|end|>"], show_progress=False,
    )  # fmt: skip
    model.train_from_iterator(corpus(), trainer)
    model.save(str(tmp_path / "tokenizer.json"))
    about = {"bos_token": {"content": "<|begin|>"}, "eos_token": "<|end|>", "pad_token": None}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(about))
    own = tokenizers.load(tmp_path, "hf")
    assert (own.bos_id, own.eos_id, own.pad_id) == (0, 1, 1)
    for text in ODD:
        assert own.decode(own.encode(text)) == text
    assert not {0, 1} & set(own.encode("<|begin|><|end|>"))
    other = read(hf_files(own, {"<image>": own.vocab_size}))
    assert other.encode("a").ids == [0, *own.encode("a")]


def test_models_that_cannot_be_expressed_are_refused(tmp_path):
    messages = pytest.importorskip("sentencepiece.sentencepiece_model_pb2")
    own = tokenizers.train_sentencepiece(["a red cat"], 300, tmp_path)
    for change, words in (
        (lambda p: setattr(p.normalizer_spec, "remove_extra_whitespaces", True), "removes spaces"),
        (lambda p: setattr(p.normalizer_spec, "precompiled_charsmap", b"x"), "normalises texts"),
        (lambda p: setattr(p.trainer_spec, "model_type", 2), "user-defined"),
        (lambda p: setattr(p.trainer_spec, "model_type", 4), "neither unigram nor BPE"),
    ):
        proto = messages.ModelProto.FromString(own.data)
        change(proto)
        changed = Tokenizer.__new__(Tokenizer)  # SentencePiece itself may not open it
        changed.__dict__.update(own.__dict__, data=proto.SerializeToString(), where="x.model")
        with pytest.raises(ConversionError, match=words) as caught:
            hf_files(changed)
        assert caught.value.where == "x.model"
