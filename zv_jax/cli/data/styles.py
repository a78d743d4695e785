"""`zv data styles`: test scenes of the embedded data set in other drawing styles."""

from __future__ import annotations

from absl import flags

from zv_jax.cli.arguments import required
from zv_jax.errors import DataError

USAGE = """
usage: zv data styles --packages=FILE,FILE,... --out=DIR [--scenes=300]

  npm pack @iconify-json/twemoji@1.2.5 @iconify-json/noto@1.2.9
  zv data styles --packages=iconify-json-twemoji.tgz,iconify-json-noto.tgz \\
    --out=data/openmoji_styles

DIR/test.jsonl holds the records of both languages, DIR/images the scenes, DIR/ATTRIBUTION.md whose
drawings they are: keep it with them. configs/eval/carry_over.py evaluates on them.
"""


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_list("packages", [], "packages that npm pack fetched", flag_values=values)
    flags.DEFINE_string("out", None, "folder for records and images", flag_values=values)
    flags.DEFINE_integer("scenes", 300, "of each style", 1, flag_values=values)
    flags.DEFINE_integer("seed", 0, "of sampling and wording", flag_values=values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    out = required(values, "out", "data/openmoji_styles")
    if not values.packages:
        raise DataError(
            "no package is given",
            where="--packages",
            expected="drawings of others, which this project does not hold",
            fix="npm pack @iconify-json/twemoji@1.2.5; --packages=iconify-json-twemoji-1.2.5.tgz",
        )
    from zv_jax.data.styles import iconify, scenes

    styles = [iconify.open_package(file) for file in values.packages]
    print(f"written: {scenes.write(styles, out, values.scenes, values.seed)}")
