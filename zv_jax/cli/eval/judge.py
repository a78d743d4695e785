"""`zv eval judge`: answers to LLaVA-bench, scored by a language model."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from zv_jax.cli.arguments import required
from zv_jax.errors import ConfigError

USAGE = """
usage: zv eval judge --bench DIR --lang en|zh --answers FILE [--against FILE] --workdir DIR

  zv eval judge --bench data/llava_bench --lang zh --answers answers.jsonl --workdir runs/judge
  zv eval judge --bench data/llava_bench --answers chat.jsonl --against base.jsonl \\
                --names Base,Chat --workdir runs/chat_against_base

The judge is any server with OpenAI's protocol: ZV_JUDGE_URL, ZV_JUDGE_MODEL and ZV_JUDGE_KEY.
"""


def define(values: flags.FlagValues) -> None:
    text = flags.DEFINE_string
    text("bench", None, "folder with the files of LLaVA-bench", flag_values=values)
    flags.DEFINE_enum("lang", "en", ["en", "zh"], "its language", flag_values=values)
    text("answers", None, "lines with question_id and text", flag_values=values)
    text("workdir", None, "folder for the results", flag_values=values)
    text("against", "", "answers of another model: who wins, in both orders", flag_values=values)
    flags.DEFINE_list("names", [], "of that model and of this one", flag_values=values)
    flags.DEFINE_boolean("swap", False, "judge in both orders", flag_values=values)
    text("requests_out", "", "write the requests there, ask nothing", flag_values=values)
    flags.DEFINE_list("replies_in", [], "files with replies to these", flag_values=values)
    flags.DEFINE_list("prices", [], "$ per million tokens in, out", flag_values=values)
    flags.DEFINE_float("max_usd", None, "begin nothing dearer", flag_values=values)
    text("judge_url", "", "its address (default: ZV_JUDGE_URL)", flag_values=values)
    text("judge_model", "", "its model (default: ZV_JUDGE_MODEL)", flag_values=values)
    flags.DEFINE_integer("concurrency", 8, "requests in flight", 1, flag_values=values)
    flags.DEFINE_integer("per_minute", 0, "requests a minute; 0: any", 0, flag_values=values)
    flags.DEFINE_float("timeout", 120, "seconds for one try", 0.001, flag_values=values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    bench = required(values, "bench", "data/llava_bench")
    answers = required(values, "answers", "answers.jsonl")
    workdir = required(values, "workdir", "runs/judge_NAME")
    prices = _prices(values.prices)
    from zv_jax.evaluation.judge.main import main

    main(
        bench,
        values.lang,
        answers,
        workdir,
        swap=values.swap,
        against=values.against,
        names=_names(values),
        requests_out=values.requests_out,
        replies_in=values.replies_in,
        prices=prices,
        max_dollars=values.max_usd,
        url=values.judge_url,
        model=values.judge_model,
        concurrency=values.concurrency,
        per_minute=values.per_minute,
        timeout=values.timeout,
    )


def _names(values: flags.FlagValues) -> tuple[str, str]:
    """Of the other model and of this one; by default those of their files."""
    given = values.names or [Path(values.against).stem, Path(values.answers).stem]
    if len(given) != 2:
        raise ConfigError(
            f"{','.join(given)!r} are {len(given)} names",
            where="--names",
            expected="two names: of the model of --against, and of the one of --answers",
            fix="--names=Base,Chat",
        )
    return given[0], given[1]


def _prices(given: list[str]) -> tuple[float, ...] | None:
    """Dollars for a million tokens in and out; None where none are given."""
    try:
        prices = tuple(map(float, given))
    except ValueError:
        prices = (0.0,)
    if len(prices) not in (0, 2):
        raise ConfigError(
            f"{','.join(given)!r} are no prices",
            where="--prices",
            expected="dollars for a million tokens in and out, such as 2.5,10",
        )
    return prices or None
