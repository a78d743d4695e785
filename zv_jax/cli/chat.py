"""`zv chat`: a conversation about images, in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from absl import flags

from zv_jax.buckets import place
from zv_jax.cli import answering
from zv_jax.cli.arguments import required
from zv_jax.cli.generate import read_image
from zv_jax.errors import DataError
from zv_jax.parallel import runtime

if TYPE_CHECKING:
    from zv_jax.inference.chat import Chat
    from zv_jax.inference.prompts import Image

USAGE = (
    """
usage: zv chat --checkpoint PATH [--image A.png]

  zv chat --checkpoint runs/quickstart/stage2_chat --image a.png

Type a question in English or Chinese. Lines that begin with / are commands:
  /image FILE   show another picture with the next question
  /new          forget the conversation
  /quit         leave (so does Ctrl-D)
"""
    + answering.HELP
)


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_string("checkpoint", None, "workdir or checkpoint", flag_values=values)
    flags.DEFINE_multi_string("image", [], "a picture to begin with", flag_values=values)
    answering.define(values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    checkpoint = place(required(values, "checkpoint", "runs/quickstart/stage2_chat"))
    decoding = answering.decoding_of(values)
    images = [read_image(path) for path in values.image]
    runtime.prepare()
    from zv_jax.inference.chat import Chat
    from zv_jax.inference.model import from_pretrained

    model = from_pretrained(checkpoint)
    settings = dict(max_new_tokens=answering.longest(values), stop=values.stop)
    converse(lambda: Chat(model, decoding, **settings), images)


def converse(new_chat: Callable[[], Chat], images: list[Image]) -> None:
    """Reads questions from standard input until it ends; `new_chat()` makes an empty Chat.

    What cannot be read or asked is told, and the conversation goes on as it was before.
    """
    chat = new_chat()
    prompt = "> " if sys.stdin.isatty() else ""
    while True:
        try:
            line = input(prompt).strip()
        except EOFError:
            return
        if line == "/quit":
            return
        if line == "/new":
            chat, images = new_chat(), []
        elif line.startswith("/image "):
            try:
                images.append(read_image(line.removeprefix("/image ").strip()))
            except DataError as error:
                print(error, file=sys.stderr)
        elif line.startswith("/"):
            print("commands: /image FILE, /new, /quit", file=sys.stderr)
        elif line:
            try:
                print(chat.ask(line, images=images), flush=True)
            except DataError as error:
                print(error, file=sys.stderr)
            images = []
