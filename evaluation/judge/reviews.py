"""From questions and answers to requests, and from replies to reviews.

A review is one judgement of one question: two scores, or the reason why there are none. In the
swapped order the answer under test stands first, and its review's scores are turned back, so that
`scores` always is (reference, model).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from zv_jax.evaluation.judge.bench import Bench, Question
from zv_jax.evaluation.metrics.judged import parse_judge_scores
from zv_jax.llm.ledger import Ledger
from zv_jax.llm.request import Request

SYSTEM = {
    "en": "You are a helpful and precise assistant for checking the quality of the answer.",
    "zh": "你是一个乐于助人且严谨的助手，负责检查回答的质量。",
}
TEMPERATURE = 0.2
MAX_TOKENS = 1024
READINGS = 3  # how often a reply that cannot be read is asked for again, the first included


@dataclass(frozen=True)
class Case:
    """One thing to judge: a question, its answer, and in which order the two answers stand."""

    question: Question
    answer: str
    swapped: bool = False


@dataclass(frozen=True)
class Review:
    """The outcome of a case; `scores` is None where there are none, and `reason` says why."""

    case: Case
    scores: tuple[float, float] | None
    reply: str = ""
    reason: str = ""


def cases(bench: Bench, answers: Mapping[str, str], swap: bool) -> list[Case]:
    """Every answered question once, and with `swap` once more in the other order."""
    asked = [question for question in bench.questions if question.id in answers]
    return [
        Case(question, answers[question.id], swapped)
        for swapped in ((False, True) if swap else (False,))
        for question in asked
    ]


def request(case: Case, lang: str, model: str, reading: int = 0) -> Request:
    """The request of a case: LLaVA's layout. A repeated reading differs by its `seed`."""
    question = case.question
    both = (question.reference, case.answer)
    first, second = both[::-1] if case.swapped else both
    role = question.role
    content = (
        f"[Context]\n{question.context}\n\n[Question]\n{question.text}\n\n"
        f"[{role} 1]\n{first}\n\n[End of {role} 1]\n\n"
        f"[{role} 2]\n{second}\n\n[End of {role} 2]\n\n"
        f"[System]\n{question.rule}\n\n"
    )
    messages = [
        {"role": "system", "content": SYSTEM[lang]},
        {"role": "user", "content": content},
    ]
    parameters = {"model": model, "temperature": TEMPERATURE, "max_tokens": MAX_TOKENS}
    return Request(messages, parameters | ({"seed": reading} if reading else {}))


def pending(wanted: Iterable[Case], lang: str, model: str, ledger: Ledger) -> list[Request]:
    """The requests whose replies are still needed, each case's next reading."""
    found = []
    for case in wanted:
        for reading in range(READINGS):
            asked = request(case, lang, model, reading)
            reply = ledger.get(asked.key)
            if reply is None:
                found.append(asked)
                break
            if parse_judge_scores(reply.text) is not None:
                break
    return found


def review(case: Case, lang: str, model: str, ledger: Ledger, reason: str = "") -> Review:
    """The review of a case by what the ledger holds; `reason` is why nothing more came."""
    last = ""
    for reading in range(READINGS):
        reply = ledger.get(request(case, lang, model, reading).key)
        if reply is None:
            return Review(case, None, last, reason or ("unreadable" if last else "not judged"))
        scores = parse_judge_scores(reply.text)
        if scores is not None:
            return Review(case, scores[::-1] if case.swapped else scores, reply.text)
        last = reply.text
    return Review(case, None, last, "unreadable")
