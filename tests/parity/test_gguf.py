"""GGUF files against transformers reading the same files, and the ways in which a file is wrong."""

import builtins

import jax
import numpy as np
import pytest

from zv_jax import trees
from zv_jax.cli import main as cli
from zv_jax.convert import formats, reader
from zv_jax.convert import gguf as own_checkpoint
from zv_jax.data.text import chinese_pieces, tokenizers
from zv_jax.errors import ConversionError, SetupError
from zv_jax.models.presets import RopeScaling
from zv_jax.models.ziya_visual import ZiyaVisual

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
gguf = pytest.importorskip("gguf")

WIDTH, HEADS, KV_HEADS, LAYERS, MLP = 64, 4, 2, 2, 96
RNG = np.random.default_rng(4)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    """A byte-pair vocabulary with Chinese, small enough for a tiny model."""
    words = tmp_path_factory.mktemp("words")
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a red cat sat", "the cat is red", "红色的猫 the cat"] * 20),
        model_prefix=str(words / "m"), model_type="bpe", vocab_size=320, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, minloglevel=2,
        character_coverage=1.0, hard_vocab_limit=False, num_threads=1,
    )  # fmt: skip
    data = chinese_pieces.extend((words / "m.model").read_bytes(), ["鑫"])
    return tokenizers.Tokenizer("sentencepiece", data)


@pytest.fixture
def write(tmp_path, pieces):
    """`write(kind)` writes tiny.gguf and returns its path; changes of its fields or tensors."""

    def run(kind: str = "F32", fields=None, tensors=None, drop=()):
        path = tmp_path / "tiny.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        add_fields(writer, pieces, {**FIELDS, **(fields or {})}, drop)
        for name, value in {**random_tensors(pieces.vocab_size), **(tensors or {})}.items():
            quantised = value.ndim == 2 and kind != "F32"
            stored = gguf.GGMLQuantizationType[kind if quantised else "F32"]
            data = gguf.quants.quantize(value, stored)
            writer.add_tensor(name, data, raw_dtype=stored)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return run


FIELDS = {
    "llama.context_length": 128,
    "llama.embedding_length": WIDTH,
    "llama.block_count": LAYERS,
    "llama.feed_forward_length": MLP,
    "llama.attention.head_count": HEADS,
    "llama.attention.head_count_kv": KV_HEADS,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.rope.freq_base": 10000.0,
    "llama.rope.dimension_count": WIDTH // HEADS,
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.ggml.unknown_token_id": 0,
}


def add_fields(writer, pieces, fields: dict, drop) -> None:
    for name, value in fields.items():
        if name in drop:
            continue
        add = {str: writer.add_string, float: writer.add_float32, int: writer.add_uint32}
        add[type(value)](name, value)
    from sentencepiece import sentencepiece_model_pb2 as messages

    proto = messages.ModelProto.FromString(pieces.data)
    writer.add_token_list([p.piece for p in proto.pieces])
    writer.add_token_scores([p.score for p in proto.pieces])
    writer.add_token_types([p.type for p in proto.pieces])


def random_tensors(vocab: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)

    def matrix(*shape):
        return (rng.standard_normal(shape) * 0.15).astype(np.float32)

    def norm():
        return (1 + 0.15 * rng.standard_normal(WIDTH)).astype(np.float32)

    out = {"token_embd.weight": matrix(vocab, WIDTH), "output_norm.weight": norm()}
    kv = WIDTH // HEADS * KV_HEADS
    for i in range(LAYERS):
        shapes = dict(
            attn_q=(WIDTH, WIDTH), attn_k=(kv, WIDTH), attn_v=(kv, WIDTH),
            attn_output=(WIDTH, WIDTH), ffn_gate=(MLP, WIDTH), ffn_up=(MLP, WIDTH),
            ffn_down=(WIDTH, MLP),
        )  # fmt: skip
        out |= {f"blk.{i}.{name}.weight": matrix(*shape) for name, shape in shapes.items()}
        out |= {f"blk.{i}.{name}.weight": norm() for name in ("attn_norm", "ffn_norm")}
    return out


def logits(opened: reader.ForeignCheckpoint, ids: np.ndarray) -> np.ndarray:
    leaves = {path: leaf.value().astype(np.float32) for path, leaf in opened.leaves.items()}
    model = ZiyaVisual(opened.config.model)
    run = jax.jit(lambda v: model.apply(v, None, ids, np.ones_like(ids, bool)))
    return np.asarray(run(trees.unflatten(leaves)))


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1"])
def test_logits_equal_those_of_transformers(write, pieces, kind):
    untied = random_tensors(pieces.vocab_size)["token_embd.weight"][::-1].copy()
    path = write(kind, tensors={"output.weight": untied} if kind == "F32" else None)
    opened = own_checkpoint.open_gguf(path)
    assert opened.config.model.llm.tie_embeddings == (kind != "F32")
    ids = RNG.integers(3, 300, (2, 12))
    model = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    )
    with torch.no_grad():
        expected = model(torch.from_numpy(ids)).logits.numpy()
    got = logits(opened, ids)
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(got, expected, atol=2e-5, rtol=1e-5)


def test_half_precision_is_kept_as_it_is_stored(write):
    for kind, dtype in (("F16", "float16"), ("BF16", "bfloat16"), ("Q8_0", "float32")):
        leaves = own_checkpoint.open_gguf(write(kind)).leaves
        assert leaves["params/llm/layers/attn/q/kernel"].dtype == dtype
        assert leaves["params/llm/norm/scale"].dtype == "float32"


def test_the_sentencepiece_model_comes_back(write, pieces):
    own, _ = own_checkpoint.open_gguf(write()).tokenizers
    assert own.kind == "sentencepiece"
    assert own.special_names() == pieces.special_names()
    for text in ("the red cat", " 红色的猫 鑫, x\n", "☃"):
        assert own.encode(text) == pieces.encode(text)
        assert own.decode(own.encode(text)) == text


def test_the_command_makes_a_workdir(write, pieces, tmp_path, capsys):
    out = tmp_path / "run"
    assert cli.main(["convert", "from-gguf", str(write("Q4_0")), str(out), "--dtype=bfloat16"]) == 0
    assert "llm" in capsys.readouterr().out
    model = formats.open_any(out)
    assert (model.config.stage.name, model.tokenizers[1]) == ("language", None)
    assert model.tokenizers[0].fingerprint
    assert {str(spec.dtype) for spec in model.specs.values()} == {"bfloat16"}


def test_the_scaling_of_llama_3_is_recognised_by_its_factors(write):
    dim, theta = WIDTH // HEADS, 500000.0
    scaling = RopeScaling("llama3", 8.0, 1.0, 4.0, 8192)
    plain = 1 / theta ** (np.arange(0, dim, 2) / dim)
    waves = scaling.original_positions * plain / (2 * np.pi)
    kept = np.clip((waves - 1) / 3, 0, 1)
    factors = (1 / (kept + (1 - kept) / 8)).astype(np.float32)
    fields = {"llama.rope.freq_base": theta}
    opened = own_checkpoint.open_gguf(write(fields=fields, tensors={"rope_freqs.weight": factors}))
    assert opened.config.model.llm.rope_scaling == scaling
    factors[1] *= 1.5
    with pytest.raises(ConversionError, match="rotary scaling"):
        own_checkpoint.open_gguf(write(fields=fields, tensors={"rope_freqs.weight": factors}))
    linear = {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}
    opened = own_checkpoint.open_gguf(write(fields=linear))
    assert opened.config.model.llm.rope_scaling == RopeScaling("linear", 4.0)


@pytest.mark.parametrize(
    "fields, drop, words",
    [
        ({"tokenizer.ggml.model": "bert"}, (), "--tokenizer"),
        ({"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "tekken"}, (), "'tekken'"),
        ({"llama.expert_count": 8}, (), "expert_count is 8"),
        ({"llama.rope.dimension_count": 8}, (), "dimension_count is 8"),
        ({"split.count": 3}, (), "one of 3 parts"),
        ({"llama.rope.scaling.type": "yarn"}, (), "yarn"),
        ({}, ("llama.block_count",), "no llama.block_count"),
        ({"llama.block_count": 3}, (), "blk.2"),
        ({"llama.feed_forward_length": 128}, (), "has shape"),
    ],
)
def test_what_has_no_counterpart_is_named(write, fields, drop, words):
    with pytest.raises(ConversionError) as caught:
        own_checkpoint.open_gguf(write(fields=fields, drop=drop))
    assert words in str(caught.value) and "tiny.gguf" in str(caught.value)


def test_another_architecture_is_refused(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "other.gguf", "gemma3")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ConversionError, match="'gemma3'"):
        own_checkpoint.open_gguf(tmp_path / "other.gguf")


def test_a_damaged_file_is_refused(write, tmp_path):
    whole = write("Q8_0").read_bytes()
    for data in (whole[:-1000], whole[:500], b"no GGUF at all", b""):
        (tmp_path / "bad.gguf").write_bytes(data)
        with pytest.raises(ConversionError, match="damaged"):
            own_checkpoint.open_gguf(tmp_path / "bad.gguf")


def test_a_tensor_that_is_not_finite_is_named(write):
    bad = np.full(WIDTH, np.nan, np.float32)
    opened = own_checkpoint.open_gguf(write(tensors={"blk.1.ffn_norm.weight": bad}))
    with pytest.raises(ConversionError, match="blk.1.ffn_norm.weight"):
        opened.leaves["params/llm/layers/ln_mlp/scale"].value()


def test_the_missing_package_is_named(write, monkeypatch):
    path, real = write(), builtins.__import__

    def blocked(name, *rest):
        if name == "gguf":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", blocked)
    with pytest.raises(SetupError, match="`gguf`"):
        own_checkpoint.open_gguf(path)
