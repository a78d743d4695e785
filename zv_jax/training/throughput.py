"""The speed of a run and where its time goes: the numbers beside the losses in every log line.

| field | meaning |
|---|---|
| step_seconds | mean time of a step since the previous line, everything included |
| images_per_second_per_chip, tokens_per_second_per_chip | padding included |
| padding | share of these tokens that are padding; omitted without text |
| mfu | model FLOP/s over the chips' peak; omitted if the peak is unknown |
| data_wait | share of that time spent waiting for batches |
| hbm_peak_bytes | peak memory on a device of process 0; omitted if the device does not report it |
| goodput | share of the time since the first start spent on steps that count |

Stops, restarts, compilation, saving and repeated steps lower the goodput.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from zv_jax.config import Config
from zv_jax.files import read_jsonl
from zv_jax.parallel.hardware import chip_of
from zv_jax.training.flops import FORMULA, model_flops
from zv_jax.training.peers import Peer, StepInfo


class Throughput(Peer):
    """Counts the batches of this process; `fields` returns the numbers of one log line."""

    def __init__(self, config: Config, workdir: Path, devices: list[jax.Device] | None = None):
        devices = devices or jax.devices()
        self._devices, self._rows = len(devices), config.train.batch_size / len(devices)
        self._config = config
        self._flops: dict[tuple[int, int], float] = {}  # of a row, by its tokens and images
        self._chip = chip_of(devices[0].device_kind)
        self._workdir = workdir
        self._step_seconds: float | None = None
        self._forget(0)

    def start(self, step: int) -> None:
        """Starts counting after `step` steps; call it right before the next one."""
        self._forget(step)
        events = read_jsonl(self._workdir / "events.jsonl")
        self._born = float(events[0]["time"]) if events else time.time()

    def _forget(self, step: int) -> None:
        self._logged, self._logged_step = time.monotonic(), step
        self._waited = self._work = self._images = self._tokens = 0.0
        self._filled = self._places = 0

    def on_step(self, info: StepInfo) -> None:
        """Counts the rows of this process, their shape and padding, and the wait for them."""
        self._waited += info.waited
        self._add(info.batch)

    def _add(self, batch: Mapping[str, np.ndarray]) -> None:
        images, mask = batch.get("images"), batch.get("attention_mask", batch.get("text_mask"))
        per_row = 0 if images is None else 1 if images.ndim == 4 else images.shape[1]
        tokens = 0 if mask is None else mask.shape[1]
        self._images += per_row
        self._tokens += tokens
        self._work += self._flops_of(tokens, per_row)
        if mask is not None:
            self._filled += int(np.count_nonzero(mask))
            self._places += mask.size

    def _flops_of(self, tokens: int, images: int) -> float:
        key = (tokens, images)
        if key not in self._flops:
            sizes = {"max_length": tokens, "max_images": images}
            sizes = {name: size for name, size in sizes.items() if size}
            data = dataclasses.replace(self._config.data, **sizes)
            self._flops[key] = model_flops(dataclasses.replace(self._config, data=data))
        return self._flops[key]

    def fields(self, step: int) -> dict[str, float]:
        """The numbers of the line after `step` steps; call it once its results are ready."""
        now = time.monotonic()
        seconds = max(now - self._logged, 1e-9)
        each = seconds / max(1, step - self._logged_step)
        # The fastest interval shows the time of a step when nothing else happens.
        self._step_seconds = min(each, self._step_seconds or each)
        found = {
            "step_seconds": each,
            "images_per_second_per_chip": self._rows * self._images / seconds,
            "tokens_per_second_per_chip": self._rows * self._tokens / seconds,
            "data_wait": self._waited / seconds,
            "goodput": min(1.0, step * self._step_seconds / max(time.time() - self._born, 1e-9)),
        }
        if self._places:
            found["padding"] = 1 - self._filled / self._places
        if self._chip:
            found["mfu"] = self._work * self._rows / seconds / self._chip.flops
        memory = jax.local_devices()[0].memory_stats() or {}
        if "peak_bytes_in_use" in memory:
            found["hbm_peak_bytes"] = float(memory["peak_bytes_in_use"])
        self._forget(step)
        return found

    def formula(self) -> str:
        """The definition of MFU, for the log; empty if MFU is not measured."""
        if not self._chip:
            return ""
        return (
            f"MFU: {model_flops(self._config) / 1e12:.3f} TFLOP a row of full length, "
            f"{self._chip.flops / 1e12:.0f} TFLOP/s peak of a {self._chip.name} chip; {FORMULA}"
        )
