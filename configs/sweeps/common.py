"""What the ablations share: the word after the colon, starts, suites and columns of both sizes.

Without a word an ablation runs on the quickstart's models, beside a finished `make quickstart`, in
minutes on two cores. `full`, and further words of configs/common.py behind it, runs the same arms
on the paper's models and mixtures: `:full`, `:full,7b`, `:full,v5e-256`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from zv_jax.errors import unknown_name
from zv_jax.sweep.ablation import Score, Training

_QUICKSTART = (
    *(("caption", "en", "CIDEr-D"), ("caption", "zh", "cider_zh_char")),
    *((task, lang, "exact_match") for task in ("vqa",) for lang in ("en", "zh")),
    *(("vqa", lang, "yes_no_accuracy") for lang in ("en", "zh")),
    *(("grounding", lang, "acc@0.5") for lang in ("en", "zh")),
    *(("conversation", lang, "turn_accuracy") for lang in ("en", "zh")),
)
_FULL = (
    *(("nocaps", "en", "CIDEr-D"), ("flickr30k", "en", "CIDEr-D")),
    *(("vqav2_val", "en", "vqa_accuracy"), ("okvqa", "en", "vqa_accuracy")),
    *(("gqa", "en", "exact_match"), ("scienceqa_img", "en", "accuracy")),
    *(("coco_cn", "zh", "cider_zh_char"), ("flickr30k_cna", "zh", "cider_zh_char")),
    *(("gqa_t", "zh", "exact_match"), ("vqav2_t", "zh", "vqa_accuracy")),
)


@dataclass(frozen=True)
class Size:
    """Quickstart, or `full` with the further `words` of its recipes."""

    full: bool = False
    words: tuple[str, ...] = ()

    def training(
        self, name: str, quick: Mapping[str, object] | None = None, **other: object
    ) -> Training:
        """The recipe of a stage, as "stage1_chat".

        Args:
            quick: overrides at quickstart size alone, as fewer steps.
            other: overrides at both sizes, two underscores for a dot.
        """
        both = {key.replace("__", "."): value for key, value in other.items()}
        if self.full:
            return Training(f"configs/paper.py:{','.join((name, *self.words))}", both)
        return Training(f"configs/quickstart.py:{name}", both | dict(quick or {}))

    def start(self, variant: str) -> tuple[str, ...]:
        """What comes before stage 1: a language model, and the Q-Former of stage 0."""
        if self.full:
            return ("weights/ziya_llama_13b", f"runs/stage0_{variant}")
        return ("runs/quickstart/language", "runs/quickstart/stage0")

    def after_stage1(self, variant: str) -> tuple[str, ...]:
        """A finished stage 1."""
        return (f"runs/stage1_{variant}" if self.full else f"runs/quickstart/stage1_{variant}",)

    @property
    def suite(self) -> str:
        """Where models that answer are compared."""
        return "configs/eval/ziya.py:local" if self.full else "configs/eval/quickstart.py"

    @property
    def suite_overrides(self) -> dict[str, object]:
        """Only the tasks of `scores`."""
        return {"tasks": tuple(dict.fromkeys(score.task for score in self.scores))}

    @property
    def scores(self) -> tuple[Score, ...]:
        """Columns of models that answer."""
        return tuple(Score(*column) for column in (_FULL if self.full else _QUICKSTART))


def size(file: str, arg: str) -> Size:
    """The size that `arg` names.

    Raises:
        ConfigError: it is neither empty nor begins with `full`.
    """
    if not arg:
        return Size()
    first, *words = arg.split(",")
    if first != "full":
        raise unknown_name("size", first, ("full",), file, fix=f"--sweep {file}:full")
    return Size(True, tuple(words))
