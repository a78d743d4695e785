"""`zv eval cases`: the dialogues of the paper's Figures 5 to 7 about one's own images."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from zv_jax.cli.arguments import required
from zv_jax.cli.generate import read_image
from zv_jax.parallel import runtime

USAGE = """
usage: zv eval cases --checkpoint PATH --workdir DIR [--figure5 FILE] [--figure6 FILE]
                     [--figure7 FILE,FILE,FILE]

  zv eval cases --checkpoint runs/chat --figure5 film.jpg --figure6 painting.jpg \\
                --figure7 tower.jpg,cats.jpg,street.jpg --workdir runs/cases

Each dialogue is held in English and in Chinese; DIR/cases.md sets them beside each other.
"""


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_string("checkpoint", None, "workdir or checkpoint", flag_values=values)
    flags.DEFINE_string("workdir", None, "folder for the page", flag_values=values)
    flags.DEFINE_list("figure5", [], "a scene from a film", flag_values=values)
    flags.DEFINE_list("figure6", [], "a painting", flag_values=values)
    flags.DEFINE_list("figure7", [], "three pictures of a story", flag_values=values)
    flags.DEFINE_integer("max_new_tokens", 256, "longest answer", 1, flag_values=values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    checkpoint = Path(required(values, "checkpoint", "runs/chat"))
    workdir = required(values, "workdir", "runs/cases")
    from zv_jax.evaluation import cases

    names = {number: values[f"figure{number}"].value for number in cases.figures()}
    cases.check(names)
    images = {number: [read_image(name) for name in given] for number, given in names.items()}
    runtime.prepare()
    from zv_jax.inference.chat import Chat
    from zv_jax.inference.model import from_pretrained

    model = from_pretrained(checkpoint)
    new_chat = lambda: Chat(model, max_new_tokens=values.max_new_tokens)
    page = cases.run(new_chat, images, names, workdir)
    print(f"\nwritten: {page}")
