"""The benchmarks of the paper's Tables 4 to 8, with the paper's rows beside ours.

    zv eval check-data --suite configs/eval/ziya.py --suite.data=DIR
    zv eval --checkpoint runs/chat --suite configs/eval/ziya.py --suite.data=DIR \
            --workdir runs/eval_ziya

DIR holds one folder for each data set, in its published layout: vqav2/, nocaps/, coco_cn/ ...
(`zv data list NAME` says how to obtain it). Arguments: nothing for the paper's splits, some of
which only a server scores; `:local` for splits with public answers in their place; `:5`, `:6`,
`:7` for one table; `:hallucination` for POPE and CHAIR, `:grounding` for Acc@0.5 of RefCOCO,
RefCOCO+ and RefCOCOg, which are in no table of the paper; `:openmoji` for records of the embedded
data set in place of files we cannot ship, whose numbers carry another name. Time for the paper's
splits: about 480,000 answers, most of them with five beams; several processes share them with
--shard.

Retrieval is by the heads of stage 0, which the later stages carry along. LLaVA-bench is answered
here and judged by `zv eval judge`, alone (Table 7) or against another model (Table 8); run this
command again afterwards.
"""

import ml_collections

from zv_jax.errors import unknown_name
from zv_jax.evaluation.config import suite
from zv_jax.evaluation.task import load

TABLES = {
    "5": ("nocaps", "flickr30k", "vqav2", "okvqa", "gqa", "scienceqa_img", "vizwiz"),
    "6": (
        "coco_cn",
        "coco_cn_retrieval",
        "flickr30k_cna",
        "flickr30k_cna_retrieval",
        "gqa_t",
        "vqav2_t",
    ),
    "7": ("llava_bench", "llava_bench_zh"),
}
BESIDE = {  # what the paper has no table of
    "hallucination": ("pope_random", "pope_popular", "pope_adversarial", "chair", "chair_zh"),
    "grounding": (
        *("refcoco_val", "refcoco_testa", "refcoco_testb"),
        *("refcoco_plus_val", "refcoco_plus_testa", "refcoco_plus_testb"),
        *("refcocog_val", "refcocog_test"),
    ),
}
LOCAL = {"vqav2": "vqav2_val", "vizwiz": "vizwiz_val"}
LONGEST = 32  # tokens of an answer about stand-ins
ARGUMENTS = ("", "local", "openmoji", *TABLES, *BESIDE)


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The suite.

    Raises:
        ConfigError: `arg` is not one of the above.
    """
    if arg not in ARGUMENTS:
        raise unknown_name(
            "suite",
            arg,
            filter(None, ARGUMENTS),
            "configs/eval/ziya.py",
            fix="--suite configs/eval/ziya.py",
        )
    names = (TABLES | BESIDE).get(arg) or tuple(name for table in TABLES.values() for name in table)
    if arg == "local":
        names = tuple(LOCAL.get(name, name) for name in names)
    common = {"tasks": names, "controls": (), "sample_limit": 200, "attention_images": 0}
    if arg == "openmoji":
        longest = {name: load(name).decoding.get("max_new_tokens", 0) for name in names}
        short = {name: min(tokens, LONGEST) for name, tokens in longest.items()}
        return suite(**common, stand_in="zv_openmoji", limit=200, max_new_tokens=short, rerank_k=16)
    return suite(**common, rerank_k=128)
