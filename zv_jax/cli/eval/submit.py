"""`zv eval submit`: predictions in the form that the server of a benchmark takes."""

from __future__ import annotations

from absl import flags

from zv_jax.cli.arguments import required

USAGE = """
usage: zv eval submit --benchmark NAME --predictions FILE --out FILE

  zv eval submit --benchmark vqav2 --predictions answers.jsonl --out vqav2.json
"""


def define(values: flags.FlagValues) -> None:
    text = flags.DEFINE_string
    text("benchmark", None, "name of the benchmark", flag_values=values)
    text("predictions", None, "the answers, see zv eval score --schema", flag_values=values)
    text("data", "data", "folder with one for each data set", flag_values=values)
    text("out", None, "the file to write", flag_values=values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    name = required(values, "benchmark", "vqav2")
    file = required(values, "predictions", "predictions.jsonl")
    out = required(values, "out", "submission.json")
    from zv_jax.evaluation import external

    count = external.submit_file(name, values.data, file, out)
    print(f"{count} entries: {out}")
