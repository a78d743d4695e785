"""The embedded data set through the whole pipeline."""

import pytest

from zv_jax.config import recipe, validate
from zv_jax.data import pipeline, vocabulary
from zv_jax.data.openmoji import prepare
from zv_jax.data.sources import open_source


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("scenes")
    return str(prepare.prepare(place, train=12, val=2, test=2, canvas=48, progress=False))


def test_its_records_are_those_of_the_scenes(folder):
    source, scenes = open_source("zv_openmoji", folder), prepare.open_split(folder, "train")
    everything = [r for i in range(len(scenes)) for r in scenes[i]["records"]]
    assert [source.record(i) for i in range(len(source))] == everything
    assert source.picture(everything[0].images[0]).size == (48, 48)


@pytest.mark.parametrize("variant", ["base", "chat"])
@pytest.mark.parametrize("stage", ["language", "stage0", "stage1", "stage2"])
def test_every_record_becomes_a_row(folder, tmp_path_factory, stage, variant):
    data = {
        "sources": ({"name": "zv_openmoji", "path": folder},),
        "max_images": 2,
        "box_decimals": 2,
        "max_length": 256,
    }
    config = validate(
        recipe(
            f"quickstart_{variant}",
            stage={"name": stage, "variant": variant},
            data=data,
            train={"batch_size": 16},
        )
    )
    words = vocabulary.load_tokenizers(config, tmp_path_factory.getbasetemp() / "words")
    stream = pipeline.make_pipeline(config, tokenizers=words)
    seen = set()
    for _ in range(-(-pipeline.samples_per_epoch(config)[0] // 16)):
        batch = next(stream)
        seen.update(batch["index"].tolist())
        for name in set(batch) & {"input_ids", "text_ids", "qformer_input_ids"}:
            assert not (batch[name] == words[0].unk_id).any()
    stream.close()
    assert seen == set(range(pipeline.samples_per_epoch(config)[0]))
