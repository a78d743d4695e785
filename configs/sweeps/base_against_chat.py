"""Base against Chat, each with stage 1 and without it: the paper's two training strategies.

    zv sweep --sweep configs/sweeps/base_against_chat.py --workdir runs/sweeps/base_against_chat

It starts from the language model and the stage 0 of a finished quickstart, and takes longer than
that did. At full size: `base_against_chat.py:full`. An arm without stage 1 makes the steps of both
stages in stage 2, so that none is trained less. Result: one row an arm, in ablation.md.
"""

from zv_jax.configs import quickstart
from zv_jax.configs.sweeps.common import size
from zv_jax.sweep.ablation import Ablation, Arm


def get_sweep(arg: str = "") -> Ablation:
    """The four arms."""
    at = size("configs/sweeps/base_against_chat.py", arg)
    arms = []
    for variant in ("base", "chat"):
        start, name = at.start(variant), variant.capitalize()
        first = at.training(f"stage1_{variant}", init_from=start)
        arms.append(Arm(name, (first, at.training(f"stage2_{variant}"))))
        stages = (quickstart.get_config(f"stage{number}_{variant}") for number in (1, 2))
        longer = {"train.steps": sum(stage.train.steps for stage in stages)}
        alone = at.training(f"stage2_{variant}", longer, init_from=start)
        arms.append(Arm(f"{name} without stage 1", (alone,)))
    title = "Base against Chat, with and without stage 1"
    return Ablation(title, tuple(arms), at.suite, at.scores, at.suite_overrides)
