"""A run on Apache Beam and one in this process: the same files, the same requests, once each."""

import dataclasses
import json

import pytest
import scripted
from bmmic_server import Model

from zv_jax.bmmic import config as config_lib
from zv_jax.bmmic import run as run_lib
from zv_jax.errors import ConfigError, DataError

pytest.importorskip("apache_beam")

from zv_jax.bmmic.on_beam import OnBeam  # noqa: E402
from zv_jax.data.sources import on_beam  # noqa: E402

OPTIONS = on_beam.pipeline_options([], 1)


class World:
    def __init__(self, root):
        self.root, self.down = root, False
        scripted.write_images(root / "data")
        scripted.write_questions(root / "data")
        script = scripted.Script()
        self.model = Model(lambda messages: self.answer(script, messages))
        server = {"url": self.model.url, "model": "scripted", "price_in": 1.0, "price_out": 2.0,
                  "tries": 1, "budget": 5.0}  # fmt: skip
        self.config = config_lib.validate(
            config_lib.recipe(
                shard_size=4,
                symbols={
                    "sources": ({"name": "records", "root": str(root / "data" / "scenes.jsonl")},),
                    "licence": "CC BY 4.0",
                },
                translate={
                    "sources": (
                        {"name": "vqav2", "root": str(root / "data" / "vqav2.jsonl"),
                         "split": "train"},
                    ),
                    "batch": 3,
                },
                rewrite={"share": 1.0},
                export={"title": "Test", "formats": ("records", "llava")},
                server=server,
            )
        )  # fmt: skip

    def answer(self, script, messages):
        if self.down and "红" in messages[-1]["content"]:
            return 503
        return script(messages)

    def run(self, name, asking=run_lib.ask_here):
        run_lib.run(self.config, self.root / name, lambda text: None, asking)
        return {
            str(p.relative_to(self.root / name)): p.read_bytes()
            for p in sorted((self.root / name).rglob("*"))
            if p.is_file() and not p.name.startswith("ledger") and p.parent.name != "beam"
        }

    def asked(self):
        found = [json.dumps(body, sort_keys=True) for body in self.model.requests]
        self.model.requests.clear()
        return sorted(found)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("beam"))
    yield made
    made.model.shutdown()


def test_beam_writes_the_same_bytes_and_asks_the_same(world):
    plain, asked = world.run("plain"), world.asked()
    beam = world.run("spread", OnBeam(OPTIONS, 3))
    assert beam.keys() == plain.keys()
    assert [name for name in beam if beam[name] != plain[name]] == []
    assert world.asked() == asked
    assert len(list((world.root / "spread").glob("ledger-*-of-3.jsonl"))) == 3
    world.run("spread", OnBeam(OPTIONS, 3))
    assert world.asked() == [], "a repeated bundle finds what it needs"
    with pytest.raises(ConfigError, match="settings.parts: 3 then, 2 now"):
        world.run("spread", OnBeam(OPTIONS, 2))


def test_a_broken_bundle_is_tried_again_and_nothing_is_paid_twice(world):
    plain = world.run("whole")
    world.asked()
    world.down = True
    with pytest.raises(DataError, match="had no reply|no reply"):
        world.run("broken", OnBeam(OPTIONS, 2))
    world.down = False
    first = world.asked()
    assert world.run("broken", OnBeam(OPTIONS, 2)) == plain
    again = set(world.asked()) & set(first)
    assert all("红" in json.loads(body)["messages"][-1]["content"] for body in again)


def test_the_parts_together_keep_to_the_budget(world):
    config = world.config
    small = dataclasses.replace(config, server=dataclasses.replace(config.server, budget=0.018))
    workdir = world.root / "poor"
    with pytest.raises(DataError, match="budget"):
        run_lib.run(small, workdir, lambda text: None, OnBeam(OPTIONS, 3))
    spent = len(world.asked()) * (100 * 1.0 + 20 * 2.0) / 1e6
    assert 0 < spent <= 0.018
