"""What scorers make of predictions, apart from any model."""

import numpy as np

from zv_jax.data.records.record import ImageRef, Record
from zv_jax.evaluation import score as score_lib
from zv_jax.evaluation import task as task_lib
from zv_jax.evaluation.predict import Item
from zv_jax.evaluation.predictions import Prediction


def captioned(number, domain, *references):
    record = Record(
        id=f"nocaps/val/{number}", source="nocaps", split="val", task="caption", lang="en",
        images=(ImageRef(path=f"{number}.jpg"),), turns=(), answers=references,
    )  # fmt: skip
    return Item(record.id, domain, record.images, (), (references,), "", record)


def test_each_part_of_nocaps_has_document_frequencies_of_its_own():
    nocaps = task_lib.load("nocaps")
    items = [
        captioned(0, "in-domain", "a red dog runs", "the dog is red"),
        captioned(1, "out-domain", "a red kite flies", "a kite in the sky"),
        captioned(2, "in-domain", "a white cat sleeps", "the cat is asleep"),
        captioned(3, "out-domain", "a dog on a kite", "one dog and its kite"),
    ]
    texts = ["a red dog", "a red kite in the sky", "a cat sleeps on grass", "a dog and a kite"]
    found = score_lib.score(nocaps, "en", items, [Prediction(text) for text in texts])
    whole, measures = found.measures[0], {m.metric: m for m in found.measures}
    for domain, rows in {"in-domain": [0, 2], "out-domain": [1, 3]}.items():
        said = [Prediction(texts[n]) for n in rows]
        alone = score_lib.score(nocaps, "en", [items[n] for n in rows], said).measures[0]
        part = measures[f"{whole.metric}_{domain}"]
        np.testing.assert_array_equal(part.owners, rows)
        np.testing.assert_array_equal(part.values, alone.values)
        assert not np.allclose(part.values, whole.values[rows])
