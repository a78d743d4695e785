"""`zv eval`: scores of a checkpoint on a suite of tasks, and all that is done with scores.

One module for each subcommand, and `suite` for the command without one; no work is done here.
"""

USAGE = """
usage: zv eval --checkpoint PATH --suite FILE[:ARG] --workdir DIR [--suite.field=value ...]
       zv eval compare A B               what changed between two results folders, and is it chance?
       zv eval check-data --suite FILE   what is missing for a suite of benchmarks
       zv eval score --benchmark NAME --predictions FILE --workdir DIR       score anybody's answers
       zv eval submit --benchmark NAME --predictions FILE --out FILE         the file a server takes
       zv eval judge --bench DIR --lang en|zh --answers FILE --workdir DIR   score LLaVA-bench
       zv eval agree --checkpoint PATH --suite FILE --workdir DIR    the same in both languages?
       zv eval cases --checkpoint PATH --figure5 FILE --workdir DIR    the paper's case studies

  zv eval --checkpoint runs/stage0 --suite configs/eval/quickstart.py:retrieval \\
          --workdir runs/eval_stage0
  zv eval --checkpoint runs/stage2_chat --suite configs/eval/ziya.py:openmoji \\
          --workdir runs/eval_ziya

PATH is a workdir (its latest step) or one checkpoint. Results: DIR/results.json, DIR/items.jsonl,
DIR/samples.jsonl, DIR/samples.html, of the paper's tasks also DIR/tables.md, and DIR/predictions/,
from which the same command continues. Overrides may also be written --config.field=value.
"""
SUBCOMMANDS = ("compare", "check-data", "score", "submit", "judge", "agree", "cases")
DEFAULT = "suite"
