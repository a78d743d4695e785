"""The scores of the quickstart's models on scenes they have never seen, in English and Chinese.

    zv eval --checkpoint runs/quickstart/stage0 --suite configs/eval/quickstart.py \
            --workdir runs/quickstart/eval_stage0
    zv eval --checkpoint runs/quickstart/stage2_chat --suite configs/eval/quickstart.py \
            --workdir runs/quickstart/eval_stage2_chat

Without an argument the tasks are those that the checkpoint's stage teaches; `:retrieval` asks for
retrieval only, `:language` for all tasks with answers in words. Hardware: 2 CPU cores. Captions and
retrieval use the whole test split, because their scores depend on its size; controls that ask a
model again use a part, and say so in results.json.

Fewer records: --suite.limit=50. With image-text matching: --suite.rerank_k=8
"""

import ml_collections

from zv_jax.errors import unknown_name
from zv_jax.evaluation.config import suite
from zv_jax.evaluation.task import embedded, load

TASKS = {
    "": (),
    "retrieval": ("retrieval",),
    "language": tuple(name for name in embedded() if load(name).kind != "retrieval"),
}


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The suite.

    Raises:
        ConfigError: `arg` is not one of the above.
    """
    if arg not in TASKS:
        raise unknown_name(
            "suite",
            arg,
            filter(None, TASKS),
            "configs/eval/quickstart.py",
            fix="--suite configs/eval/quickstart.py",
        )
    return suite(
        tasks=TASKS[arg],
        limits={"vqa": 448, "grounding": 300, "grounded_caption": 192, "conversation": 128},
        batch_size=64,
        control_limit=128,
        untrained_limit=64,
        train_limit=4000,
        rerank_limit=64,
    )
