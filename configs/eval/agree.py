"""Whether a model says the same in English and in Chinese, on the embedded scenes.

    zv eval agree --checkpoint runs/quickstart/stage2_chat --suite configs/eval/agree.py \
                  --workdir runs/quickstart/agree

Held-out scenes of the split `val`; `:test` asks those of the test split, and `:train` the first
ones of training, whose disagreements may be trained on again. Hardware: 2 CPU cores.
"""

import ml_collections

from zv_jax.errors import unknown_name
from zv_jax.evaluation.config import suite

SPLITS = ("val", "test", "train")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The suite.

    Raises:
        ConfigError: `arg` is no split.
    """
    split = arg or "val"
    if split not in SPLITS:
        raise unknown_name(
            "split", split, SPLITS, "configs/eval/agree.py", fix="--suite configs/eval/agree.py"
        )
    return suite(
        tasks=("vqa", "mc_vqa", "grounding", "grounded_caption"),
        limits={"vqa": 448, "mc_vqa": 128, "grounding": 192, "grounded_caption": 192},
        # The tasks' own split is not named: a folder of `zv eval` on it may go on here.
        source={} if split == "test" else {"split": split},
        controls=(),
    )
