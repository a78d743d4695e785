"""The sides of a certificate that other libraries compute, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zv_jax.inference.certificate.cases import CASES, NEW_TOKENS, images
from zv_jax.inference.certificate.measure import Measured, questions
from zv_jax.inference.certificate.places import ANSWERS, INPUTS, places
from zv_jax.inference.certificate.weights import Tensor
from zv_jax.inference.model import Model

_MISSING = 3  # of both programs: a package is not installed
_INSTALL = {
    "transformers": "pip install -e '.[parity]', or name the interpreter of an environment that "
    "has torch and transformers (and peft for an adapter): --transformers_python=PYTHON",
    "vllm": "make an environment for vLLM (docs/vllm.md) and name its interpreter: "
    "--vllm_python=PYTHON",
}
_KEPT = 20  # last lines of a program that failed


@dataclass(frozen=True)
class Found:
    """What another library gave.

    Attributes:
        weights: of those that were compared.
        versions: of packages.
    """

    measured: Measured
    weights: Sequence[Tensor]
    versions: Mapping[str, str]


class NotRun(Exception):
    """A side could not be computed.

    Attributes:
        reason: one line; log: the last lines of what its program printed.
    """

    def __init__(self, reason: str, log: str = ""):
        super().__init__(reason)
        self.reason, self.log = reason, log


def request(model: Model, out: Path, adapter: Path | None, dtype: str) -> dict[str, Any]:
    """What both programs are asked, in JSON types; `model` says the prompts."""
    cfg = model.config.model
    rows = questions(model)
    return {
        "export": str(out.absolute()),
        "adapter": adapter and str(adapter.absolute()),
        "dtype": dtype,
        "new_tokens": NEW_TOKENS,
        "placeholder": cfg.image_token_id,
        "queries": cfg.qformer.num_queries,
        "modules": [p.name for p in places(cfg) if p.tower not in (INPUTS, ANSWERS)],
        "cases": [
            {
                "question": case.question,
                "images": case.images,
                "prompt": row.input_ids,
                "qformer_text": cfg.prompt.instruction(case.question),
                "qformer_prompt": row.qformer_ids,
            }
            for case, row in zip(CASES, rows, strict=True)
        ],
    }


def ask(side: str, python: str, asked: Mapping[str, Any], size: int) -> Found:
    """Runs the program of `side`, "transformers" or "vllm", by the interpreter `python`.

    Args:
        asked: what `request` returns; size: of the images, in pixels.

    Raises:
        NotRun: there is no such interpreter, a package is missing, or the program failed.
    """
    program = Path(__file__).with_name(f"run_{side}.py")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "request.json").write_text(json.dumps(asked), "utf-8")
        np.save(folder / "images.npy", images(size))
        try:
            # -P: modules beside the program are no packages of that environment.
            done = subprocess.run(
                [python, "-P", str(program), name], capture_output=True, text=True, errors="replace"
            )
        except OSError as error:
            raise NotRun(
                f"{python} cannot be started: {error.strerror}; {_INSTALL[side]}"
            ) from None
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        last = lines[-1] if lines else ""
        if done.returncode == _MISSING:
            raise NotRun(f"{last} in {python}; {_INSTALL[side]}")
        if done.returncode:
            log = "\n".join(lines[-_KEPT:])
            raise NotRun(f"its program ended with code {done.returncode}: {last}", log)
        about = json.loads((folder / "about.json").read_text("utf-8"))
        with np.load(folder / "found.npz") as arrays:
            tensors = [Tensor(*pair) for pair in about["weights"].items()]
            return Found(dict(arrays), tensors, about["versions"])
