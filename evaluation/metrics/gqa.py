"""GQA's numbers: exact match on the balanced split, and the same per type of question.

Hudson and Manning, GQA (CVPR 2019). The official script compares strings and normalises nothing;
what turns a model's reply into an answer is a clean-up of its own name (`clean_answer`), because
LLaVA, LAVIS and lmms-eval each do another one and differ by tens of points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

PROTOCOL = "gqa-em-1|strings-equal"


def clean_answer(text: str) -> str:
    """First line, without spaces around and a final period, in lower case."""
    lines = text.strip().splitlines() or [""]
    return lines[0].strip().rstrip(".").strip().lower()


def gqa_match(prediction: str, answer: str) -> bool:
    """Whether the two strings are equal, as the official script asks."""
    return prediction == answer


def gqa_scores(
    predictions: Mapping[str, str], questions: Mapping[str, Mapping]
) -> dict[str, float | None]:
    """Accuracy over all, over binary (yes/no, choose) and over open questions, in percent.

    Args:
      predictions: question id -> answer, cleaned.
      questions: question id -> entry of GQA's question file; ``answer`` and, for the two parts,
        ``types.structural`` are read.

    Returns:
      ``accuracy``, ``binary`` and ``open``; None for a part without a question.

    Raises:
      KeyError: a question has no prediction.
    """
    hits = {i: gqa_match(predictions[i], str(q["answer"])) for i, q in questions.items()}
    open_ids = {i for i, q in questions.items() if _structure(q) == "query"}

    def percent(ids: Sequence[str]) -> float | None:
        return 100.0 * sum(hits[i] for i in ids) / len(ids) if ids else None

    typed = [i for i in hits if _structure(questions[i])]
    return {
        "accuracy": percent(list(hits)),
        "binary": percent([i for i in typed if i not in open_ids]),
        "open": percent([i for i in typed if i in open_ids]),
    }


def _structure(question: Mapping) -> str | None:
    return (question.get("types") or {}).get("structural")
