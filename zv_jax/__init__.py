"""zv_jax: Ziya-Visual, a bilingual vision-language model, in JAX and Flax.

Importing it is light: jax is loaded with the first name that needs it. The names of `__all__` are
the public face; everything else may change between versions.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from zv_jax import objectives
    from zv_jax.config import Config
    from zv_jax.data.text.dialogue import Exchange
    from zv_jax.evaluation import metrics
    from zv_jax.inference.answers import Answer
    from zv_jax.inference.chat import Chat
    from zv_jax.inference.decoding import Beam, Greedy, Sample
    from zv_jax.inference.inputs import Inputs
    from zv_jax.inference.model import Model, from_pretrained
    from zv_jax.inference.program import Sequences
    from zv_jax.inference.ranking import Ranking
    from zv_jax.parallel.hardware import MeshConfig

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "Beam",
    "Chat",
    "Exchange",
    "Greedy",
    "Inputs",
    "MeshConfig",
    "Model",
    "Ranking",
    "Sample",
    "Sequences",
    "evaluate",
    "from_pretrained",
    "metrics",
    "objectives",
    "train",
]

_HOME = {
    "Answer": "zv_jax.inference.answers",
    "Beam": "zv_jax.inference.decoding",
    "Chat": "zv_jax.inference.chat",
    "Exchange": "zv_jax.data.text.dialogue",
    "Greedy": "zv_jax.inference.decoding",
    "Inputs": "zv_jax.inference.inputs",
    "MeshConfig": "zv_jax.parallel.hardware",
    "Model": "zv_jax.inference.model",
    "Ranking": "zv_jax.inference.ranking",
    "Sample": "zv_jax.inference.decoding",
    "Sequences": "zv_jax.inference.program",
    "from_pretrained": "zv_jax.inference.model",
}
_MODULES = {"metrics": "zv_jax.evaluation.metrics", "objectives": "zv_jax.objectives"}


if not TYPE_CHECKING:  # where types are checked, only what is imported above exists

    def __getattr__(name: str) -> Any:
        import importlib

        if name in _MODULES:
            return importlib.import_module(_MODULES[name])
        if name in _HOME:
            return getattr(importlib.import_module(_HOME[name]), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def train(
    config: ConfigDict | Mapping[str, Any] | Config,
    workdir: str | Path,
    *,
    allow_change: Sequence[str] = (),
) -> int:
    """Trains one stage in `workdir`, as `zv train` does; the same workdir resumes.

    Call it before anything else has started jax, so that the process is set up for training.

    Args:
        config: of a recipe: `get_config("stage0")` of `configs/quickstart.py`, fields changed.
        workdir: for checkpoints, metrics and the log of this run; also gs://bucket/folder.
        allow_change: fields or sections that may differ from the checkpoint resumed.

    Returns:
        The last step of the run; -1 where the process was told to end before it. All is saved then,
        and the same call continues.

    Raises:
        ConfigError, DataError, CheckpointError, TrainingError: each names the field, the file, the
            leaf or the samples.
    """
    from zv_jax.config import Config, validate
    from zv_jax.parallel import runtime

    checked = config if isinstance(config, Config) else validate(config)
    runtime.prepare()
    from zv_jax.training import trainer

    evaluation = None
    if checked.eval.every > 0:
        from zv_jax.evaluation.in_training import Evaluation

        evaluation = Evaluation(checked)
    return trainer.run(checked, workdir, allow_change, evaluation)


def evaluate(
    model: Model, task: str, *, data: str | Path | None = None, limit: int = 0
) -> dict[str, Any]:
    """Scores a model on one task, as `zv eval` does for a suite of them, without controls.

    Args:
        task: "okvqa", "flickr30k", "vqa", ...: a file of `evaluation/tasks` without its ending.
        data: of a public task the folder that holds a folder for each data set, in its published
            layout; of one of the embedded data set the place it was prepared in. None: `data`, and
            the user's cache.
        limit: records of each language; 0 means all. Names of scores over a part end in @n.

    Returns:
        The contents of results.json; `scores` has an entry for each metric.

    Raises:
        ConfigError: there is no such task. DataError: files are missing or not as published.
    """
    from zv_jax.evaluation import config, run
    from zv_jax.evaluation import task as tasks

    fields: dict[str, Any] = {"tasks": (task,), "controls": (), "attention_images": 0}
    if data is not None:
        place = str(data)
        fields |= {"data": place} if tasks.load(task).expected else {"source": {"path": place}}
    suite = config.suite(limit=limit, **fields)
    with tempfile.TemporaryDirectory() as folder:
        results = run.run("in memory", suite, folder, progress=False, load=lambda _: model)
    assert results is not None  # the only process that answers
    return results
