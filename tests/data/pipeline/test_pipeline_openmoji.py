"""The embedded data set through the whole pipeline."""

import shutil

import pytest

from zv_jax.config import recipe, validate
from zv_jax.configs import quickstart
from zv_jax.data.openmoji import prepare
from zv_jax.data.pipeline import pipeline, symbols
from zv_jax.data.pipeline.assembler import Assembler
from zv_jax.data.sources.open import open_source
from zv_jax.data.text import vocabulary
from zv_jax.warmup.symbols import SYMBOL_TOKENS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("scenes")
    return str(prepare.prepare(place, train=12, val=2, test=2, canvas=48, progress=False))


def test_its_records_are_those_of_the_scenes(folder):
    source, scenes = open_source("zv_openmoji", folder), prepare.open_split(folder, "train")
    everything = [r for i in range(len(scenes)) for r in scenes[i]["records"]]
    assert [source.record(i) for i in range(len(source))] == everything
    assert source.image(everything[0].images[0]).size == (48, 48)


def setting(folder, tmp_path_factory, stage, variant="base", max_length=256, **source):
    """The quickstart's model over all records of the scenes, and its tokenizers."""
    data = {
        "sources": ({"name": "zv_openmoji", "path": folder, **source},),
        "max_images": 2,
        "box_decimals": 2,
        "max_length": max_length,
    }
    config = validate(
        recipe(
            f"quickstart_{variant}",
            stage={"name": stage, "variant": variant},
            data=data,
            train={"batch_size": 16},
        )
    )
    return config, vocabulary.load_tokenizers(config, tmp_path_factory.getbasetemp() / "words")


@pytest.mark.parametrize("variant", ["base", "chat"])
@pytest.mark.parametrize("stage", ["language", "vision", "stage0", "stage1", "stage2"])
def test_every_record_becomes_a_row(folder, tmp_path_factory, stage, variant):
    config, words = setting(folder, tmp_path_factory, stage, variant)
    stream = pipeline.make_pipeline(config, tokenizers=words)
    seen = set()
    for _ in range(-(-pipeline.samples_per_epoch(config)[0] // 16)):
        batch = next(stream)
        seen.update(batch["index"].tolist())
        for name in set(batch) & {"input_ids", "text_ids", "qformer_input_ids"}:
            assert not (batch[name] == words[0].unk_id).any()
    stream.close()
    assert seen == set(range(pipeline.samples_per_epoch(config)[0]))


def test_the_warm_up_shows_scenes_in_symbols(folder, tmp_path_factory):
    """One symbol for the background and one for each side of each box, at places drawn anew."""
    scenes = prepare.open_split(folder, "train")
    true = {
        (narrow, frozenset(text.replace(" ", "") for text in view))
        for i in range(len(scenes))
        for row in scenes[i]["records"]
        for narrow in (False, True)
        for view in symbols.symbolic_views(row, 2, narrow)
    }
    for place in ("topleft", "左上角"):
        assert any(place in text and "x1" in text for _, view in true for text in view)
    config, words = setting(folder, tmp_path_factory, "language")
    stream = pipeline.make_pipeline(config, tokenizers=words)
    places, kinds = set(), set()
    for rows in (next(stream)["symbols"], next(stream)["symbols"]):
        for row in rows.reshape(-1, config.model.qformer.num_queries, SYMBOL_TOKENS):
            texts = [words[0].decode([int(t) for t in one if t >= 0]) for one in row]
            shown = frozenset(text.replace(" ", "") for text in texts if text)
            found = {narrow for narrow, view in true if view == shown}
            assert found or not shown, shown
            kinds |= found
            places.add(tuple(bool(text) for text in texts))
    stream.close()
    assert len(places) > 10 and kinds == {False, True}


def test_scenes_of_two_folders_are_two_sets_of_images(folder, tmp_path):
    """Their addresses read alike, which the cache of images must not take for equal."""
    copy = shutil.copytree(folder, tmp_path / "copy")
    one, two = (open_source("zv_openmoji", str(place)) for place in (folder, copy))
    ref = one.record(0).images[0]
    assert ref == two.record(0).images[0] and one.root != two.root
    assert one.identified(ref)[0] == two.identified(ref)[0] and one.address(ref) != two.address(ref)


def test_the_vision_warm_up_names_what_the_patches_show(folder, tmp_path_factory):
    config, words = setting(folder, tmp_path_factory, "vision", tasks=("caption",))
    stream = pipeline.make_pipeline(config, tokenizers=words)
    batch = next(stream)
    stream.close()
    source = open_source("zv_openmoji", folder)
    captions = [i for i in range(len(source)) if source.record(i).task == "caption"]
    for index, patches in zip(batch["index"], batch["symbols"], strict=True):
        (view,) = source.record(captions[index]).meta["views"]
        texts = [words[0].decode([int(t) for t in one if t >= 0]) for one in patches]
        said = {text.replace(" ", "") for text in texts}
        assert view["background"].replace(" ", "") in said
        for name, box in view["objects"]:
            assert f"{name}x1{box[0]:.2f}".replace(" ", "") in said


def test_rows_of_the_warm_up_ask_a_picture_s_questions_in_any_order(folder, tmp_path_factory):
    """Each kind of question is asked about as often as the others, wherever it stands."""
    config, words = setting(
        folder, tmp_path_factory, "language", max_length=96, tasks=("vqa",), langs=("en",)
    )
    stream = pipeline.make_pipeline(config, tokenizers=words)
    text = " ".join(
        words[0].decode([int(i) for i in row if i < words[0].vocab_size])
        for _ in range(12)
        for row in next(stream)["input_ids"]
    )
    stream.close()
    where, background = text.count("where is") + text.count("in which"), text.count("background")
    assert where > 0.6 * background > 20


@pytest.mark.parametrize("name", [name for name in quickstart.RECIPES if name != "vision"])
def test_nothing_of_the_quickstart_is_too_long(folder, tmp_path_factory, name):
    config = quickstart.get_config(name)
    config.data.sources = tuple({**dict(s), "path": folder} for s in config.data.sources)
    config = validate(config)
    words = vocabulary.load_tokenizers(config, tmp_path_factory.getbasetemp() / "words")
    drawn = pipeline.drawn_from(config)
    assembler = Assembler(drawn, *words, cache_images=False)
    for number, source in enumerate(drawn):
        for index, part in source.table:
            found = assembler.words(number, int(index), int(part), epoch=0)
            assert (found.left_out, found.cut) == (0, 0)
