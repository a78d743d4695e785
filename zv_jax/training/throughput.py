"""How fast a run is and where its time goes: the numbers beside the losses in every log line.

| field | meaning |
|---|---|
| step_seconds | mean time of a step since the line before, everything included |
| images_per_second_per_chip, tokens_per_second_per_chip | padding included |
| padding | share of these tokens that are padding; left out where there is no text |
| mfu | model FLOPs a second over the chips' peak; left out where the peak is not known |
| data_wait | share of that time in which the step waited for its batch |
| hbm_peak_bytes | most memory used on a device of process 0; left out where it is not told |
| goodput | share of the time since the first start in which steps were made that count |

What goodput misses are stops, restarts, compilation, saving, and steps made twice.
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
    """Counts the batches of this process; `fields` makes the numbers of one log line."""

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
        """Begins counting at `step` steps done, when everything is ready for the first one."""
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
        """The numbers of the line after `step` steps; call it when the step's results are there."""
        now = time.monotonic()
        seconds = max(now - self._logged, 1e-9)
        each = seconds / max(1, step - self._logged_step)
        # The fastest stretch is what a step takes when nothing else is going on.
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
        """What MFU means here; empty where it is not measured."""
        if not self._chip:
            return ""
        return (
            f"MFU: {model_flops(self._config) / 1e12:.3f} TFLOP a row of full length, "
            f"{self._chip.flops / 1e12:.0f} TFLOP/s peak of a {self._chip.name} chip; {FORMULA}"
        )
