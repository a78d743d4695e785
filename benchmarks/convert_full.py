"""A full-size Chat checkpoint (14.2 B parameters, bfloat16, sharded) in and out of our format.

    python benchmarks/convert_full.py --folder=/somewhere/with/65/GB

Writes random weights in the layout of InstructBlipForConditionalGeneration, converts them with
`zv convert from-hf`, deletes them, converts back with `zv convert to-hf`, and compares every tensor
with what was written. Prints one table: seconds, MB/s and the peak resident memory of each command.
`--layers` takes fewer layers of each tower, for a trial; the memory needed stays nearly the same,
since conversions hold layers and not towers.

Random bits do not compress; trained weights do a little, and are then faster.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import app, flags

from zv_jax.config.schema import Config, StageConfig
from zv_jax.convert import architectures, config_json, reader, shards
from zv_jax.convert.names import Entry
from zv_jax.convert.sources import Spec, open_source
from zv_jax.convert.stream import hollow
from zv_jax.errors import SetupError
from zv_jax.files import write_json
from zv_jax.models import presets
from zv_jax.models.presets import ModelConfig
from zv_jax.tables import align

SHARD = 5 * 10**9
DTYPE = "bfloat16"
_FOLDER = flags.DEFINE_string("folder", None, "where to work; it must not exist", required=True)
_LAYERS = flags.DEFINE_integer("layers", None, "of each tower; all by default", 2)


def model(layers: int | None) -> ModelConfig:
    """The Chat preset, or its first layers."""
    full = presets.preset("ziya_visual_chat_13b")
    if layers is None:
        return full
    return dataclasses.replace(
        full,
        vision=dataclasses.replace(full.vision, layers=layers),
        qformer=dataclasses.replace(full.qformer, layers=2 * (layers // 2)),
        llm=dataclasses.replace(full.llm, layers=layers),
    )


def tensors(config: Config) -> dict[str, Spec]:
    """Names and shapes of a checkpoint of transformers."""
    chat = architectures.INSTRUCT_BLIP
    wanted = reader.wanted(config, chat)
    out: dict[str, Spec] = {}
    for entry in chat.family.entries:
        if f"params/{entry.ours[0]}" in wanted:
            out.update(_layers(entry, [wanted[f"params/{path}"] for path in entry.ours]))
    return out


def _layers(entry: Entry, held: Sequence[Spec]) -> dict[str, Spec]:
    count = held[0].shape[0] if entry.stacked else 1
    shapes = [spec.shape[1:] if entry.stacked else spec.shape for spec in held]
    made = entry.transform.save(*(hollow(Spec(shape, DTYPE)) for shape in shapes))
    return {
        name: Spec(tensor.shape, DTYPE)
        for i in range(count)
        for name, tensor in zip(entry.names(i), made, strict=True)
    }


def random_tensor(name: str, spec: Spec, rng: np.random.Generator) -> np.ndarray:
    """Random bits that are finite numbers below 2; norms are 1, and no key has a bias."""
    if name.endswith("norm.weight"):
        return np.ones(spec.shape, DTYPE)
    bits = np.frombuffer(rng.bytes(shards.byte_size(spec)), np.uint16) & 0xBFFF
    value = bits.view(DTYPE).reshape(spec.shape)
    if name.endswith("qkv.bias"):
        value = value.copy()
        value[len(value) // 3 : 2 * len(value) // 3] = 0
    return value


def digest(value: np.ndarray) -> str:
    """Of the bytes of a tensor."""
    return hashlib.blake2b(np.ascontiguousarray(value).reshape(-1).view(np.uint8)).hexdigest()


def make(folder: Path, config: Config) -> dict[str, str]:
    """Writes the checkpoint of transformers and returns the digest of every tensor."""
    specs = tensors(config)
    folder.mkdir(parents=True)
    special = {"bos": 1, "eos": 2, "pad": 0}
    raw = config_json.write_config(config, architectures.INSTRUCT_BLIP, DTYPE, special)
    write_json(folder / "config.json", raw)
    writer, rng = shards.Writer(folder, specs, SHARD), np.random.default_rng(0)
    found = {}
    for name, spec in specs.items():
        value = random_tensor(name, spec, rng)
        found[name] = digest(value)
        writer.write(name, value)
    writer.close()
    return found


def run(*words: str) -> tuple[float, float]:
    """Seconds and peak resident GiB of `zv` with these words, in a process of its own."""
    start = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-m", "zv_jax", *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"zv {' '.join(words)} failed")
    return time.perf_counter() - start, usage.ru_maxrss / 2**20  # Linux counts in KiB


def main(argv: Sequence[str]) -> None:
    del argv
    folder = Path(_FOLDER.value)
    config = Config(model=model(_LAYERS.value), stage=StageConfig("stage1", "chat"))
    specs = tensors(config)
    size = sum(map(shards.byte_size, specs.values()))
    folder.mkdir(parents=True)
    free = shutil.disk_usage(folder).free
    if free < 2.2 * size:
        folder.rmdir()
        raise SystemExit(
            SetupError(
                f"{free / 1e9:.0f} GB of disk are free",
                where=str(folder),
                expected=f"{2.2 * size / 1e9:.0f} GB",
                fix="give another --folder",
            )
        )
    try:
        print(f"{len(specs)} tensors, {size / 2e9:.2f} B parameters, {size / 1e9:.1f} GB {DTYPE}")
        written = make(folder / "theirs", config)
        rows = [("from-hf", *run("convert", "from-hf", f"{folder}/theirs", f"{folder}/ours"))]
        shutil.rmtree(folder / "theirs")  # both need not fit on the disk with the result
        words = ("to-hf", f"{folder}/ours", f"{folder}/back", "--max-shard-size=5GB")
        rows.append(("to-hf", *run("convert", *words)))
        back = open_source(folder / "back")
        different = [n for n in {*written, *back.specs} if digest(back.read(n)) != written.get(n)]
        table = [("command", "seconds", "MB/s", "peak GiB")]
        for name, seconds, peak in rows:
            table.append((name, f"{seconds:.0f}", f"{size / 1e6 / seconds:.0f}", f"{peak:.2f}"))
        print("\n".join(align(table, "lr")))
        print(f"tensors that came back different: {len(different)}")
        if different:
            raise SystemExit(1)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    app.run(main)
