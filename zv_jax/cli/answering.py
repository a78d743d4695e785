"""The flags of the commands that answer: how tokens are chosen, and where an answer ends."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

from absl import flags

from zv_jax.inference.decoding import PRESETS, Decoding, Keywords, from_keywords

HELP = """
How answers are chosen; without any of these the most probable token each time:
  --temperature 0.7 [--top_p 0.9] [--top_k 40] [--min_p 0.05] [--seed 1]   draw
  --num_beams 5 [--length_penalty 1]                                       search
  --repetition_penalty 1.2, --min_new_tokens 4, --stop "###"               with any of them
  --preset instructblip | ziya      as those models are asked; other flags change parts of it
"""

_KEYWORDS = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "num_beams",
    "length_penalty",
    "min_new_tokens",
    "repetition_penalty",
    "n",
)


def define(values: flags.FlagValues) -> None:
    real = lambda name, text: flags.DEFINE_float(name, None, text, flag_values=values)
    count = lambda name, text: flags.DEFINE_integer(name, None, text, 0, flag_values=values)
    count("max_new_tokens", "longest answer; 64 by default")
    flags.DEFINE_enum("preset", None, sorted(PRESETS), "as others ask", flag_values=values)
    real("temperature", "above 0: draw, below 1 closer to the most probable")
    real("top_p", "draw from the most probable tokens with this share of the probability")
    count("top_k", "draw from this many of the most probable tokens")
    real("min_p", "draw nothing less probable than this share of the most probable token")
    count("seed", "of drawing")
    count("num_beams", "above 1: search for the most probable answer")
    real("length_penalty", "of a search: above 0 prefers long answers, below 0 short ones")
    count("min_new_tokens", "shortest answer")
    real("repetition_penalty", "above 1: what was said already becomes less likely")
    flags.DEFINE_multi_string("stop", [], "words that end an answer", flag_values=values)


def decoding_of(values: flags.FlagValues, restricted: bool = False) -> Decoding:
    """The method that the flags ask for; `restricted` as in `from_keywords`.

    Raises:
        ConfigError: a number is out of range, or flags of drawing and searching are mixed.
    """
    asked: dict[str, Any] = {name: values[name].value for name in _KEYWORDS if name in values}
    given = {name: value for name, value in asked.items() if value is not None}
    preset = {} if values.preset is None else dataclasses.asdict(PRESETS[values.preset])
    return from_keywords(None, cast(Keywords, preset | given), restricted)


def longest(values: flags.FlagValues) -> int:
    """Tokens of the longest answer."""
    return 64 if values.max_new_tokens is None else values.max_new_tokens
