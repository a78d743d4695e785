"""The tasks by name, in the order of the paper's tables, and which of them a stage teaches."""

from __future__ import annotations

from zv_jax.evaluation.tasks.base import Task
from zv_jax.evaluation.tasks.captioning import Captioning
from zv_jax.evaluation.tasks.dialogue import Dialogue
from zv_jax.evaluation.tasks.grounded_captioning import GroundedCaptioning
from zv_jax.evaluation.tasks.grounding import Grounding
from zv_jax.evaluation.tasks.multiple_choice import MultipleChoice
from zv_jax.evaluation.tasks.retrieval import Retrieval
from zv_jax.evaluation.tasks.vqa import Vqa

GENERATION: dict[str, Task] = {
    task.name: task
    for task in (
        Captioning(),
        Vqa(),
        Grounding(),
        GroundedCaptioning(),
        MultipleChoice(),
        Dialogue(),
    )
}
RETRIEVAL = Retrieval()
TASKS: dict[str, Task | Retrieval] = {RETRIEVAL.name: RETRIEVAL, **GENERATION}


def taught_by(stage: str) -> tuple[str, ...]:
    """Names of the tasks a stage trains a model for."""
    return tuple(name for name, task in TASKS.items() if stage in task.stages)
