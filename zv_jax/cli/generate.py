"""`zv generate`: an answer about given images, or several."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from zv_jax.buckets import place
from zv_jax.cli import answering
from zv_jax.cli.arguments import existing_file, required
from zv_jax.parallel import runtime

USAGE = (
    """
usage: zv generate --checkpoint PATH --image A.png [--image B.png] --prompt "..."

  zv generate --checkpoint runs/quickstart/stage2_chat --image a.png --prompt "What is here?"
  zv generate --checkpoint runs/quickstart/stage2_chat --image a.png --prompt "图里有什么？"
  zv generate --checkpoint runs/quickstart/stage2_chat --image a.png --prompt "图里有什么？" \\
    --num_beams 5 --n 3 --logprobs
"""
    + answering.HELP
    + """
  --choice red --choice blue     allow nothing else
  --n 3        that many answers, a line each: the best of a search, or draws
  --logprobs   before each answer the sum of the log-probabilities of its tokens
"""
)


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_string("checkpoint", None, "workdir or checkpoint", flag_values=values)
    flags.DEFINE_multi_string("image", [], "a picture; repeat it for several", flag_values=values)
    flags.DEFINE_string("prompt", None, "what to ask", flag_values=values)
    flags.DEFINE_multi_string("choice", [], "an answer that is allowed", flag_values=values)
    flags.DEFINE_integer("n", None, "how many answers", 1, flag_values=values)
    flags.DEFINE_bool("logprobs", False, "print log-probabilities too", flag_values=values)
    answering.define(values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    checkpoint = place(required(values, "checkpoint", "runs/quickstart/stage2_chat"))
    prompt = required(values, "prompt", '"What is in the picture?"')
    decoding = answering.decoding_of(values, bool(values.choice))
    images = [read_image(path) for path in values.image]
    runtime.prepare()
    from zv_jax.inference.model import from_pretrained

    settings = dict(decoding=decoding, choices=values.choice or None, stop=values.stop)
    longest = answering.longest(values)
    model = from_pretrained(checkpoint)
    if values.n is None and not values.logprobs:
        print(model.answer([prompt], [images], longest, **settings)[0])
        return
    for answer in model.candidates([prompt], [images], longest, **settings)[0]:
        sum_ = f"{answer.logprobs.sum():.4f}\t" if values.logprobs else ""
        print(f"{sum_}{answer.text}")


def read_image(path: str) -> bytes:
    """The file of the image at `path`, which can be decoded.

    The model decodes it once more, in its own way (`data.transparency`); but a bad file is told
    before a large model is loaded.

    Raises:
        DataError: there is no file, or it is no image that can be read.
    """
    from zv_jax.data.images import decode as images

    images.decode(existing_file(path, "picture"))
    return Path(path).read_bytes()
