"""`zv data list`: the data sets that can be read."""

from __future__ import annotations

from absl import flags

from zv_jax.data.public import catalogue, catalogue_page

USAGE = """
usage: zv data list [NAME ...]

  zv data list
  zv data list okvqa --lang=zh
"""
TAKES_WORDS = True


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_enum("lang", "en", ["en", "zh"], "language of the cards", flag_values=values)
    flags.DEFINE_bool("markdown", False, "as a page of the documentation", flag_values=values)


def run(values: flags.FlagValues, names: list[str]) -> None:
    if values.markdown:
        print(catalogue_page.page(values.lang), end="")
    elif names:
        for name in names:
            print(catalogue_page.card_text(catalogue.card(name), values.lang))
    else:
        print(catalogue_page.table_text())
