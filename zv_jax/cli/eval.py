"""`zv eval`: scores of a checkpoint on a suite of tasks, and all that is done with scores."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from absl import flags

from zv_jax.cli.arguments import required
from zv_jax.errors import ConfigError, DataError
from zv_jax.parallel import runtime

USAGE = """
usage: zv eval --checkpoint PATH --suite FILE[:ARG] --workdir DIR [--suite.field=value ...]
       zv eval compare A B               what changed between two results folders, and is it chance?
       zv eval check-data --suite FILE   what is missing for a suite of benchmarks
       zv eval score --benchmark NAME --predictions FILE --workdir DIR       score anybody's answers
       zv eval submit --benchmark NAME --predictions FILE --out FILE         the file a server takes
       zv eval judge --bench DIR --lang en|zh --answers FILE --workdir DIR   score LLaVA-bench

  zv eval --checkpoint runs/stage0 --suite configs/eval/quickstart.py:retrieval \\
          --workdir runs/eval_stage0
  zv eval --checkpoint runs/stage2_chat --suite configs/eval/ziya.py:openmoji \\
          --suite.retrieval_checkpoint=runs/stage0 --workdir runs/eval_ziya

PATH is a workdir (its latest step) or one checkpoint. Results: DIR/results.json, DIR/items.jsonl,
DIR/samples.jsonl; of benchmarks also tables.md, samples.html and predictions/, from which the same
command continues. Overrides may also be written --config.field=value. The judge is any server with
OpenAI's protocol: ZV_JUDGE_URL, ZV_JUDGE_MODEL and ZV_JUDGE_KEY.
"""
TAKES_CONFIG = "suite"
SUBCOMMANDS = ("", "compare", "check-data", "score", "submit", "judge")


def define(values: flags.FlagValues) -> None:
    text, switch = flags.DEFINE_string, flags.DEFINE_boolean
    text("checkpoint", None, "workdir or checkpoint to score", flag_values=values)
    text("best", "", "take the checkpoint best by this metric of eval events", flag_values=values)
    text("workdir", None, "folder for the results", flag_values=values)
    text("shard", "0/1", "benchmarks: number/count of this process", flag_values=values)
    switch("json", False, "compare: JSON instead of a table", flag_values=values)
    text("benchmark", None, "score, submit: name of the benchmark", flag_values=values)
    text("predictions", None, "score, submit: the answers, see --schema", flag_values=values)
    text("data", "data", "score, submit: folder with one for each data set", flag_values=values)
    text("out", None, "submit: the file to write", flag_values=values)
    switch("partial", False, "score: only what has a prediction, as @n", flag_values=values)
    switch("schema", False, "score: print the schema of a prediction", flag_values=values)
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
    command = _COMMANDS[words[0] if words else ""]
    if words[1:] and command is not _compare:
        raise ConfigError(
            f"{words[1]!r} is not understood",
            where=f"zv eval {words[0]}",
            expected="flags such as --name=value only",
            fix="zv eval --help",
        )
    command(values, words[1:])


def _evaluate(values: flags.FlagValues, words: list[str]) -> None:
    suite = required(values, "config", "configs/eval/quickstart.py:language")
    checkpoint = Path(required(values, "checkpoint", "runs/NAME"))
    workdir = Path(required(values, "workdir", "runs/eval_NAME"))
    shard = _shard(values.shard)
    runtime.prepare()
    if values.best:
        from zv_jax.evaluation.in_training import best_checkpoint

        checkpoint = best_checkpoint(checkpoint, values.best)
    from zv_jax.evaluation import runner

    if runner.run(checkpoint, suite, workdir, shard=shard) is None:
        print(
            f"shard {values.shard} is answered; when all are, the same command scores them",
            file=sys.stderr,
        )


def _shard(text: str) -> tuple[int, int]:
    number, _, count = text.partition("/")
    if number.isdecimal() and count.isdecimal() and int(number) < int(count):
        return int(number), int(count)
    raise ConfigError(
        f"no part of the work: {text!r}",
        where="--shard",
        expected="number/count, such as 0/2 and 1/2 for two processes",
    )


def _check_data(values: flags.FlagValues, words: list[str]) -> None:
    suite = required(values, "config", "configs/eval/ziya.py")
    from zv_jax.evaluation.benchmarks import check, config, spec

    checked = config.validate(suite)
    findings = check.check([spec.load(name) for name in checked.benchmarks], checked.data)
    print(check.render(findings))
    missing = [f.benchmark for f in findings if not f.complete]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(findings)} benchmarks cannot be run",
            where=str(Path(checked.data).absolute()),
            expected="one folder for each data set, in its published layout",
            fix="zv data list NAME says how to obtain a data set",
        )


def _score(values: flags.FlagValues, words: list[str]) -> None:
    from zv_jax.evaluation.benchmarks import others, tables

    if values.schema:
        print(others.schema())
        return
    name = required(values, "benchmark", "okvqa")
    file = required(values, "predictions", "predictions.jsonl")
    workdir = required(values, "workdir", "runs/score_NAME")
    results = others.score_file(name, values.data, file, workdir, values.partial)
    print(tables.protocols(results["scores"]))


def _submit(values: flags.FlagValues, words: list[str]) -> None:
    name = required(values, "benchmark", "vqav2")
    file = required(values, "predictions", "predictions.jsonl")
    out = required(values, "out", "submission.json")
    from zv_jax.evaluation.benchmarks import others

    count = others.submit_file(name, values.data, file, out)
    print(f"{count} entries: {out}")


def _compare(values: flags.FlagValues, folders: list[str]) -> None:
    if len(folders) != 2:
        raise ConfigError(
            f"{len(folders)} folders to compare",
            where="zv eval compare",
            expected="two folders with results.json",
            fix="zv eval compare runs/eval_a runs/eval_b",
        )
    from zv_jax.evaluation import compare

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
    from zv_jax.evaluation.judge.main import main

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


_COMMANDS = {
    "": _evaluate,
    "compare": _compare,
    "check-data": _check_data,
    "score": _score,
    "submit": _submit,
    "judge": _judge,
}
