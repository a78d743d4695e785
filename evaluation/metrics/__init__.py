"""Metrics: pure functions of texts, boxes and arrays, usable without a model or a data set.

Nothing here may import jax, read a data set or know a task."""

from zv_jax.evaluation.metrics.captions import caption_scores
from zv_jax.evaluation.metrics.chair import chair_scores
from zv_jax.evaluation.metrics.choices import parse_choice
from zv_jax.evaluation.metrics.gqa import gqa_match, gqa_scores
from zv_jax.evaluation.metrics.grounding import box_iou, parse_box
from zv_jax.evaluation.metrics.judged import parse_judge_scores, relative_scores
from zv_jax.evaluation.metrics.ptb import ptb_tokenize
from zv_jax.evaluation.metrics.retrieval import retrieval_recall
from zv_jax.evaluation.metrics.vizwiz import unanswerable_scores
from zv_jax.evaluation.metrics.vqa import vqa_accuracy, vqa_normalize
from zv_jax.evaluation.metrics.yes_no import parse_yes_no, yes_no_scores

__all__ = [
    "box_iou",
    "caption_scores",
    "chair_scores",
    "gqa_match",
    "gqa_scores",
    "parse_box",
    "parse_choice",
    "parse_judge_scores",
    "parse_yes_no",
    "ptb_tokenize",
    "relative_scores",
    "retrieval_recall",
    "unanswerable_scores",
    "vqa_accuracy",
    "vqa_normalize",
    "yes_no_scores",
]
