"""`zv eval agree`: does a model say the same in English and in Chinese?"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from zv_jax.cli.arguments import required
from zv_jax.errors import ConfigError
from zv_jax.parallel import runtime

USAGE = """
usage: zv eval agree --checkpoint PATH --suite FILE[:ARG] --workdir DIR [--mine FILE]
       zv eval agree --predictions FILE,FILE --suite FILE[:ARG] --workdir DIR [--mine FILE]

  zv eval agree --checkpoint runs/quickstart/stage2_chat --suite configs/eval/agree.py \\
                --workdir runs/quickstart/agree --mine runs/quickstart/agree/train.jsonl

Every question is asked in both languages; answers are compared by rule: boxes, counts, yes or no,
options and names. DIR/agree.json holds the scores, DIR/disagreements.md the questions. Predictions
are those of zv eval (DIR/predictions/*.jsonl), of both languages. --mine writes the records of all
disagreements with their true answers, to train on.
"""
TAKES_CONFIG = "suite"
_SHOWN = 10  # disagreements in the terminal


def define(values: flags.FlagValues) -> None:
    text = flags.DEFINE_string
    text("checkpoint", None, "workdir or checkpoint to ask", flag_values=values)
    flags.DEFINE_list("predictions", [], "files with answers, asking nothing", flag_values=values)
    text("workdir", None, "folder for the results", flag_values=values)
    text("mine", "", "write the disagreements as training rows there", flag_values=values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    suite = required(values, "config", "configs/eval/agree.py", flag="suite")
    workdir = Path(required(values, "workdir", "runs/agree_NAME"))
    if bool(values.checkpoint) == bool(values.predictions):
        raise ConfigError(
            "it is not clear whose answers are compared",
            where="zv eval agree",
            expected="either --checkpoint or --predictions",
            fix="--checkpoint=runs/NAME",
        )
    from zv_jax.bmmic.filters.same_names import same_names
    from zv_jax.evaluation import agree, agree_files

    if values.predictions:
        found = agree.from_files(values.predictions, suite, same_names)
    else:
        runtime.prepare()
        found = agree.run(values.checkpoint, suite, workdir, same_names)
    agree_files.write(found, workdir)
    print(agree_files.render(found))
    for line in agree_files.lines(found, _SHOWN):
        print(line)
    print(f"\n{len(found.disagreements)} disagreements: {workdir / agree_files.TABLE}")
    if values.mine:
        rows, left_out = agree_files.mine(found, Path(values.mine))
        print(f"{rows} training rows: {values.mine}")
        if left_out:
            print(f"{left_out} questions left out: their true answers are not known")
