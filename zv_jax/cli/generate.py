"""`zv generate`: one answer about given images."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from zv_jax.cli.arguments import existing_file, required
from zv_jax.parallel import runtime

USAGE = """
usage: zv generate --checkpoint PATH --image A.png [--image B.png] --prompt "..."

  zv generate --checkpoint runs/quickstart/stage2_chat --image a.png --prompt "What is here?"
  zv generate --checkpoint runs/quickstart/stage2_chat --image a.png --prompt "图里有什么？"
"""


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_string("checkpoint", None, "workdir or checkpoint", flag_values=values)
    flags.DEFINE_multi_string("image", [], "a picture; repeat it for several", flag_values=values)
    flags.DEFINE_string("prompt", None, "what to ask", flag_values=values)
    flags.DEFINE_integer("max_new_tokens", 64, "longest answer", 1, flag_values=values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    checkpoint = Path(required(values, "checkpoint", "runs/quickstart/stage2_chat"))
    prompt = required(values, "prompt", '"What is in the picture?"')
    images = [read_image(path) for path in values.image]
    runtime.prepare()
    from zv_jax.inference.model import from_pretrained

    model = from_pretrained(checkpoint)
    print(model.answer([prompt], [images], max_new_tokens=values.max_new_tokens)[0])


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
