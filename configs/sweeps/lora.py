"""Chat's adapters: their rank, and the towers that have them; also none at all.

    zv sweep --sweep configs/sweeps/lora.py --workdir runs/sweeps/lora

It starts from the stage 1 of Chat of a finished quickstart; 120 steps an arm, half an hour on two
cores. At full size: `lora.py:full`. Result: one row an arm, in ablation.md.
"""

from zv_jax.configs.sweeps.common import size
from zv_jax.models.presets import CHAT_LORA
from zv_jax.sweep.ablation import Ablation, Arm

VIT, LLM = CHAT_LORA.split("|", 1)  # the paper's "in the ViT and LLM", one by one


def get_sweep(arg: str = "") -> Ablation:
    """Ranks 4, 16 and 64 in both towers, rank 16 in either, and none."""
    at = size("configs/sweeps/lora.py", arg)
    quick = {"train.steps": 120}

    def arm(name: str, **overrides: object) -> Arm:
        start = at.after_stage1("chat")
        return Arm(name, (at.training("stage2_chat", quick, init_from=start, **overrides),))

    def rank(number: int, targets: str = CHAT_LORA) -> dict[str, object]:
        # The scale of the update, alpha / rank, is the same for all.
        lora = {"targets": targets, "rank": number, "alpha": 2.0 * number}
        return {f"model__lora__{field}": value for field, value in lora.items()}

    arms = (
        *(arm(f"rank {number}, ViT and LLM", **rank(number)) for number in (4, 16, 64)),
        arm("rank 16, ViT", **rank(16, VIT)),
        arm("rank 16, LLM", **rank(16, LLM)),
        # What stage 1 trains, on the data of stage 2.
        arm("no adapters", stage__name="stage1"),
    )
    return Ablation("Low-rank adapters", arms, at.suite, at.scores, at.suite_overrides)
