"""`zv eval score`: a benchmark scored from anybody's predictions."""

from __future__ import annotations

from absl import flags

from zv_jax.cli.arguments import required

USAGE = """
usage: zv eval score --benchmark NAME|FILE.yaml --predictions FILE --workdir DIR
       zv eval score --schema

  zv eval score --benchmark okvqa --predictions answers.jsonl --workdir runs/score_okvqa
  zv eval score --benchmark mine.yaml --data split --predictions answers.jsonl --workdir runs/score

FILE.yaml is a task of your own, for the records of --data: "records: vqa", "langs: [en, zh]",
"split: test", "metrics: [exact_match]". Predictions are lines of the schema, or a result file of
COCO captions or VQA as it is.
"""


def define(values: flags.FlagValues) -> None:
    text, switch = flags.DEFINE_string, flags.DEFINE_boolean
    text(
        "benchmark", None, "name of the benchmark, or a .yaml file of your own", flag_values=values
    )
    text("predictions", None, "the answers, see --schema", flag_values=values)
    text("data", "data", "folder with one for each data set; your own records", flag_values=values)
    text("workdir", None, "folder for the results", flag_values=values)
    switch("partial", False, "only what has a prediction, as @n", flag_values=values)
    switch("schema", False, "print the schema of a prediction", flag_values=values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    from zv_jax.evaluation import external, tables

    if values.schema:
        print(external.schema())
        return
    name = required(values, "benchmark", "okvqa")
    file = required(values, "predictions", "predictions.jsonl")
    workdir = required(values, "workdir", "runs/score_NAME")
    results = external.score_file(name, values.data, file, workdir, values.partial)
    print(tables.protocols(results["scores"]))
