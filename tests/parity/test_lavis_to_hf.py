"""From LAVIS's files through a checkpoint of ours to transformers: the same logits at both ends."""

import numpy as np
import pytest
from parity_models import pixels, t

from zv_jax.cli import main as cli
from zv_jax.convert import formats, hf

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import lavis_model  # noqa: E402

# Heads as wide as in the preset tiny_chat, which the files are read with.
SIZES = lavis_model.Sizes(width=32, heads=4)
LLM_WIDTH, WORDS = 48, 96
CLOSE = dict(atol=1e-4, rtol=0)
RNG = np.random.default_rng(11)
IMAGES = RNG.standard_normal((3, 28, 28, 3)).astype(np.float32)


def texts(words: int, lengths: tuple[int, ...]):
    """Ids and mask, padded on the right; the last id is left to the placeholder of images."""
    ids = RNG.integers(3, words - 1, (len(lengths), max(lengths)))
    mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
    return t(np.where(mask, ids, 0)), t(mask.astype(int))


def there(tmp_path, source: dict, name: str, *flags: str):
    """The class `name` of transformers, loaded from what the two commands make of `source`."""
    torch.save({"model": source}, tmp_path / "lavis.pth")
    run, out = str(tmp_path / "run"), str(tmp_path / "out")
    command = ["convert", "from-lavis", str(tmp_path / "lavis.pth"), run, "--preset=tiny_chat"]
    assert cli.main([*command, *flags]) == 0
    assert cli.main(["convert", "to-hf", run, out]) == 0
    model, info = getattr(transformers, name).from_pretrained(out, output_loading_info=True)
    assert not any(info.values()), info
    mine, theirs = formats.open_any(run), hf.open_hf(out)
    assert mine.specs.keys() == theirs.leaves.keys()
    for path, value in mine.read(mine.specs).items():
        np.testing.assert_array_equal(theirs.leaves[path].value(), value, err_msg=path)
    return model.eval()


def test_stage_1(tmp_path):
    ours = lavis_model.Blip2Qformer(SIZES)
    lavis_model.randomise(ours)
    model = there(tmp_path, ours.state_dict(), "Blip2ForImageTextRetrieval")
    ids, mask = texts(SIZES.vocab, (9, 4, 7))
    given = dict(pixel_values=pixels(IMAGES), input_ids=ids, attention_mask=mask)
    with torch.no_grad():
        similarity, matching = ours.scores(pixels(IMAGES), ids, mask)
        itc = model(**given, use_image_text_matching_head=False).logits_per_image
        itm = model(**given, use_image_text_matching_head=True).logits_per_image
    assert similarity.std() > 0.01 and matching.std() > 0.01
    np.testing.assert_allclose(itc, similarity, **CLOSE)
    np.testing.assert_allclose(itm, matching, **CLOSE)


@pytest.mark.parametrize("chat", [True, False], ids=["InstructBLIP", "BLIP-2"])
def test_vicuna(tmp_path, chat, capsys):
    """The frozen parts come from files of their own: a directory and an `eva_vit_g.pth`."""
    llm = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=WORDS, hidden_size=LLM_WIDTH, intermediate_size=56, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=64,
        )
    )  # fmt: skip
    ours = lavis_model.Blip2VicunaInstruct(SIZES, llm, LLM_WIDTH)
    lavis_model.randomise(ours)
    ours.eval()
    llm.save_pretrained(tmp_path / "vicuna")
    torch.save(lavis_model.vit_file(ours.visual_encoder), tmp_path / "eva_vit_g.pth")
    model = there(
        tmp_path,
        lavis_model.trained(ours.state_dict(), text=chat),
        f"{'InstructBlip' if chat else 'Blip2'}ForConditionalGeneration",
        f"--llm={tmp_path / 'vicuna'}",
        f"--vision={tmp_path / 'eva_vit_g.pth'}",
    )
    shown = capsys.readouterr().out
    assert "missing in" not in shown and "unused in vision: visual_encoder.blocks.2." in shown

    ids, mask = texts(WORDS, (8, 3, 6))
    asked, seen = texts(SIZES.vocab, (5, 7, 2)) if chat else (None, None)
    place = torch.full((3, SIZES.queries), model.config.image_token_index)
    given = dict(
        pixel_values=pixels(IMAGES),
        input_ids=torch.cat([place, ids], 1),
        attention_mask=torch.cat([torch.ones_like(place), mask], 1),
    )
    if chat:
        given |= dict(qformer_input_ids=asked, qformer_attention_mask=seen)
    with torch.no_grad():
        expected = ours(pixels(IMAGES), ids, mask, asked, seen)
        got = model(**given).logits
    real = given["attention_mask"].bool()
    assert expected.abs().max() > 1
    np.testing.assert_allclose(got[real], expected[real], **CLOSE)
