"""Answers by this project beside those of transformers' `generate`: the same weights, the same ids.

    python benchmarks/decode.py                          # 12 layers of 768, 64 new tokens, float32
    python benchmarks/decode.py --rounds=5 --rows=1,8 --beams=1,5

An InstructBLIP with random weights is saved by transformers and loaded by `zv_jax.from_pretrained`.
Each prompt is one image and some text; the image and the prompt are part of every time. No row ends
before its last token. Within a round both answer in turn, so that a change in the machine's speed
hits both alike; a row whose ids differ stops the program.

The bound: for every new token each weight of the language model is read once, whatever the number
of rows, so that many bytes over the bandwidth that summing a large array reaches here.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that the file runs from anywhere, installed or not

from zv_jax.parallel import runtime  # noqa: E402

runtime.prepare()

import jax  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers as hf  # noqa: E402

import zv_jax  # noqa: E402
from benchmarks.peaks import bandwidth  # noqa: E402
from benchmarks.rows import Peaks, Row, table  # noqa: E402
from zv_jax.errors import ZvError  # noqa: E402

VOCABULARY, IMAGE, EOS, QUERIES = 8000, 7990, 2, 8


def config(layers: int, width: int) -> hf.InstructBlipConfig:
    small = dict(hidden_size=96, intermediate_size=192, num_attention_heads=4)
    return hf.InstructBlipConfig(
        vision_config=dict(**small, num_hidden_layers=4, patch_size=14, image_size=56),
        qformer_config=dict(
            **small, vocab_size=100, num_hidden_layers=2, max_position_embeddings=32,
            encoder_hidden_size=96,
        ),
        text_config=hf.LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=width, intermediate_size=width * 8 // 3,
            num_hidden_layers=layers, num_attention_heads=width // 64, rms_norm_eps=1e-6,
            max_position_embeddings=512, bos_token_id=1, eos_token_id=EOS, pad_token_id=0,
            tie_word_embeddings=False,
        ).to_dict(),
        num_query_tokens=QUERIES, image_token_index=IMAGE,
    )  # fmt: skip


def models(layers: int, width: int) -> tuple[hf.PreTrainedModel, zv_jax.Model]:
    """The same random weights there and here."""
    torch.manual_seed(0)
    theirs = hf.InstructBlipForConditionalGeneration(config(layers, width)).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if parameter.ndim > 1 or "query_tokens" in name:
                parameter.normal_(0, 0.02)
        # Far enough apart that sums in another order turn no choice.
        theirs.get_output_embeddings().weight.mul_(8)
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        return theirs, zv_jax.from_pretrained(folder)


def prompts(rows: int, length: int) -> tuple[zv_jax.Inputs, dict[str, torch.Tensor]]:
    rng = np.random.default_rng(rows)
    ids = rng.integers(3, IMAGE, (rows, length)).astype(np.int32)
    ids[:, :QUERIES] = IMAGE
    images = rng.standard_normal((rows, 1, 56, 56, 3)).astype(np.float32)
    text = rng.integers(1, 100, (rows, 12)).astype(np.int32)
    seen, asked = np.ones(ids.shape, bool), np.ones(text.shape, bool)
    theirs = dict(
        pixel_values=images[:, 0].transpose(0, 3, 1, 2), input_ids=ids.astype(int),
        attention_mask=seen.astype(int), qformer_input_ids=text.astype(int),
        qformer_attention_mask=asked.astype(int),
    )  # fmt: skip
    given = {name: torch.from_numpy(np.ascontiguousarray(x)) for name, x in theirs.items()}
    return zv_jax.Inputs(images, ids, seen, text, asked), given


def timed(run: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    began = time.perf_counter()
    found = run()
    return time.perf_counter() - began, found


def rows(
    layers: int = 12,
    width: int = 768,
    rows: Sequence[int] = (1, 8),
    beams: Sequence[int] = (1, 5),
    prompt: int = 40,
    tokens: int = 64,
    rounds: int = 5,
) -> Iterator[Row]:
    """Seconds of answers for every number of rows and of beams.

    Raises:
        ZvError: the ids of the two differ.
    """
    theirs, ours = models(layers, width)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(ours.variables["params"]["llm"]))
    size -= VOCABULARY * width * 4  # of the table of embeddings a token reads one row
    for count in rows:
        inputs, tensors = prompts(count, prompt)
        for width_of_beam in beams:
            case = f"{count} rows, {width_of_beam} beams, {tokens} tokens"
            common = dict(num_beams=width_of_beam, min_new_tokens=tokens, max_new_tokens=tokens)

            def reference(tensors: dict = tensors, common: dict = common) -> np.ndarray:
                with torch.inference_mode():
                    out = theirs.generate(
                        **tensors, **common, do_sample=False, suppress_tokens=[IMAGE]
                    )
                return out[:, prompt:].numpy()

            def mine(inputs: zv_jax.Inputs = inputs, common: dict = common) -> np.ndarray:
                return ours.generate(**inputs._asdict(), **common)

            reference(), mine()
            times = []
            for _ in range(rounds):
                (a, expected), (b, found) = timed(reference), timed(mine)
                if not np.array_equal(expected, found):
                    raise ZvError("the ids differ", where=case)
                times.append((b, a))
            now, before = zip(*times, strict=True)
            read = float(size * (tokens - 1))
            yield Row("decode", case, "transformers, generate", now, before, read=read)


def main() -> None:
    numbers = lambda text: tuple(map(int, text.split(",")))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--rows", type=numbers, default=(1, 8), help="sizes of batches")
    parser.add_argument("--beams", type=numbers, default=(1, 5), help="with commas; 1: greedy")
    parser.add_argument("--prompt", type=int, default=40, help="tokens of a prompt")
    parser.add_argument("--tokens", type=int, default=64, help="new ones")
    parser.add_argument("--rounds", type=int, default=5)
    found = list(rows(**vars(parser.parse_args())))
    print(table(found, Peaks(bandwidth=bandwidth())))


if __name__ == "__main__":
    main()
