"""The engine on several devices of one host: weights and rows shared out, the same answers."""

import pytest

CODE = """
import queue, sys
import zv_jax
from zv_jax.parallel.hardware import MeshConfig
from zv_jax.serving.engine import Engine
from zv_jax.serving.jobs import Job, Piece

model = zv_jax.from_pretrained(sys.argv[1], mesh=MeshConfig(data=1, fsdp=2, tensor=2))
asked = [("What is in the picture?", sys.argv[2:3]), ("图里有什么？", sys.argv[2:4]), ("two", [])]
with Engine(model, slots=1, max_new_tokens=16) as engine:
    assert engine.slots == 2  # one for each device that shares rows
    for text, images in asked:
        question = model.processor.question(text, images, max_new_tokens=16)
        events = queue.SimpleQueue()
        engine.submit(Job(question, zv_jax.Greedy(), 16), events.put)
        found = []
        while isinstance(event := events.get(timeout=120), Piece):
            found.append(event.text)
        expected = model.answer([text], [images], max_new_tokens=16)[0]
        assert "".join(found) == expected, (event, found, expected)
"""


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["base", "chat"])
def test_weights_and_rows_over_four_devices(folder, images, variant, fresh_python, tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(2)]
    for path, file in zip(paths, images, strict=False):
        path.write_bytes(file)
    arguments = str(folder("stage2", variant)), *map(str, paths)
    done = fresh_python("-c", CODE, *arguments, devices=4)
    assert done.returncode == 0, done.stderr
