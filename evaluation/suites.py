"""Runs a suite: selects records, asks the model and its controls, scores, and collects samples."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from zv_jax.data.records.record import TASKS as RECORD_TASKS
from zv_jax.data.records.record import ImageRef, Record
from zv_jax.data.sources.open import Source
from zv_jax.errors import ConfigError, DataError
from zv_jax.evaluation import controls as controls_lib
from zv_jax.evaluation import generation
from zv_jax.evaluation.config import SuiteConfig
from zv_jax.evaluation.metrics import retrieval as retrieval_lib
from zv_jax.evaluation.model import Model
from zv_jax.evaluation.outputs import Writer, named, score
from zv_jax.evaluation.tasks.base import Item, Measure, Task
from zv_jax.evaluation.tasks.registry import GENERATION, RETRIEVAL, taught_by
from zv_jax.evaluation.tasks.retrieval import Gallery, similarities

RETRIEVED = 5
PICTURES_KEPT = 1024


class Suite:
    """One model on one suite; `run` does everything once.

    Args:
      config: the checked suite.
      model: what is evaluated.
      untrained: makes the model of the same architecture with random weights, when it is needed.
      test: records to evaluate on; `train`: opens the records the commonest answers are counted
        on, when they are needed.
      writer: takes the samples.
      progress: whether to show a progress bar.
    """

    def __init__(
        self,
        config: SuiteConfig,
        model: Model,
        untrained: Callable[[], Model],
        test: Source,
        train: Callable[[], Source],
        writer: Writer,
        progress: bool = True,
    ):
        self.config, self.model, self.test, self.writer = config, model, test, writer
        self._make_untrained, self._open_train = untrained, train
        self._untrained: Model | None = None
        # Every task and control shows the same pictures again.
        self.picture = functools.lru_cache(PICTURES_KEPT)(test.picture)
        self._bar = tqdm(desc="evaluating", unit="call", total=0, disable=not progress)
        self.tasks = config.tasks or taught_by(model.config.stage.name)
        if not self.tasks:
            stage = model.config.stage.name
            raise ConfigError(
                f"no task fits a checkpoint of stage {stage!r}",
                where="suite.tasks",
                expected="a stage with tasks, or a list of tasks",
                fix="set --suite.tasks=caption,vqa",
            )
        self._selected = {
            (task, lang): self._select(task, lang) for task in self.tasks for lang in config.langs
        }
        self._shuffled = self._shuffled_pictures()

    def run(self) -> list[dict[str, Any]]:
        """All scores, in the order of tasks, languages and metrics.

        Raises:
          DataError: the source has no record of a task and language.
        """
        scores = []
        with self._bar:
            for task in self.tasks:
                for lang in self.config.langs:
                    self._bar.set_description(f"{task} {lang}")
                    run = self._retrieve if task == RETRIEVAL.name else self._ask
                    scores += run(task, lang)
        return scores

    def _tick(self, n: int) -> None:
        self._bar.total = max(self._bar.total or 0, self._bar.n + n)
        self._bar.update(n)

    def _expect(self, n: int) -> None:
        self._bar.total = (self._bar.total or 0) + n
        self._bar.refresh()

    def untrained(self) -> Model:
        """The model with random weights, made at the first call."""
        if self._untrained is None:
            self._untrained = self._make_untrained()
        return self._untrained

    def left_out(self) -> dict[str, Any]:
        """What of the split is not evaluated, and why: records of no task or language that is, and
        for each task and language those without an image and those beyond the limit."""
        facts = self.test.facts
        kinds = {task: _record_task(task) for task in self.tasks}
        langs = [_lang_index(lang) for lang in self.config.langs]
        of_task = np.isin(facts.task, list(kinds.values()))
        parts = []
        for (task, lang), (records, expected) in self._selected.items():
            asked = (facts.task == kinds[task]) & (facts.lang == _lang_index(lang))
            missing = int((asked & (facts.images == 0)).sum())
            parts.append(
                {"task": task, "lang": lang, "records": int(asked.sum()), "evaluated": len(records)}
                | {"no_image": missing, "beyond_limit": expected - len(records)}
            )
        return {
            "records": len(self.test),
            "other_tasks": int((~of_task).sum()),
            "other_languages": int((of_task & ~np.isin(facts.lang, langs)).sum()),
            "parts": parts,
        }

    def _select(self, task: str, lang: str) -> tuple[list[Record], int]:
        """The first records of a task and language, and how many the whole split has."""
        kind = _record_task(task)
        facts = self.test.facts
        found = np.flatnonzero(
            (facts.task == kind) & (facts.lang == _lang_index(lang)) & (facts.images > 0)
        )
        if not len(found):
            raise DataError(
                f"no record of task {RECORD_TASKS[kind]!r} in language {lang!r}",
                where=f"{self.config.source.name} {self.config.source.split}",
                expected="at least one record",
                fix=f"leave {task!r} out of --suite.tasks, or {lang!r} out of --suite.langs",
            )
        kept = found[: self.config.limit_of(task) or None]
        return [self.test.record(int(i)) for i in kept], len(found)

    def _shuffled_pictures(self) -> Callable[[ImageRef], Image.Image] | None:
        """Every evaluated picture exchanged for another; None where that is not wanted."""
        refs = dict.fromkeys(
            ref for records, _ in self._selected.values() for r in records for ref in r.images
        )
        if "shuffled_images" not in self.config.controls or len(refs) < 2:
            return None
        return controls_lib.shuffled(refs, self.picture, self.config.seed)

    # Tasks with answers in words.

    def _ask(self, name: str, lang: str) -> list[dict[str, Any]]:
        task, config = GENERATION[name], self.config
        records, expected = self._selected[name, lang]
        decimals = self.model.config.data.box_decimals
        items = [task.item(record, decimals) for record in records]
        longest = config.max_new_tokens[name] or task.max_new_tokens
        few = items[: config.untrained_limit or None]
        other = items[: config.control_limit or None]
        asked = [items]
        asked += [other] if self._shuffled else []
        asked += [few] if "untrained" in config.controls else []
        self._expect(sum(len(item.turns) for part in asked for item in part))

        def say(model: Model, part: Sequence[Item], picture: Callable) -> list[list[str]]:
            return generation.generate(model, part, picture, longest, config.batch_size, self._tick)

        answers = say(self.model, items, self.picture)
        judged = task.judge(items, answers, lang, items)
        found: dict[str, dict[str, Measure]] = {}

        def control(key: str, part: Sequence[Item], said: list[list[str]]) -> None:
            measures = task.judge(part, said, lang, items).measures
            found[key] = {m.metric: m for m in measures}

        if self._shuffled:
            control("shuffled_images", other, say(self.model, other, self._shuffled))
        if "untrained" in config.controls:
            control("untrained", few, say(self.untrained(), few, self.picture))
        if "most_frequent" in config.controls:
            control("most_frequent", items, self._most_frequent(task, lang)(items))
        chance = task.chance(items) if "chance" in config.controls else {}
        for item, said, mark in self._shown(zip(items, answers, judged.marks, strict=True)):
            self.writer.answered(name, item, said, mark)
        ids = [item.id for item in items]
        return [
            self._score(
                name,
                lang,
                measure,
                task.protocol(measure.protocol, longest),
                expected,
                ids,
                {key: by_name.get(measure.metric) for key, by_name in found.items()},
                chance.get(measure.metric),
            )
            for measure in judged.measures
        ]

    def _most_frequent(self, task: Task, lang: str) -> controls_lib.MostFrequent:
        train = self._open_train()
        kind = RECORD_TASKS.index(task.record_task)
        chosen = (train.facts.task == kind) & (train.facts.lang == _lang_index(lang))
        kept = np.flatnonzero(chosen)[: self.config.train_limit or None]
        decimals = self.model.config.data.box_decimals
        return controls_lib.MostFrequent(
            task, (task.item(train.record(int(i)), decimals) for i in kept)
        )

    # Retrieval.

    def _retrieve(self, name: str, lang: str) -> list[dict[str, Any]]:
        config = self.config
        records, expected = self._selected[name, lang]
        gallery = RETRIEVAL.gallery(records)
        size = len(gallery.images)
        self._expect(2 * size * (1 + ("untrained" in config.controls)))
        similarity = self._similarity(self.model, gallery)
        found: dict[str, dict[str, Measure]] = {}
        if self._shuffled and size > 1:
            order = controls_lib.derangement(size, config.seed)
            found["shuffled_images"] = _named(RETRIEVAL.measures(gallery, similarity[order]))
        if "untrained" in config.controls:
            blind = self._similarity(self.untrained(), gallery)
            found["untrained"] = _named(RETRIEVAL.measures(gallery, blind))
        chance = RETRIEVAL.chance(gallery) if "chance" in config.controls else {}
        self._retrieved(name, lang, gallery, similarity)
        measures = list(RETRIEVAL.measures(gallery, similarity))
        if config.rerank_k:
            measures += self._rerank(gallery, similarity)
        return [
            self._score(
                name,
                lang,
                measure,
                measure.protocol,
                expected,
                gallery.ids,
                {key: by_name.get(measure.metric) for key, by_name in found.items()},
                chance.get(measure.metric.rpartition("_")[0]),
            )
            for measure in measures
        ]

    def _similarity(self, model: Model, gallery: Gallery) -> np.ndarray:
        size = self.config.batch_size
        return similarities(
            generation.image_embeddings(model, gallery.images, self.picture, size, self._tick),
            generation.text_embeddings(model, gallery.texts, size, self._tick),
        )

    def _rerank(self, gallery: Gallery, similarity: np.ndarray) -> tuple[Measure, ...]:
        config, size = self.config, len(gallery.images)
        queries, k = min(config.rerank_limit or size, size), min(config.rerank_k, size)
        self._expect(2 * queries * k)

        def direction(scores: np.ndarray, by_image: bool) -> np.ndarray:
            best = retrieval_lib.top_k(scores[:queries], k)
            pairs = [
                (gallery.images[q], gallery.texts[c])
                if by_image
                else (gallery.images[c], gallery.texts[q])
                for q in range(queries)
                for c in best[q]
            ]
            logits = generation.match_scores(
                self.model, pairs, self.picture, config.batch_size, self._tick
            )
            return retrieval_lib.reranked(scores[:queries], best, logits.reshape(queries, k))

        return RETRIEVAL.reranked(
            gallery, direction(similarity, True), direction(similarity.T, False), k
        )

    def _retrieved(self, name: str, lang: str, gallery: Gallery, similarity: np.ndarray) -> None:
        """Samples in both directions with the best five and their similarities."""
        belongs = gallery.belongs
        to_image = retrieval_lib.top_k(similarity.T, RETRIEVED)
        to_text = retrieval_lib.top_k(similarity, RETRIEVED)
        for i, (ref, text) in enumerate(
            self._shown(zip(gallery.images, gallery.texts, strict=True))
        ):
            common = {"id": gallery.ids[i], "references": [text]}
            self.writer.sample(
                name,
                lang,
                [ref],
                **common,
                direction="image",
                question=text,
                prediction=self.writer.image(gallery.images[to_image[i][0]]),
                correct=bool(belongs[to_image[i][0], i]),
                retrieved=[
                    {
                        "image": self.writer.image(gallery.images[j]),
                        "score": round(float(similarity[j, i]), 4),
                        "correct": bool(belongs[j, i]),
                    }
                    for j in to_image[i]
                ],
            )
            self.writer.sample(
                name,
                lang,
                [ref],
                **common,
                direction="text",
                prediction=gallery.texts[to_text[i][0]],
                correct=bool(belongs[i, to_text[i][0]]),
                retrieved=[
                    {
                        "text": gallery.texts[j],
                        "score": round(float(similarity[i, j]), 4),
                        "correct": bool(belongs[i, j]),
                    }
                    for j in to_text[i]
                ],
            )

    # Both.

    def _shown(self, rows: Any) -> list:
        return list(rows)[: self.config.sample_limit or None]

    def _score(
        self,
        task: str,
        lang: str,
        measure: Measure,
        protocol: str,
        expected: int,
        ids: Sequence[str],
        controls: dict[str, Measure | None],
        chance: float | None,
    ) -> dict[str, Any]:
        values: dict[str, float | None] = dict.fromkeys(
            ("untrained", "shuffled_images", "most_frequent", "chance")
        )
        counts = {}
        for key, control in controls.items():
            if control is not None:
                values[key], counts[key] = control.value, len(control.values)
        values["chance"] = chance
        measure = named(measure, len(self._selected[task, lang][0]), expected)
        self.writer.items(task, lang, measure, ids)
        return score(
            task,
            lang,
            measure,
            protocol=protocol,
            expected=expected,
            ids=ids,
            controls=values,
            control_n=counts,
            seed=self.config.seed,
        )

    def attention_maps(self) -> list[tuple[ImageRef, np.ndarray]]:
        """Maps of the first pictures, where the model can show them; else nothing."""
        if not self.config.attention_images or not hasattr(self.model, "query_attention"):
            return []
        refs = dict.fromkeys(r.images[0] for records, _ in self._selected.values() for r in records)
        first = list(refs)[: self.config.attention_images]
        return [(ref, np.asarray(self.model.query_attention(self.picture(ref)))) for ref in first]


def _record_task(task: str) -> int:
    """The number of the task that records of an evaluated task have."""
    return RECORD_TASKS.index((GENERATION.get(task) or RETRIEVAL).record_task)


def _lang_index(lang: str) -> int:
    return ("en", "zh").index(lang)


def _named(measures: Sequence[Measure]) -> dict[str, Measure]:
    return {measure.metric: measure for measure in measures}
