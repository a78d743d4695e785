"""The scorer of `zv data filter` against the similarities that the models themselves return."""

import numpy as np
import pytest
from PIL import Image

from zv_jax.data.cleaning import scores
from zv_jax.errors import ConfigError

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"一二三只狗猫红蓝", "dog", "cat"]
LENGTH = 12  # places of a text of SigLIP


@pytest.fixture(scope="module")
def chinese_clip(tmp_path_factory):
    """A tiny ChineseCLIP with random weights, saved as a published one is."""
    folder = tmp_path_factory.mktemp("chinese_clip")
    (folder / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.ChineseCLIPConfig(
        text_config=size | {"vocab_size": len(WORDS), "intermediate_size": 64},
        vision_config=size | {"intermediate_size": 64, "image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    torch.manual_seed(0)
    transformers.ChineseCLIPModel(config).save_pretrained(folder)
    processor = transformers.ChineseCLIPProcessor(
        transformers.ChineseCLIPImageProcessor(
            size={"height": 32, "width": 32}, crop_size={"height": 32, "width": 32}
        ),
        transformers.BertTokenizer(str(folder / "vocab.txt")),
    )
    processor.save_pretrained(folder)
    return folder


def test_cosines_are_those_of_the_model_whatever_the_batch(chinese_clip):
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 255, (40, 50, 3), np.uint8)) for _ in range(5)]
    texts = ["一只狗", "二只猫", "红", "a dog", "蓝猫"]
    model = transformers.ChineseCLIPModel.from_pretrained(chinese_clip).eval()
    processor = transformers.ChineseCLIPProcessor.from_pretrained(chinese_clip)
    with torch.inference_mode():
        inputs = processor(text=texts, images=images, return_tensors="pt", padding=True)
        out = model(**inputs)
        expected = (out.logits_per_image.diag() / model.logit_scale.exp()).numpy()
    for batch in (2, 32):
        got = scores.transformers_scorer(str(chinese_clip), batch)(images, texts)
        np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.fixture(scope="module", params=["siglip", "siglip2"])
def siglip(request, tmp_path_factory):
    """A tiny SigLIP with random weights, its texts 12 long, and a tokenizer that knows no limit, as
    that of SigLIP 2."""
    library = pytest.importorskip("tokenizers")
    folder = tmp_path_factory.mktemp(request.param)
    words = library.Tokenizer(
        library.models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    words.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", padding_side="right",
        model_input_names=["input_ids"],
    )  # fmt: skip
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    size |= {"intermediate_size": 64}
    text = size | {"vocab_size": len(WORDS), "max_position_embeddings": LENGTH}
    torch.manual_seed(0)
    if request.param == "siglip":
        config = transformers.SiglipConfig(
            text_config=text, vision_config=size | {"image_size": 32, "patch_size": 8}
        )
        transformers.SiglipModel(config).save_pretrained(folder)
        images = transformers.SiglipImageProcessor(size={"height": 32, "width": 32})
        transformers.SiglipProcessor(images, tokenizer).save_pretrained(folder)
    else:
        config = transformers.Siglip2Config(
            text_config=text, vision_config=size | {"num_patches": 16, "patch_size": 16}
        )
        transformers.Siglip2Model(config).save_pretrained(folder)
        images = transformers.Siglip2ImageProcessor()
        transformers.Siglip2Processor(images, tokenizer).save_pretrained(folder)
    return folder


def test_siglip_scores_a_pair_alike_in_every_batch(siglip):
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)) for _ in range(4)]
    texts = ["红", "a dog", "一 只 狗 二 只 猫 红", "猫 " * 2 * LENGTH]  # the last one is too long
    model = transformers.AutoModel.from_pretrained(siglip).eval()
    processor = transformers.AutoProcessor.from_pretrained(siglip)
    with torch.inference_mode():
        inputs = processor(
            text=texts, images=images, return_tensors="pt", padding="max_length",
            truncation=True, max_length=LENGTH,
        )  # fmt: skip
        out = model(**inputs)
        expected = (out.logits_per_image.diag() - model.logit_bias) / model.logit_scale.exp()
    for batch in (1, 2, 3, 4):
        got = scores.transformers_scorer(str(siglip), batch)(images, texts)
        np.testing.assert_allclose(got, expected.numpy(), atol=1e-5)


def test_a_model_that_is_no_clip_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no CLIP model"):
        scores.transformers_scorer(str(tmp_path))
