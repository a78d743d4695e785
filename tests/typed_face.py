"""A user's program, which the type checker reads and nothing runs: the public face has types."""

from collections.abc import Iterator
from typing import Any, assert_type

import numpy as np

import zv_jax


def use(folder: str) -> None:
    """Every name of DESIGN's Python contract, with the type that an editor shows."""
    model = zv_jax.from_pretrained(folder, dtype="float32", mesh=zv_jax.MeshConfig(data=1))
    assert_type(model, zv_jax.Model)
    inputs = model.processor(texts=["What is here?"], images=[["a.png"]])
    assert_type(inputs, zv_jax.Inputs)
    assert_type(model(inputs), np.ndarray)
    ids, mask = np.zeros((1, 4), np.int32), np.ones((1, 4), bool)
    assert_type(model(input_ids=ids, attention_mask=mask), np.ndarray)
    for decoding in (
        zv_jax.Greedy(),
        zv_jax.Sample(temperature=0.7, top_p=0.9, top_k=40, seed=1),
        zv_jax.Beam(5, length_penalty=1.0),
    ):
        found = model.generate(inputs, decoding, max_new_tokens=32, stop=[13])
        assert_type(found, np.ndarray)
    assert_type(model.generate(input_ids=ids, attention_mask=mask, num_beams=5), np.ndarray)
    assert_type(model.answer(["What is here?"], [["a.png"]], temperature=0.7), list[str])
    rows = model.candidates(["What is here?"], [["a.png"]], decoding=zv_jax.Beam(5, n=3))
    assert_type(rows, list[list[zv_jax.Answer]])
    assert_type(model.sequences(inputs, zv_jax.Sample(n=2)), zv_jax.Sequences)
    assert_type(model.rank(["What is here?"], [["a cat", "a dog"]]), list[zv_jax.Ranking])
    assert_type(model.embed_images(["a.png"]), np.ndarray)
    assert_type(model.embed_texts(["a cat"]), np.ndarray)
    assert_type(model.match(["a.png"], ["a cat"]), np.ndarray)
    assert_type(model.attention_maps(["a.png"], ["What is here?"]), np.ndarray)
    model.save_pretrained("out")
    chat = zv_jax.Chat(model)
    assert_type(chat.ask("图里有什么？", images=["a.png"]), str)
    assert_type(chat.stream("And what colour is it?"), Iterator[str])
    assert_type(zv_jax.train({}, "runs/stage1"), int)
    assert_type(zv_jax.evaluate(model, "okvqa", data="data"), dict[str, Any])
    print(zv_jax.objectives.itc, zv_jax.metrics.vqa_accuracy)


def mistakes(model: zv_jax.Model) -> None:
    """What the type checker must refuse: an unused ignore is an error."""
    model.generate(None)  # type: ignore[call-overload]
    model.answer(["What?"], tempreature=1.0)  # type: ignore[call-arg]
    zv_jax.Beam("five")  # type: ignore[arg-type]
    print(zv_jax.nothing)  # type: ignore[attr-defined]
