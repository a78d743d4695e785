"""`zv eval`: scores of a checkpoint on a suite of tasks, and all that is done with scores."""

from __future__ import annotations

import json
from pathlib import Path

from absl import flags

from zv_jax import runtime
from zv_jax.cli.arguments import required
from zv_jax.errors import ConfigError

USAGE = """
usage: zv eval --checkpoint PATH --suite FILE[:ARG] --workdir DIR [--suite.field=value ...]
       zv eval compare A B               what changed between two results folders, and is it chance?
       zv eval judge --bench DIR --lang en|zh --answers FILE --workdir DIR   score LLaVA-bench

  zv eval --checkpoint runs/stage0 --suite configs/eval/quickstart.py:retrieval \\
          --workdir runs/eval_stage0
  zv eval --checkpoint runs/stage2_chat --suite configs/eval/quickstart.py:language \\
          --workdir runs/eval_chat --suite.limit=50

PATH is a workdir (its latest step) or one checkpoint. Results: DIR/results.json, DIR/items.jsonl
and DIR/samples.jsonl. Overrides may also be written --config.field=value. The judge is any server
with OpenAI's protocol: ZV_JUDGE_URL, ZV_JUDGE_MODEL and ZV_JUDGE_KEY.
"""
TAKES_CONFIG = "suite"
SUBCOMMANDS = ("", "compare", "judge")


def define(values: flags.FlagValues) -> None:
    text, switch = flags.DEFINE_string, flags.DEFINE_boolean
    text("checkpoint", None, "workdir or checkpoint to score", flag_values=values)
    text("workdir", None, "folder for the results", flag_values=values)
    switch("json", False, "compare: JSON instead of a table", flag_values=values)
    text("bench", None, "judge: folder with the files of LLaVA-bench", flag_values=values)
    flags.DEFINE_enum("lang", "en", ["en", "zh"], "judge: its language", flag_values=values)
    text("answers", None, "judge: lines with question_id and text", flag_values=values)
    switch("swap", False, "judge: judge in both orders", flag_values=values)
    text("requests_out", "", "judge: write the requests there, ask nothing", flag_values=values)
    flags.DEFINE_list("replies_in", [], "judge: files with replies to these", flag_values=values)
    flags.DEFINE_list("prices", [], "judge: $ per million tokens in, out", flag_values=values)
    flags.DEFINE_float("max_usd", None, "judge: begin nothing dearer", flag_values=values)
    text("judge_url", "", "judge: its address (default: ZV_JUDGE_URL)", flag_values=values)
    text("judge_model", "", "judge: its model (default: ZV_JUDGE_MODEL)", flag_values=values)
    flags.DEFINE_integer("concurrency", 8, "judge: requests in flight", 1, flag_values=values)
    flags.DEFINE_integer("per_minute", 0, "judge: requests a minute; 0: any", 0, flag_values=values)
    flags.DEFINE_float("timeout", 120, "judge: seconds for one try", 0.001, flag_values=values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    command = {"compare": _compare, "judge": _judge}.get(words[0]) if words else _evaluate
    command(values, words[1:])


def _evaluate(values: flags.FlagValues, words: list[str]) -> None:
    suite = required(values, "config", "configs/eval/quickstart.py:language")
    checkpoint = Path(required(values, "checkpoint", "runs/NAME"))
    workdir = Path(required(values, "workdir", "runs/eval_NAME"))
    runtime.prepare()
    from evaluation import runner

    runner.run(checkpoint, suite, workdir)


def _compare(values: flags.FlagValues, folders: list[str]) -> None:
    if len(folders) != 2:
        raise ConfigError(
            f"{len(folders)} folders to compare",
            where="zv eval compare",
            expected="two folders with results.json",
            fix="zv eval compare runs/eval_a runs/eval_b",
        )
    from evaluation import compare

    rows = compare.compare(*folders)
    print(json.dumps(rows, ensure_ascii=False, indent=1) if values.json else compare.render(rows))


def _judge(values: flags.FlagValues, words: list[str]) -> None:
    bench = required(values, "bench", "data/llava_bench")
    answers = required(values, "answers", "answers.jsonl")
    workdir = required(values, "workdir", "runs/judge_NAME")
    try:
        prices = tuple(map(float, values.prices))
    except ValueError:
        prices = (0.0,)
    if len(prices) not in (0, 2):
        raise ConfigError(
            f"{','.join(values.prices)!r} are no prices",
            where="--prices",
            expected="dollars for a million tokens in and out, such as 2.5,10",
        )
    from evaluation.judge.main import main

    main(
        bench,
        values.lang,
        answers,
        workdir,
        swap=values.swap,
        requests_out=values.requests_out,
        replies_in=values.replies_in,
        prices=prices or None,
        max_dollars=values.max_usd,
        url=values.judge_url,
        model=values.judge_model,
        concurrency=values.concurrency,
        per_minute=values.per_minute,
        timeout=values.timeout,
    )
