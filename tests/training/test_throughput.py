"""Speed, MFU and goodput of a log line, on pretended chips and a pretended clock."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from synthetic import tiny

from zv_jax.parallel.hardware import CHIPS, chip_of
from zv_jax.training import throughput
from zv_jax.training.flops import model_flops
from zv_jax.training.peers import StepInfo
from zv_jax.training.throughput import Throughput


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self):
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    monotonic = time


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(throughput, "time", found)
    return found


def meter(tmp_path, clock, kind="TPU v5 lite", chips=4, born=900.0) -> Throughput:
    (tmp_path / "events.jsonl").write_text(json.dumps({"time": born, "kind": "start"}) + "\n")
    found = Throughput(
        tiny("stage2", "chat"), tmp_path, [SimpleNamespace(device_kind=kind)] * chips
    )
    found.start(10)
    return found


def step(meter: Throughput, batch: dict[str, np.ndarray], waited: float = 0.0) -> None:
    meter.on_step(StepInfo(1, None, {}, {}, batch, waited=waited))


def rows(config, length: int) -> dict[str, np.ndarray]:
    """The two rows of one process, with images; a quarter of the tokens is padding."""
    size, mask = config.model.vision.image_size, np.ones((2, length), bool)
    mask[:, : length // 4] = False
    return {
        "images": np.zeros((2, config.data.max_images, size, size, 3), np.uint8),
        "attention_mask": mask,
    }


def test_speed_mfu_and_waiting(tmp_path, clock):
    found, config = meter(tmp_path, clock), tiny("stage2", "chat")
    for waited in (1.0, 0.0):
        step(found, rows(config, config.data.max_length), waited)
    clock.now += 4.0
    fields = found.fields(12)  # two steps of two seconds, eight rows on four chips
    assert fields["step_seconds"] == 2.0 and fields["data_wait"] == 0.25
    assert fields["images_per_second_per_chip"] == 1.0
    assert fields["tokens_per_second_per_chip"] == 12.0
    assert fields["padding"] == 0.25
    flops = model_flops(config)
    assert fields["mfu"] == pytest.approx(flops * 2 / 2.0 / 197e12)
    assert "TFLOP a row" in found.formula()
    clock.now += 4.0
    assert found.fields(13)["data_wait"] == 0.0, "counted from the line before"


def test_shorter_batches_count_as_what_they_are(tmp_path, clock):
    found, config = meter(tmp_path, clock), tiny("stage2", "chat")
    short = config.data.max_length // 2
    step(found, rows(config, short))
    step(found, rows(config, config.data.max_length))
    clock.now += 2.0
    fields = found.fields(12)
    assert fields["tokens_per_second_per_chip"] == 1.5 * config.data.max_length * 2 / 2
    halved = dataclasses.replace(config.data, max_length=short)
    flops = model_flops(config) + model_flops(dataclasses.replace(config, data=halved))
    assert fields["mfu"] == pytest.approx(flops * 2 / 2.0 / 197e12)


def test_goodput_misses_stops_and_everything_that_is_no_step(tmp_path, clock):
    found = meter(tmp_path, clock, born=900.0)
    clock.now += 10.0
    # Twelve steps of five seconds count, of the 110 seconds since the first start.
    assert found.fields(12)["goodput"] == pytest.approx(60 / 110)


def test_without_a_known_peak_there_is_no_mfu(tmp_path, clock):
    found = meter(tmp_path, clock, kind="cpu")
    clock.now += 1
    assert "mfu" not in found.fields(11) and found.formula() == ""


@pytest.mark.parametrize(
    "kind, name",
    [
        ("TPU v4", "v4"),
        ("TPU v5 lite", "v5e"),
        ("TPU v5", "v5p"),
        ("TPU v6 lite", "v6e"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H200", "h200"),
    ],
)
def test_chips_are_known_by_what_jax_calls_them(kind, name):
    assert chip_of(kind) is CHIPS[name]
