"""LLaVA-bench (COCO) in the files it is published in, English or Chinese.

English: ``qa90_questions.jsonl``, ``qa90_gpt4_answer.jsonl``, ``caps_boxes_coco2014_val_80.jsonl``
and ``rule.json`` of LLaVA. Chinese: the same names with ``_zh``, of VisCPM. Where a folder has no
rule file, `rules.yaml` stands in, and the protocol says so.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from zv_jax.errors import DataError

CATEGORIES = ("conv", "detail", "complex")
_FILES = {
    "questions": "qa90_questions",
    "references": "qa90_gpt4_answer",
    "contexts": "caps_boxes_coco2014_val_80",
}


@dataclass(frozen=True)
class Question:
    """One question with all a judge sees but the answer under test.

    Attributes:
      id: the file's, as text.
      category: ``conv``, ``detail`` or ``complex``.
      image: file name of the image.
      text: the question.
      context: the image in words: captions, then one line for each box.
      reference: the answer of a model that read `context`.
      rule: what the judge is asked to do; ``role`` is what it calls the two answers.
    """

    id: str
    category: str
    image: str
    text: str
    context: str
    reference: str
    rule: str
    role: str


@dataclass(frozen=True)
class Bench:
    """All questions of one language, and what their rules are (a hash, for the protocol)."""

    lang: str
    questions: tuple[Question, ...]
    rules: str


def load(folder: str | Path, lang: str) -> Bench:
    """Reads the benchmark's files.

    Raises:
      DataError: a file is missing or broken, or a question has no reference, context or rule.
    """
    try:
        return _load(Path(folder), lang)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"another layout: {type(error).__name__}: {error}",
            where=str(folder),
            expected="the files of one release of the benchmark",
        ) from error


def _load(folder: Path, lang: str) -> Bench:
    suffix = "_zh" if lang == "zh" else ""
    tables = {name: _lines(folder / f"{stem}{suffix}.jsonl") for name, stem in _FILES.items()}
    rules, rules_name = _rules(folder / f"rule{suffix}.json", lang)
    references = {str(row["question_id"]): row for row in tables["references"]}
    contexts = {row["image"]: row for row in tables["contexts"]}
    questions = []
    for row in tables["questions"]:
        number, category = str(row["question_id"]), row["category"]
        for found, what in (
            (number in references, "reference answer"),
            (row["image"] in contexts, f"context of image {row['image']!r}"),
            (category in rules, f"rule for category {category!r}"),
        ):
            if not found:
                raise DataError(
                    f"question {number} has no {what}",
                    where=str(folder),
                    expected="the files of one release of the benchmark",
                )
        questions.append(
            Question(
                number,
                category,
                row["image"],
                row["text"],
                _context(contexts[row["image"]]),
                references[number]["text"],
                rules[category]["prompt"],
                rules[category].get("role", "Assistant"),
            )
        )
    return Bench(lang, tuple(questions), rules_name)


def answers(file: str | Path, bench: Bench) -> dict[str, str]:
    """Question id -> answer, from lines with ``question_id`` and ``text``.

    Joined by id, never by line. Questions without an answer are left out.

    Raises:
      DataError: a line is broken, an id is unknown or comes twice.
    """
    known = {question.id for question in bench.questions}
    found: dict[str, str] = {}
    for number, row in enumerate(_lines(Path(file), ("question_id", "text")), 1):
        key = str(row["question_id"])
        if key not in known or key in found:
            raise DataError(
                f"question_id {key!r} {'comes twice' if key in found else 'is unknown'}",
                where=f"{file} line {number}",
                expected="each question of the benchmark once",
            )
        found[key] = str(row["text"])
    return found


def _context(row: Mapping[str, Any]) -> str:
    captions = row["captions"]
    captions = captions if isinstance(captions, str) else "\n".join(captions)
    boxes = "\n".join(f"{box['category']}: {box['bbox']}" for box in row.get("instances", ()))
    return f"{captions}\n\n{boxes}" if boxes else captions


def _rules(file: Path, lang: str) -> tuple[dict[str, Any], str]:
    if file.is_file():
        data = file.read_bytes()
        try:
            rules = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise DataError(f"not JSON: {error}", where=str(file)) from error
        return rules, f"{file.name}:{hashlib.sha256(data).hexdigest()[:8]}"
    data = resources.files("zv_jax.evaluation.judge").joinpath("rules.yaml").read_bytes()
    rule = yaml.safe_load(data)[lang]
    return dict.fromkeys(CATEGORIES, rule), f"zv_jax:{hashlib.sha256(data).hexdigest()[:8]}"


def _lines(file: Path, fields: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{file.name} is missing, or not in UTF-8",
            where=str(file),
            expected="a file of LLaVA-bench (COCO)",
        ) from error
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            missing = [name for name in fields if not isinstance(row[name], str | int)]
            if missing:
                raise ValueError(f"{missing[0]} is {row[missing[0]]!r:.40}")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(
                f"no object with {', '.join(fields) or 'fields'}: {error}",
                where=f"{file} line {number}",
                expected="one JSON object a line",
            ) from error
        rows.append(row)
    return rows
