"""`zv convert verify`: do two checkpoints compute the same, or an export and its checkpoint?"""

from __future__ import annotations

import sys

from absl import flags

from zv_jax.cli.convert import common
from zv_jax.errors import ConfigError, ConversionError, SetupError, unknown_name

USAGE = """
usage: zv convert verify A B
       zv convert verify OUT --against=transformers,vllm,ours --checkpoint=CKPT

  zv convert verify runs/stage2_chat exported
  zv convert verify exported --against=ours,transformers --checkpoint=runs/stage2_chat

With --against, the export OUT gets a certificate: it is compared layer by layer with CKPT, as we
read it (ours) and as other libraries do, into OUT/certificate.json and a line of its model card.
Exit code 0: all passed; 1: one differs; 3: none differs, and one could not be run.
"""
TAKES_WORDS = True
_PYTHONS = {"transformers": "transformers_python", "vllm": "vllm_python"}
_OF_CERTIFICATES = ("checkpoint", "adapter", *_PYTHONS.values())


class Different(ConversionError):
    """A side of a certificate differs."""

    exit_code = 1  # a finding, as for `diff`, not a fault of the input


class NotRun(SetupError):
    """No side differs, and one could not be run."""

    exit_code = 3


def define(values: flags.FlagValues) -> None:
    common.define_dtype(values)
    flags.DEFINE_float("tolerance", 1e-4, "largest difference of A and B", 0.0, flag_values=values)
    flags.DEFINE_list("against", None, "sides: ours, transformers, vllm", flag_values=values)
    flags.DEFINE_string("checkpoint", None, "that OUT was exported from", flag_values=values)
    flags.DEFINE_string(
        "adapter", None, "directory of the adapter that belongs to OUT", flag_values=values
    )
    for side, flag in _PYTHONS.items():
        flags.DEFINE_string(
            flag, None, f"interpreter of an environment with {side}", flag_values=values
        )


def run(values: flags.FlagValues, words: list[str]) -> None:
    if values.against is not None:
        _certify(values, words)
        return
    for flag in _OF_CERTIFICATES:
        if values[flag].value is not None:
            raise ConfigError(
                f"--{flag} without --against",
                where="zv convert verify",
                expected="two paths, or one and the sides to compare it with",
                fix="zv convert verify OUT --against=ours --checkpoint=CKPT",
            )
    first, second = common.start("verify", values, words, "two checkpoints")
    from zv_jax.inference import verify

    print(verify.check(first, second, values.tolerance, values.dtype or "float32"))


def _certify(values: flags.FlagValues, words: list[str]) -> None:
    (out,) = common.start("verify", values, words, "one export with --against", count=1)
    if values["tolerance"].present:
        raise ConfigError(
            "--tolerance with --against",
            where="zv convert verify",
            expected="the limits of a certificate, which depend on the dtype alone",
            fix="leave --tolerance out",
        )
    from zv_jax.inference.certificate import certify, write

    for side in values.against:
        if side not in certify.SIDES:
            raise unknown_name("side", side, certify.SIDES, "--against")
    found = certify.certify(
        out,
        tuple(dict.fromkeys(values.against)),
        checkpoint=values.checkpoint,
        adapter=values.adapter,
        pythons={side: values[flag].value or sys.executable for side, flag in _PYTHONS.items()},
        dtype=values.dtype or "float32",
        say=lambda text: print(f"measuring: {text}", file=sys.stderr, flush=True),
    )
    write.write(found, out)
    print(found.text())
    print(f"written: {out}/{certify.FILE}")
    where = ", ".join(side.name for side in found.sides if side.status == found.status)
    if found.status == certify.DIFFERS:
        raise Different("the export differs from what it should be", where=where)
    if found.status == certify.NOT_RUN:
        raise NotRun("a side could not be run, so the export is not certified", where=where)
