"""The norm between ViT and Q-Former, ln_vision: trained with the Q-Former, as in LAVIS, or frozen.

    zv sweep --sweep configs/sweeps/ln_vision.py --workdir runs/sweeps/ln_vision

It starts from both stages 1 of a finished quickstart; 150 steps an arm, quarter of an hour on two
cores. At full size: `ln_vision.py:full`. Result: one row an arm, in ablation.md.
"""

from zv_jax.configs.sweeps.common import size
from zv_jax.sweep.ablation import Ablation, Arm


def get_sweep(arg: str = "") -> Ablation:
    """Both variants, trained and frozen."""
    at = size("configs/sweeps/ln_vision.py", arg)
    arms = []
    for variant in ("base", "chat"):
        for trained, word in ((True, "trained"), (False, "frozen")):
            training = at.training(
                f"stage2_{variant}",
                {"train.steps": 150},
                init_from=at.after_stage1(variant),
                stage__train_ln_vision=trained,
            )
            arms.append(Arm(f"{variant.capitalize()}, ln_vision {word}", (training,)))
    title = "ln_vision trained or frozen"
    return Ablation(title, tuple(arms), at.suite, at.scores, at.suite_overrides)
