"""How much translated data? Stage 1 of Chat with none, a tenth, half and all of the Chinese half.

    zv sweep --sweep configs/sweeps/translated.py --workdir runs/sweeps/translated

It starts from the language model and the stage 0 of a finished quickstart; 200 steps an arm,
quarter of an hour on two cores. At full size, `translated.py:full`, the share is that of the sets
whose names end in _t, beside which the sets written in Chinese stay. In the quickstart all Chinese
text is made from the same facts as the English, so it stands for the translated sets. Result: one
row an arm, in ablation.md.
"""

from zv_jax.configs import paper
from zv_jax.configs.quickstart import MULTI_TASK
from zv_jax.configs.sweeps.common import size
from zv_jax.sweep.ablation import Ablation, Arm

SHARES = (0.0, 0.1, 0.5, 1.0)


def get_sweep(arg: str = "") -> Ablation:
    """An arm for each of `SHARES`."""
    at = size("configs/sweeps/translated.py", arg)
    arms = tuple(
        Arm(
            f"{share:.0%} of the translated data",
            (
                at.training(
                    "stage1_chat",
                    {"train.steps": 200},
                    init_from=at.start("chat"),
                    data__sources=_full(share) if at.full else _quickstart(share),
                ),
            ),
        )
        for share in SHARES
    )
    title = "Share of translated data"
    return Ablation(title, arms, at.suite, at.scores, at.suite_overrides)


def _quickstart(share: float) -> tuple[dict, ...]:
    weights = {"en": 1.0, "zh": share}
    return tuple(
        {"name": "zv_openmoji", "tasks": MULTI_TASK, "langs": (lang,), "weight": weight}
        for lang, weight in weights.items()
        if weight
    )


def _full(share: float) -> tuple[dict, ...]:
    found = []
    for source in paper.sources("stage1", "chat"):
        fields = source.to_dict()
        if fields["path"].endswith("_t"):
            fields["weight"] *= share
        if fields["weight"]:
            found.append(fields)
    return tuple(found)
