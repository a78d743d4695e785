"""The chain of `zv bmmic symbols` through the real classes of transformers, with random weights.

Random weights say nothing of quality. What is compared: the same call of the model by hand, that a
batch changes nothing, that names and boxes come back to their images, and what a view says of it.
"""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from zv_jax.bmmic import config as config_lib
from zv_jax.bmmic.annotate import boxes
from zv_jax.bmmic.annotate.open import SEGMENTERS, TAGGERS, open_chain
from zv_jax.bmmic.config import Annotate, Model, TaggerModel
from zv_jax.bmmic.steps import symbols
from zv_jax.bmmic.steps.shards import Shards
from zv_jax.errors import ConfigError

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

NAMES = ["dog", "cat", "red car", "tree"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "dog", "cat", "red", "car", "tree"]
SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
SMALL |= {"intermediate_size": 64}


PARSING = {
    "description_with_bboxes": {
        "PATTERN": r"([a-zA-Z0-9 ]+)<loc_(\d+)><loc_(\d+)><loc_(\d+)><loc_(\d+)>"
    },
    "pure_text": {},
}


def pictures():
    rng = np.random.default_rng(0)
    sizes = ((64, 64, 3), (48, 80, 3), (64, 40, 3))
    return [Image.fromarray(rng.integers(0, 255, size, np.uint8)) for size in sizes]


def saved(model, processor, folder):
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


def wordy(extra=None, **special):
    """A tokenizer of whole words: the specials, then a few words."""
    words = [*special.values(), *WORDS]
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys(words))}
    own = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    own.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=own, unk_token="[UNK]", padding_side="right",
        extra_special_tokens=extra or {}, model_input_names=["input_ids", "attention_mask"],
        **special,
    )  # fmt: skip


@pytest.fixture(scope="module")
def dino(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dino")
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    swin = transformers.SwinConfig(
        image_size=64, patch_size=4, embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 2],
        window_size=4, out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = transformers.GroundingDinoConfig(
        backbone_config=swin, text_config=transformers.BertConfig(**SMALL, vocab_size=len(WORDS)),
        d_model=32, encoder_layers=1, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, num_queries=20,
        max_text_len=8, num_feature_levels=4,
    )  # fmt: skip
    torch.manual_seed(0)
    processor = transformers.GroundingDinoProcessor(
        transformers.GroundingDinoImageProcessor(size={"shortest_edge": 96, "longest_edge": 160}),
        transformers.BertTokenizer(str(folder / "vocab.txt")),
    )
    return saved(transformers.GroundingDinoForObjectDetection(config), processor, folder)


@pytest.fixture(scope="module")
def siglip(tmp_path_factory):
    words = wordy(pad_token="[PAD]")
    text = SMALL | {"vocab_size": len(words), "max_position_embeddings": 8}
    config = transformers.SiglipConfig(
        text_config=text, vision_config=SMALL | {"image_size": 32, "patch_size": 8}
    )
    torch.manual_seed(0)
    images = transformers.SiglipImageProcessor(size={"height": 32, "width": 32})
    processor = transformers.SiglipProcessor(images, words)
    folder = tmp_path_factory.mktemp("siglip")
    return saved(transformers.SiglipModel(config), processor, folder)


@pytest.fixture(scope="module")
def sam2(tmp_path_factory):
    pytest.importorskip("torchvision")
    backbone = transformers.Sam2HieraDetConfig(
        hidden_size=8, num_attention_heads=1, image_size=[128, 128],
        window_positional_embedding_background_size=[4, 4], blocks_per_stage=[1, 1, 1, 1],
        embed_dim_per_stage=[8, 16, 32, 64], num_attention_heads_per_stage=[1, 1, 1, 1],
        window_size_per_stage=[4, 4, 4, 4], global_attention_blocks=[],
    )  # fmt: skip
    vision = transformers.Sam2VisionConfig(
        backbone_config=backbone, backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]], fpn_hidden_size=32,
    )  # fmt: skip
    prompts = {"hidden_size": 32, "image_size": 128, "mask_input_channels": 4}
    masks = {"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": 32}
    config = transformers.Sam2Config(
        vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=masks
    )
    torch.manual_seed(0)
    size = {"size": {"height": 128, "width": 128}, "mask_size": {"height": 32, "width": 32}}
    processor = transformers.Sam2Processor(transformers.Sam2ImageProcessor(**size))
    return saved(transformers.Sam2Model(config), processor, tmp_path_factory.mktemp("sam2"))


@pytest.fixture(scope="module")
def sam3(tmp_path_factory):
    pytest.importorskip("torchvision")
    words = wordy(pad_token="[PAD]", eos_token="[SEP]", bos_token="[CLS]")
    part = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
    vision = {
        "backbone_config": {
            "model_type": "sam3_vit_model", **part, "num_hidden_layers": 2, "image_size": 56,
            "patch_size": 14, "window_size": 2, "global_attn_indexes": [1],
            "pretrain_image_size": 28,
        },
        "fpn_hidden_size": 32, "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
    }  # fmt: skip
    text = SMALL | {"vocab_size": len(words), "max_position_embeddings": 32,
                    "projection_dim": 32}  # fmt: skip
    config = transformers.Sam3Config(
        vision_config=vision, text_config=text, geometry_encoder_config=part | {"num_layers": 1},
        detr_encoder_config=part | {"num_layers": 1},
        detr_decoder_config=part | {"num_layers": 1, "num_queries": 6},
        mask_decoder_config={"hidden_size": 32, "num_attention_heads": 2,
                             "num_upsampling_stages": 2},
    )  # fmt: skip
    torch.manual_seed(0)
    size = {"size": {"height": 56, "width": 56}, "mask_size": {"height": 16, "width": 16}}
    processor = transformers.Sam3Processor(transformers.Sam3ImageProcessor(**size), words)
    return saved(transformers.Sam3Model(config), processor, tmp_path_factory.mktemp("sam3"))


@pytest.fixture(scope="module")
def florence2(tmp_path_factory):
    words = wordy({"image_token": "<image>"}, bos_token="<s>", pad_token="<pad>", eos_token="</s>")
    words.add_tokens([f"<loc_{i}>" for i in range(1000)])
    text = transformers.BartConfig(
        vocab_size=len(words), d_model=32, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=64,
        decoder_ffn_dim=64, max_position_embeddings=600, bos_token_id=0, pad_token_id=1,
        eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=None,
    )  # fmt: skip
    vision = {
        "embed_dim": [16, 16, 16, 16], "depths": [1, 1, 1, 1], "num_heads": [2, 2, 2, 2],
        "num_groups": [2, 2, 2, 2], "window_size": 4, "projection_dim": 32, "drop_path_rate": 0.0,
    }  # fmt: skip
    config = transformers.Florence2Config(
        text_config=text, vision_config=vision, image_token_id=words.image_token_id
    )
    torch.manual_seed(0)
    images = transformers.CLIPImageProcessor(
        size={"height": 64, "width": 64}, crop_size={"height": 64, "width": 64}
    )
    images.image_seq_length = 5
    processor = transformers.Florence2Processor(images, words, post_processor_config=PARSING)
    folder = tmp_path_factory.mktemp("florence2")
    return saved(transformers.Florence2ForConditionalGeneration(config), processor, folder)


def part(kind, model, threshold=0.0, **more):
    made = TaggerModel if more or kind in ("florence2", "siglip") else Model
    return made(kind=kind, model=model, threshold=threshold, **more)


def detector_of(model, **fields):
    return open_chain(Annotate(detector=model, **fields)).detector


def test_grounding_dino_gives_each_query_its_best_name(dino):
    own = detector_of(part("grounding_dino", dino))
    model = transformers.GroundingDinoForObjectDetection.from_pretrained(dino).eval()
    processor = transformers.AutoProcessor.from_pretrained(dino)
    image = pictures()[1]
    (found,) = own.detect([image], [["dog", "Red Car"]])
    inputs = processor(images=image, text="dog. red car.", return_tensors="pt")
    assert processor.tokenizer.convert_ids_to_tokens(inputs.input_ids[0]) == [
        "[CLS]", "dog", ".", "red", "car", ".", "[SEP]"
    ]  # fmt: skip
    with torch.inference_mode():
        out = model(**inputs)
    sure = out.logits[0].sigmoid().numpy()
    by_name = np.stack([sure[:, 1], sure[:, 3:5].max(1)], 1)
    np.testing.assert_allclose(found.scores, by_name.max(1), atol=1e-6)
    assert found.labels.tolist() == by_name.argmax(1).tolist()
    theirs = processor.post_process_grounded_object_detection(
        out, inputs.input_ids, threshold=0.0, target_sizes=[image.size[::-1]]
    )
    np.testing.assert_allclose(found.boxes, theirs[0]["boxes"].numpy(), atol=1e-3)


def test_names_too_many_for_one_text_are_all_asked_for(dino):
    own = detector_of(part("grounding_dino", dino))
    image = pictures()[0]
    (found,) = own.detect([image], [NAMES])  # 6 tokens fit: two texts
    first, second = (own.detect([image], [names])[0] for names in (NAMES[:2], NAMES[2:]))
    assert len(found.scores) == 40
    np.testing.assert_allclose(found.scores, np.r_[first.scores, second.scores], atol=1e-6)
    assert found.labels.tolist() == [*first.labels, *(second.labels + 2)]
    nothing = own.detect([image, image], [[], [" . "]])
    assert [len(one.boxes) for one in nothing] == [0, 0]


def test_siglip_names_what_is_probable_in_both_languages(siglip, tmp_path):
    (tmp_path / "tags.tsv").write_text("dog\t狗\ncat\t猫\n\nred car\t红色汽车\ntree\t\n", "utf-8")
    tags = str(tmp_path / "tags.tsv")
    tagger = open_tagger(part("siglip", siglip, tags=tags, most=3))
    model = transformers.SiglipModel.from_pretrained(siglip).eval()
    processor = transformers.AutoProcessor.from_pretrained(siglip)
    texts = [f"This is a photo of {name}." for name in NAMES]
    inputs = processor(
        text=texts, images=pictures(), return_tensors="pt", padding="max_length", max_length=8
    )
    with torch.inference_mode():
        order = model(**inputs).logits_per_image.argsort(descending=True, stable=True).tolist()
    chinese = dict(zip(NAMES, ("狗", "猫", "红色汽车", None), strict=True))
    found = tagger.tags(pictures(), [])
    assert [[t.en for t in one] for one in found] == [[NAMES[i] for i in row[:3]] for row in order]
    assert all(t.zh == chinese[t.en] for one in found for t in one)
    (tmp_path / "tags.tsv").write_text("dog 狗")
    with pytest.raises(ConfigError, match="no list of tags"):
        open_tagger(part("siglip", siglip, tags=tags))


def open_tagger(model):
    return TAGGERS[model.kind](Annotate(tagger=model))


def test_florence2_reads_labels_off_its_reply(florence2):
    tagger = open_tagger(part("florence2", florence2))
    for found in tagger.tags(pictures(), []):
        assert all(tag.en for tag in found), "random weights may name nothing at all"
    place = "<loc_1><loc_2><loc_30><loc_40>"
    reply = f"</s><s>Dog{place}cat{place}dog{place}</s>"
    labels = tagger._labels(reply, pictures()[0])
    assert [(t.en, t.zh) for t in labels] == [("dog", "狗"), ("cat", "猫")]


def test_sam2_masks_are_those_of_one_image_at_a_time(sam2):
    segmenter = SEGMENTERS["sam2"](Annotate(segmenter=part("sam2", sam2)))
    images = pictures()
    two, one = [[4.0, 4, 30, 30], [10, 10, 40, 60]], [[0.0, 0, 40, 64]]
    own = [np.array(two), np.zeros((0, 4)), np.array(one)]
    found = list(segmenter.masks(images, own))
    assert [m.shape for m in found] == [(2, 64, 64), (0, 48, 80), (1, 64, 40)]
    model = transformers.Sam2Model.from_pretrained(sam2).eval()
    processor = transformers.AutoProcessor.from_pretrained(sam2)
    for image, given, masks in zip(images, own, found, strict=True):
        if not len(given):
            continue
        inputs = processor(images=image, input_boxes=[given.tolist()], return_tensors="pt")
        with torch.inference_mode():
            out = model(**inputs, multimask_output=False)
        (theirs,) = processor.post_process_masks(out.pred_masks, inputs["original_sizes"])
        assert (theirs[:, 0].numpy() == masks).mean() > 0.999
        assert masks.any() and not masks.all()


def test_sam3_finds_boxes_of_each_name_and_tightens_them(sam3):
    own = detector_of(part("sam3", sam3), tighten=0.0)
    model = transformers.Sam3Model.from_pretrained(sam3).eval()
    processor = transformers.AutoProcessor.from_pretrained(sam3)
    image = pictures()[1]
    found, none = own.detect([image, image], [["dog", "red car"], []])
    assert not len(none.boxes)
    for number, name in enumerate(("dog", "red car")):
        inputs = processor(images=image, text=name, return_tensors="pt")
        given = {k: inputs[k] for k in ("pixel_values", "input_ids", "attention_mask")}
        with torch.inference_mode():
            out = model(**given)
        (theirs,) = processor.post_process_instance_segmentation(
            out, threshold=0.0, target_sizes=[(48, 80)]
        )
        mine = found[found.labels == number]
        np.testing.assert_allclose(mine.scores, theirs["scores"].numpy(), atol=1e-5)
        for box, mask, raw in zip(mine.boxes, theirs["masks"], theirs["boxes"], strict=True):
            expected = boxes.tightened(raw.double().numpy(), mask.numpy().astype(bool), 0.0)
            np.testing.assert_allclose(box, expected, atol=1e-3)


def test_another_kind_of_checkpoint_is_refused_and_not_filled_with_noise(dino, siglip, tmp_path):
    for folder in (siglip, str(tmp_path), "nobody/has-this"):
        with pytest.raises(ConfigError, match="no GroundingDinoForObjectDetection"):
            detector_of(part("grounding_dino", folder))
    with pytest.raises(ConfigError, match="its revision is sha256:"):
        detector_of(dataclasses.replace(part("grounding_dino", dino), revision="v1"))


def test_a_folder_of_images_through_all_three(dino, siglip, sam2, tmp_path):
    for number, image in enumerate(pictures()):
        (tmp_path / "in").mkdir(exist_ok=True)
        image.save(tmp_path / "in" / f"{number}.png")
    (tmp_path / "tags.tsv").write_text("dog\t狗\ncat\t猫\n", "utf-8")
    recipe = config_lib.recipe(
        symbols={"sources": ({"name": "images", "root": str(tmp_path / "in")},)},
        annotate={
            "tagger": {"kind": "siglip", "model": siglip, "threshold": 0.0,
                       "tags": str(tmp_path / "tags.tsv")},
            "detector": {"kind": "grounding_dino", "model": dino, "threshold": 0.0},
            "segmenter": {"kind": "sam2", "model": sam2}, "batch": 2,
        },
    )  # fmt: skip
    config = config_lib.validate(recipe)
    assert symbols.run(config, tmp_path / "out")["views"] == 3
    shards = Shards(tmp_path / "out" / "symbols")
    for view in symbols.read(shards, 0):
        assert view.objects and {o.label for o in view.objects} <= {"dog", "cat"}
        assert all(o.tag_zh == {"dog": "狗", "cat": "猫"}[o.label] for o in view.objects)
        made = view.meta["annotate"]
        assert all(made[p]["revision"].startswith("sha256:") for p in
                   ("tagger", "detector", "segmenter"))  # fmt: skip
        assert made["detector"]["model"] == dino and made["detector"]["threshold"] == 0.0
    before = shards.path(0).read_bytes()
    shards.path(0).unlink()
    symbols.run(config, tmp_path / "out")
    assert shards.path(0).read_bytes() == before
