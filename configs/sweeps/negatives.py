"""Image-text matching with one hard negative for each pair, as the paper's Chat, or two, as BLIP-2.

    zv sweep --sweep configs/sweeps/negatives.py --workdir runs/sweeps/negatives

It starts from the ViT of a finished quickstart; 120 steps of stage 0 an arm, quarter of an hour on
two cores. At full size: `negatives.py:full`. Result: recalls by similarity (itc) and after matching
the best candidates (itm), one row an arm, in ablation.md.
"""

from zv_jax.configs.sweeps.common import size
from zv_jax.sweep.ablation import Ablation, Arm, Score

ARMS = {"one hard negative": ("single", "hard"), "two hard negatives": ("both", "hard"),
        "two random negatives": ("both", "random")}  # fmt: skip


def get_sweep(arg: str = "") -> Ablation:
    """One, two, and two that are not hard."""
    at = size("configs/sweeps/negatives.py", arg)
    arms = tuple(
        Arm(
            name,
            (
                at.training(
                    "stage0_base",
                    init_from=("weights/eva_vit_g", "weights/bert_base"),
                    stage__itm_pairs=pairs,
                    stage__itm_negatives=how,
                )
                if at.full
                else at.training(
                    "stage0", {"train.steps": 120}, stage__itm_pairs=pairs, stage__itm_negatives=how
                ),
            ),
        )
        for name, (pairs, how) in ARMS.items()
    )
    tasks = ("coco_cn_retrieval", "flickr30k_cna_retrieval") if at.full else ("retrieval",)
    scores = tuple(
        Score(task, lang, f"{direction}_recall@1_{by}")
        for task in tasks
        for lang in (("zh",) if at.full else ("en", "zh"))
        for by in ("itc", "itm")
        for direction in ("text", "image")
    )
    suite = "configs/eval/ziya.py:6" if at.full else "configs/eval/quickstart.py:retrieval"
    overrides = {"tasks": tasks, "rerank_k": 128 if at.full else 8, "rerank_limit": 0}
    return Ablation("Hard negatives of matching", arms, suite, scores, overrides)
