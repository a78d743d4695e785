"""What of a quickstart model carries over: other drawing styles, and photographs.

    npm pack @iconify-json/twemoji@1.2.5 @iconify-json/noto@1.2.9
    zv data styles --packages=iconify-json-twemoji.tgz,iconify-json-noto.tgz \\
            --out=data/openmoji_styles
    zv eval --checkpoint runs/quickstart/stage2_chat --suite configs/eval/carry_over.py:styles \
            --workdir runs/quickstart/eval_styles

    apt-get download tuxpaint-stamps-default
    dpkg-deb -x tuxpaint-stamps-default_*.deb data/stamps
    zv eval --checkpoint runs/quickstart/stage2_chat --suite configs/eval/carry_over.py:stamps \
            --workdir runs/quickstart/eval_stamps

`:styles` asks what a stage teaches about scenes that were drawn by others, `:stamps` looks for the
captions of a hundred photographs, written by people in English and in Chinese. Both are optional:
what they need belongs to others and is fetched by you. A model of 4 M parameters that has seen one
style of drawing is expected to keep little of the first and nothing of the second, so read every
number beside its controls: random weights, other images, chance. Minutes on two cores.
"""

import ml_collections

from zv_jax.errors import unknown_name
from zv_jax.evaluation.config import suite

CONTROLS = ("untrained", "shuffled_images", "chance")


def get_config(arg: str = "styles") -> ml_collections.ConfigDict:
    """The suite.

    Raises:
        ConfigError: `arg` is neither `styles` nor `stamps`.
    """
    common = {"controls": CONTROLS, "untrained_limit": 64, "control_limit": 128, "rerank_k": 8}
    if arg == "stamps":
        return suite(tasks=("stamps", "stamps_zh"), **common)
    if arg == "styles":
        source = {"name": "jsonl", "path": "data/openmoji_styles/test.jsonl", "split": "test"}
        limits = {"vqa": 448, "grounding": 300, "grounded_caption": 192, "conversation": 128}
        return suite(source=source, limits=limits, rerank_limit=64, **common)
    raise unknown_name(
        "suite",
        arg,
        ("styles", "stamps"),
        "configs/eval/carry_over.py",
        fix="--suite configs/eval/carry_over.py:styles",
    )
