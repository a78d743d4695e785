"""Compiler flags for each chip, as lines for a shell to `eval`: `python launch/xla_flags.py v5e`.

Measured by others, unless said: the TPU flags are those of MaxText's recipes for 13B models on v5e,
the GPU ones those its GPU recipes share. A flag that a compiler does not know stops the program,
so there is one table; `zv plan` has one flag of it, and a test compares.
"""

from __future__ import annotations

import re
import shlex
import sys

_OVERLAP = (
    "--xla_tpu_enable_async_collective_fusion=true",
    "--xla_tpu_enable_async_collective_fusion_fuse_all_gather=true",
    "--xla_tpu_enable_async_collective_fusion_multiple_steps=true",
    "--xla_tpu_overlap_compute_collective_tc=true",
    "--xla_enable_async_all_gather=true",
)
# Measured here with `zv plan`: on 16 chips the compiler would split gathered products into rings of
# small steps, and stage 2 Chat then took 2.17 times the model's FLOPs and sent 3.4 times as much.
# `zv plan` compiles with it too (zv_jax/plan/compiled.py).
_WHOLE_PRODUCTS = ("--xla_jf_spmd_threshold_for_windowed_einsum_mib=1000000",)
_DATA_PARALLEL = (
    "--xla_tpu_enable_data_parallel_all_reduce_opt=true",
    "--xla_tpu_data_parallel_opt_different_sized_ops=true",
)
_GPU = (
    "--xla_gpu_enable_latency_hiding_scheduler=true",
    "--xla_gpu_enable_pipelined_all_gather=true",
    "--xla_gpu_enable_pipelined_reduce_scatter=true",
    # At least the weights of one layer, so that a layer is gathered at once.
    "--xla_gpu_all_gather_combine_threshold_bytes=1073741824",
    "--xla_gpu_reduce_scatter_combine_threshold_bytes=1073741824",
)
FLAGS: dict[str, dict[str, tuple[str, ...]]] = {
    "v4": {"LIBTPU_INIT_ARGS": _WHOLE_PRODUCTS + _OVERLAP},
    "v5e": {"LIBTPU_INIT_ARGS": _WHOLE_PRODUCTS + _DATA_PARALLEL + _OVERLAP},
    "v5p": {"LIBTPU_INIT_ARGS": _WHOLE_PRODUCTS + _DATA_PARALLEL + _OVERLAP},
    "v6e": {
        "LIBTPU_INIT_ARGS": (
            *_WHOLE_PRODUCTS,
            *_DATA_PARALLEL,
            *_OVERLAP,
            "--xla_tpu_scoped_vmem_limit_kib=98304",
        )
    },
    "h100": {"XLA_FLAGS": _GPU},
    "h200": {"XLA_FLAGS": _GPU},
    "cpu": {},
}
# How clouds call accelerators, by the first part of the name.
ALIASES = {"v5litepod": "v5e", "v5lite": "v5e"}


def chip_of(accelerator: str) -> str:
    """`v5litepod-256` -> `v5e`.

    Raises:
        KeyError: it is none of `FLAGS`.
    """
    first = accelerator.split("-")[0].lower()
    chip = ALIASES.get(first, first)
    # It goes on into commands of clouds and shells.
    if chip not in FLAGS or not re.fullmatch(r"[\w-]+", accelerator, re.ASCII):
        raise KeyError(accelerator)
    return chip


def exports(accelerator: str) -> str:
    """Lines such as `export LIBTPU_INIT_ARGS='...'`; a value of the user's comes last and wins."""
    return "\n".join(
        f'export {name}={shlex.quote(" ".join(flags))}"${{{name}:+ ${name}}}"'
        for name, flags in FLAGS[chip_of(accelerator)].items()
    )


if __name__ == "__main__":
    try:
        print(exports(sys.argv[1]))
    except (IndexError, KeyError):
        sys.exit(
            f"unknown accelerator {' '.join(sys.argv[1:])!r}\n"
            f"  expected: one of {', '.join(FLAGS)}, or a cloud's name as v5litepod-256\n"
            "  fix: python launch/xla_flags.py v5e"
        )
