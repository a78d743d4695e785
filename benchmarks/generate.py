"""How fast answers are generated, beside the time that reading the weights alone would take.

    python benchmarks/generate.py --preset=ziya_visual_chat_13b --rows=1,16 --tokens=128

Weights are random and made on the device in bfloat16; prompts are random, each with one image. No
row ends before its last token. The first token is timed alone: it holds the image and the
prompt. For every later one, each weight of the language model is read once, whatever the number of
rows: that many bytes over the bandwidth of the chip's memory is the least it can take.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that the file runs from anywhere, installed or not

from zv_jax.parallel import runtime  # noqa: E402

runtime.prepare()

import jax  # noqa: E402
import numpy as np  # noqa: E402

from benchmarks.peaks import bandwidth  # noqa: E402
from benchmarks.rows import Peaks, Row, table  # noqa: E402
from zv_jax import trees  # noqa: E402
from zv_jax.config import Config  # noqa: E402
from zv_jax.config.build import recipe, validate  # noqa: E402
from zv_jax.inference.inputs import Inputs  # noqa: E402
from zv_jax.inference.sample import generate  # noqa: E402
from zv_jax.models.axes import unboxed  # noqa: E402
from zv_jax.parallel import hardware  # noqa: E402
from zv_jax.plan.timed import on_devices  # noqa: E402
from zv_jax.stages import stage_of  # noqa: E402
from zv_jax.training.state import abstract_variables  # noqa: E402

NEVER = np.zeros(0, np.int32)  # no id ends a row


def weights(config: Config) -> dict[str, jax.Array]:
    """Random leaves by path, in the dtype the model keeps them in."""
    leaves = trees.flatten(unboxed(abstract_variables(config, stage_of(config))))
    return on_devices(leaves, 0)


def inputs(config: Config, rows: int, length: int) -> tuple[Inputs, np.ndarray]:
    """Random prompts of `length` tokens behind one image, and the seeds of the rows."""
    rng, model = np.random.default_rng(0), config.model
    queries, size = model.qformer.num_queries, model.vision.image_size
    words = lambda most, *shape: rng.integers(4, most, shape).astype(np.int32)
    ids = words(min(model.llm.vocab_size, model.image_token_id), rows, queries + length)
    ids[:, :queries] = model.image_token_id
    asked = [None, None]
    if model.qformer_sees_instruction:
        question = words(min(1000, model.qformer.vocab_size), rows, config.data.max_qformer_text)
        asked = [question, np.ones(question.shape, bool)]
    images = rng.integers(0, 256, (rows, 1, size, size, 3), np.uint8)
    return Inputs(images, ids, np.ones(ids.shape, bool), *asked), np.zeros((rows, 1), np.uint32)


def seconds(run: Callable[[], object], rounds: int) -> tuple[float, ...]:
    """Of `rounds` runs after one that compiles."""
    found = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        jax.block_until_ready(run())
        found.append(time.perf_counter() - began)
    return tuple(found[1:])


def config_of(preset: str) -> Config:
    """Stage 2 of a preset, in bfloat16."""
    kinds = {"dtype": "bfloat16", "param_dtype": "bfloat16", "remat": "none"}
    variant = "chat" if "chat" in preset else "base"
    stage = {"name": "stage2", "variant": variant}
    return validate(recipe(preset, stage=stage, model=kinds, data={"max_qformer_text": 32}))


def rows(
    preset: str = "quickstart_chat",
    rows: Sequence[int] = (1, 16),
    prompt: int = 64,
    tokens: int = 32,
    rounds: int = 3,
) -> Iterator[Row]:
    """Seconds of the first token and of every later one, for each size of a batch."""
    config = config_of(preset)
    flat = weights(config)
    size = sum(leaf.nbytes for name, leaf in flat.items() if name.split("/")[1] == "llm")
    variables = trees.unflatten(flat)
    for count in rows:
        given, seeds = jax.device_put(inputs(config, count, prompt))

        def run(tokens: int, given: Inputs = given, seeds: jax.Array = seeds) -> jax.Array:
            settings = dict(cfg=config.model, max_new_tokens=tokens, stop=NEVER, pad_id=0)
            return generate(variables, given, seeds, **settings).tokens

        first, whole = (seconds(lambda n=n: run(n), rounds) for n in (1, tokens))
        each = later(first, whole, tokens)
        yield Row("decode", f"{preset}, {count} rows: first token", ours=first)
        yield Row(
            "decode", f"{preset}, {count} rows: each later token", ours=each, read=float(size)
        )


def later(first: Sequence[float], whole: Sequence[float], tokens: int) -> tuple[float, ...]:
    """Seconds of every token after the first, by round."""
    return tuple((all_ - statistics.median(first)) / (tokens - 1) for all_ in whole)


def main() -> None:
    numbers = lambda text: tuple(map(int, text.split(",")))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="quickstart_chat")
    parser.add_argument("--rows", type=numbers, default=(1, 16), help="sizes of batches")
    parser.add_argument("--prompt", type=int, default=64, help="tokens of text in a prompt")
    parser.add_argument("--tokens", type=int, default=32, help="new ones")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    device = jax.devices()[0].device_kind
    chip = hardware.chip_of(device)
    print(f"{device}; reading is compared with " + (chip.name if chip else "what is measured here"))
    read = chip.bandwidth if chip else bandwidth()
    print(table(list(rows(**vars(given))), Peaks(bandwidth=read)))


if __name__ == "__main__":
    main()
