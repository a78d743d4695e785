"""Predictions to numbers: pure functions of items and what was answered; no model is needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zv_jax.errors import DataError, EnvironmentProblem
from zv_jax.evaluation import metrics
from zv_jax.evaluation.metrics import (
    captions,
    choices,
    exact_match,
    gqa,
    grounding,
    vizwiz,
    vqa,
    yes_no,
)
from zv_jax.evaluation.metrics.choices import LETTERS
from zv_jax.evaluation.predict import Item
from zv_jax.evaluation.predictions import Prediction
from zv_jax.evaluation.results import Measure, per_item
from zv_jax.evaluation.statistics import draws, middle
from zv_jax.evaluation.task import Task, clean

CAPTION_TOKENIZERS = {"en": "ptb", "zh": "zh_char"}
Marks = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Scored:
    """Measures, the headline first; for every item facts for its sample: what was compared, and
    whether it is right."""

    measures: tuple[Measure, ...]
    marks: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Answers:
    """What a scorer reads: items, their predictions, the cleaned texts of these, and all evaluated
    items, of which `items` may be a part: n-gram statistics are theirs."""

    task: Task
    lang: str
    items: Sequence[Item]
    predictions: Sequence[Prediction]
    texts: Sequence[str]
    corpus: Sequence[Item]

    def part(self, rows: Sequence[int]) -> Answers:
        """The items of these numbers, with n-gram statistics of their own."""
        items = [self.items[i] for i in rows]
        said, texts = [self.predictions[i] for i in rows], [self.texts[i] for i in rows]
        return Answers(self.task, self.lang, items, said, texts, items)


def score(
    task: Task,
    lang: str,
    items: Sequence[Item],
    predictions: Sequence[Prediction],
    corpus: Sequence[Item] | None = None,
) -> Scored:
    """Scores one prediction for every item.

    Args:
      corpus: all evaluated items, of which `items` may be a part.

    Raises:
      DataError: an item has no answer to compare with. ValueError: nothing to score.
    """
    if not items or len(items) != len(predictions):
        raise ValueError(f"{len(predictions)} predictions for {len(items)} items")
    for item in items:
        if not item.references[-1]:
            raise DataError(
                f"{item.id} has no answer to compare with",
                where=f"{task.dataset}/{task.split}",
                expected="a split whose answers are public",
                fix=f"zv eval submit --benchmark={task.name} writes the server's file",
            )
    texts = [clean(prediction.text, task.clean) for prediction in predictions]
    answers = Answers(task, lang, items, predictions, texts, corpus or items)
    found = [SCORERS[name](answers) for name in task.metrics]
    measures = tuple(measure for measures, _ in found for measure in measures)
    values = measures[0].values if len(measures[0].values) == len(items) else [None] * len(items)
    marks = []
    for n, (text, value) in enumerate(zip(texts, values, strict=True)):
        mark = {"compared": text, "correct": None, "score": None if value is None else float(value)}
        for _, of_metric in reversed(found):  # the headline decides
            mark |= of_metric[n] if of_metric else {}
        marks.append(mark)
    return Scored(measures, tuple(marks))


def by_item(found: Mapping[str, Prediction], items: Sequence[Item]) -> list[Prediction]:
    """The predictions in the order of the items.

    Raises:
      DataError: an item has none, or one that does not answer all its turns.
    """
    missing = [item.id for item in items if item.id not in found]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(items)} records have no prediction",
            where=f"id {missing[0]!r}",
            expected="a prediction for every record, an empty text where the model gave none",
            fix="score the part you have with --partial; its numbers are named @n",
        )
    for item in items:
        if len(found[item.id].answers) != len(item.turns):
            raise DataError(
                f"{len(found[item.id].answers)} answers to {len(item.turns)} turns",
                where=f"id {item.id!r}, field turns",
                expected="an answer to every turn, the last being the prediction",
            )
    return [found[item.id] for item in items]


Found = tuple[Sequence[Measure], Marks]


def _cider(answers: Answers, cut: str = "") -> Found:
    """CIDEr-D x 100."""
    return _captions_by(answers, cut or CAPTION_TOKENIZERS[answers.lang])[:1], ()


def _captions(answers: Answers) -> Found:
    """CIDEr-D and ROUGE-L, each a mean over images; of Chinese also CIDEr-D of jieba's words."""
    measures = _captions_by(answers, CAPTION_TOKENIZERS[answers.lang])
    if answers.lang == "zh":
        try:
            measures += _captions_by(answers, "zh_jieba")[:1]
        except EnvironmentProblem:
            pass  # the second way of counting is an extra
    return measures, ()


def _captions_by(answers: Answers, cut: str) -> list[Measure]:
    found = captions.caption_scores(
        {item.id: item.references[-1] for item in answers.items},
        {item.id: text for item, text in zip(answers.items, answers.texts, strict=True)},
        cut,
        corpus={item.id: item.references[-1] for item in answers.corpus},
    )
    each = [found["per_item"][item.id] for item in answers.items]
    protocol = captions.caption_protocol(cut)
    return [
        per_item(captions.caption_metric(cut), [100 * row["cider"] for row in each], protocol),
        per_item("rouge_l", [100 * row["rouge_l"] for row in each], protocol),
    ]


def _domains(answers: Answers) -> Found:
    """NoCaps in its three parts, each with the document frequencies of its own references."""
    measures = []
    for domain in ("in-domain", "near-domain", "out-domain"):
        rows = [n for n, item in enumerate(answers.items) if item.group == domain]
        if rows:
            part = _cider(answers.part(rows))[0][0]
            name = f"{part.metric}_{domain}"
            measures.append(Measure(name, part.values, np.array(rows), part.protocol))
    return measures, ()


def _exact_match(answers: Answers) -> Found:
    """Strict and lenient exact match with the references of the last turn."""

    def measure(name: str, lenient: bool) -> Measure:
        hits = [
            exact_match.matches(text, item.references[-1], answers.lang, lenient)
            for item, text in zip(answers.items, answers.texts, strict=True)
        ]
        level = "lenient" if lenient else "strict"
        return per_item(name, hits, f"{exact_match.PROTOCOL}|{level}")

    strict = measure("exact_match", False)
    marks = [
        {"correct": bool(value)} | _true_box(item)
        for value, item in zip(strict.values, answers.items, strict=True)
    ]
    return (strict, measure("exact_match_lenient", True)), marks


def _true_box(item: Item) -> dict[str, Any]:
    return {"box_true": list(item.record.objects[0].box)} if item.record.objects else {}


def closed(item: Item) -> bool | None:
    """True or False where yes or no is the true answer, by any of its spellings; else None."""
    folded = exact_match.normalise(item.references[-1][0], item.record.lang, lenient=True)
    return {"yes": True, "no": False, "是": True, "否": False}.get(folded)


def _yes_no(answers: Answers) -> Found:
    """Accuracy of the questions whose true answer is yes or no."""
    rows = [n for n, item in enumerate(answers.items) if closed(item) is not None]
    if not rows:
        return (), ()
    read = [yes_no.parse_yes_no(answers.texts[n], lang=answers.lang) for n in rows]
    hits = [r is closed(answers.items[n]) for n, r in zip(rows, read, strict=True)]
    values, unreadable = 100.0 * np.array(hits, np.float64), read.count(None)
    return (Measure("yes_no_accuracy", values, np.array(rows), yes_no.PROTOCOL, unreadable),), ()


def _vqa_accuracy(answers: Answers) -> Found:
    """VQA accuracy by the task's protocol, and under their own names by others."""
    main, pairs = answers.task.protocol, list(zip(answers.texts, answers.items, strict=True))
    others = ["zh_lenient"] if answers.lang == "zh" else ["official", "always"]
    measures = []
    for protocol in dict.fromkeys([main, *others]):
        values = [
            100 * metrics.vqa_accuracy(text, item.references[-1], protocol) for text, item in pairs
        ]
        name = "vqa_accuracy" if protocol == main else f"vqa_accuracy_{protocol}"
        form = f"|{exact_match.PROTOCOL}" if protocol.startswith("zh") else ""
        measures.append(per_item(name, values, f"{vqa.VERSION}|{protocol}{form}"))
    marks = [
        {
            "compared": vqa.compared(text, item.references[-1], main)[0],
            "correct": bool(value >= 50),
        }
        for (text, item), value in zip(pairs, measures[0].values, strict=True)
    ]
    return measures, marks


def _unanswerable(answers: Answers) -> Found:
    """VizWiz' second task, by whether the answer says that there is none."""
    known = [item.record.meta.get("answerable") for item in answers.items]
    if None in known:
        return (), ()
    said = [float(metrics.vqa_normalize(text) == "unanswerable") for text in answers.texts]
    found = metrics.unanswerable_scores(said, known)
    pairs = np.array([said, known])
    drawn = [metrics.unanswerable_scores(*pairs[:, rows]) for rows in draws(len(known), 0)]
    return [
        Measure(
            f"unanswerable_{name}", np.array([value]), np.zeros(1, int), vizwiz.PROTOCOL,
            whole=middle([row[name] for row in drawn]),
        )
        for name, value in found.items()
    ], ()  # fmt: skip


def _gqa(answers: Answers) -> Found:
    """GQA's accuracy, of all questions and of the open and the binary ones."""
    pairs = zip(answers.texts, answers.items, strict=True)
    hits = [gqa.gqa_match(text, item.references[-1][0]) for text, item in pairs]
    measures = [per_item("exact_match", hits, gqa.PROTOCOL)]
    kinds = [item.record.meta.get("question_type") for item in answers.items]
    for name, wanted in (("open", True), ("binary", False)):
        rows = [i for i, kind in enumerate(kinds) if kind and (kind == "query") is wanted]
        if rows:
            values = measures[0].values[rows]
            measures.append(Measure(f"exact_match_{name}", values, np.array(rows), gqa.PROTOCOL))
    return measures, [{"correct": bool(hit)} for hit in hits]


def _box(answers: Answers) -> Found:
    """The first box in the answer against the true one."""
    found = [grounding.parse_box(text) for text in answers.texts]
    true = [item.record.objects[0].box for item in answers.items]
    pairs = list(zip(found, true, strict=True))
    overlap = [0.0 if f is None else grounding.box_iou(f, t) for f, t in pairs]
    hits = [grounding.hit(f, t) for f, t in pairs]
    unreadable = found.count(None)
    measures = (
        per_item("acc@0.5", hits, grounding.PROTOCOL, unreadable),
        per_item("mean_iou", [100.0 * o for o in overlap], grounding.PROTOCOL, unreadable),
    )
    return measures, [
        {"correct": hit, "box_true": list(t), "box_pred": None if f is None else list(f)}
        for hit, (f, t) in zip(hits, pairs, strict=True)
    ]


def _choice(answers: Answers) -> Found:
    """The option that was ranked best, or that the answer names; also in other orders."""
    said, records = answers.predictions, [item.record for item in answers.items]
    ranked = all(prediction.choice is not None for prediction in said)
    picks = [
        p.choice
        if p.choice is not None
        else metrics.parse_choice(p.text, r.choices or ("",), lang=answers.lang)
        for p, r in zip(said, records, strict=True)
    ]
    hits = [pick == r.answer_index for pick, r in zip(picks, records, strict=True)]
    how = f"ranked {answers.task.target}s|sum+eos"
    how = how if ranked else f"read from text|{choices.PROTOCOL}"
    measures = [per_item("accuracy", hits, how, picks.count(None))]
    if all(p.permuted for p in said):
        orders = list(zip(*([p.choice, *p.permuted] for p in said), strict=True))
        right = np.mean(
            [[c == r.answer_index for c, r in zip(o, records, strict=True)] for o in orders], 0
        )
        same = [len({p.choice, *p.permuted}) == 1 for p in said]
        count = f"{how}|{len(orders)} orders of the options"
        measures += [
            per_item("accuracy_permuted", list(100.0 * right), count),
            per_item("agreement_permuted", same, count),
        ]
    return measures, [
        {"compared": "" if pick is None else f"({LETTERS[pick]})", "correct": hit, "chosen": pick}
        for pick, hit in zip(picks, hits, strict=True)
    ]


def turn_is_right(answer: str, references: Sequence[str], lang: str) -> bool:
    """Exact match, or enough overlap where the true answer is a box."""
    true = grounding.parse_box(references[0])
    if true is not None:
        return grounding.hit(grounding.parse_box(answer), true)
    return exact_match.matches(answer, references, lang)


def _turns(answers: Answers) -> Found:
    """Every turn of a dialogue; later turns lean on the words before them. Turns over several
    images count once more on their own."""
    pairs = [
        list(zip(prediction.answers, item.references, strict=True))
        for item, prediction in zip(answers.items, answers.predictions, strict=True)
    ]
    right = [[turn_is_right(a, refs, answers.lang) for a, refs in turns] for turns in pairs]
    unread = np.array(
        [
            grounding.parse_box(refs[0]) is not None and grounding.parse_box(a) is None
            for turns in pairs
            for a, refs in turns
        ]
    )
    owners = np.repeat(np.arange(len(right)), [len(turns) for turns in right])
    values = 100.0 * np.array([hit for turns in right for hit in turns], np.float64)
    several = np.array([len(answers.items[n].images) > 1 for n in owners], bool)
    whole = [all(turns) for turns in right]
    protocol = f"own-history|{exact_match.PROTOCOL}|strict|box-turns:iou>=0.5"
    measures = [
        Measure("turn_accuracy", values, owners, protocol, int(unread.sum())),
        per_item("dialogue_accuracy", whole, protocol),
    ]
    if several.any():
        rows = values[several], owners[several]
        lost = int(unread[several].sum())
        measures.append(Measure("turn_accuracy_several_images", *rows, protocol, lost))
    return measures, [
        {"correct": w, "turns_correct": turns} for w, turns in zip(whole, right, strict=True)
    ]


SCORERS: dict[str, Callable[[Answers], Found]] = {
    "cider": _cider,
    "captions": _captions,
    "domains": _domains,
    "exact_match": _exact_match,
    "yes_no": _yes_no,
    "vqa_accuracy": _vqa_accuracy,
    "unanswerable": _unanswerable,
    "gqa": _gqa,
    "box": _box,
    "choice": _choice,
    "turns": _turns,
}
