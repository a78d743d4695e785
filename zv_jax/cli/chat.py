"""`zv chat`: a conversation about images, in the terminal."""

from __future__ import annotations

import sys
from pathlib import Path

from absl import flags

from zv_jax.buckets import place
from zv_jax.cli import answering
from zv_jax.cli.arguments import required
from zv_jax.cli.generate import read_image
from zv_jax.cli.language import language, say
from zv_jax.cli.lines import Lines
from zv_jax.parallel import runtime

USAGE = (
    """
usage: zv chat --checkpoint PATH [--image A.png]

  zv chat --checkpoint runs/quickstart/stage2_chat --image a.png

Type a question in English or Chinese. Lines that begin with / are commands:
  /image FILE   show an image with the next question; repeat it for several
  /retry        answer the last question again
  /edit TEXT    ask TEXT in place of the last question; without TEXT, edit it
  /save FILE, /load FILE   the conversation as JSON
  /clear        forget the conversation
  /help         list the commands
  /quit         leave (so does Ctrl-D)
Ctrl-C stops an answer. ZV_LANG=zh or a Chinese locale makes the program speak Chinese.
"""
    + answering.HELP
)


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_string("checkpoint", None, "workdir or checkpoint", flag_values=values)
    flags.DEFINE_multi_string("image", [], "an image to begin with", flag_values=values)
    answering.define(values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    checkpoint = place(required(values, "checkpoint", "runs/quickstart/stage2_chat"))
    decoding = answering.decoding_of(values)
    language()  # a wrong choice is an error before a model is loaded
    images = [Path(path).expanduser() for path in values.image]
    for image in images:
        read_image(image)
    lines = Lines()
    if lines.terminal:
        print(say("loading", path=checkpoint), file=sys.stderr)
    runtime.prepare()
    from zv_jax.cli.talk import Talk
    from zv_jax.inference.chat import Chat
    from zv_jax.inference.model import from_pretrained

    model = from_pretrained(checkpoint)
    settings = dict(max_new_tokens=answering.longest(values), stop=values.stop)
    chat = Chat(model, decoding, **settings)
    chat.prepare()
    if lines.terminal:
        print(say("greeting"), file=sys.stderr)
    try:
        Talk(chat, lines, images).run()
    finally:
        chat.close()
