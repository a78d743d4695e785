"""The card of an exported folder, in both languages: counts, licences, models, price, filters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zv_jax.bmmic.steps import filter as filter_step
from zv_jax.data.records.record import Record
from zv_jax.files import write_atomic
from zv_jax.tables import align

WORDS = {
    "en": {
        "intro": "Instruction data about images, made by `zv bmmic` of zv_jax: a language model "
        "wrote or translated the texts from symbols (captions, boxes), and rules filtered them. "
        "The model saw no image, and no person has read every pair.",
        "counts": "## Counts",
        "head": ("set", "task", "language", "records"),
        "licences": "## Licences",
        "licence_note": "Of images and annotations, as the cards of their sources say; the texts "
        "are under the terms of the model that wrote them.",
        "models": "## Models and prompt packs",
        "price": "## Price",
        "no_price": "No ledger with prices was there.",
        "paid": "{requests:,} requests, {given:,} tokens in, {made:,} out: ${dollars:.6f}.",
        "filters": "## Filters",
        "filter_note": "A pair is counted where the first filter dropped it.",
    },
    "zh": {
        "intro": "由 zv_jax 的 `zv bmmic` "
        "制作的图像指令数据：语言模型根据符号信息（说明、方框）撰写或翻译文本，"
        "再由规则过滤。模型没有看到图像，也没有人逐条审读。",
        "counts": "## 数量",
        "head": ("数据集", "任务", "语言", "记录数"),
        "licences": "## 许可",
        "licence_note": "图像和标注的许可见各来源的卡片；文本遵循生成它们的模型的条款。",
        "models": "## 模型与提示包",
        "price": "## 费用",
        "no_price": "没有带价格的账本。",
        "paid": "{requests:,} 次请求，输入 {given:,} 个 token，输出 {made:,} 个：${dollars:.6f}。",
        "filters": "## 过滤",
        "filter_note": "每个问答对只计入第一个丢弃它的过滤器。",
    },
}


@dataclass
class Facts:
    """What a card counts; `add` takes each record that is written."""

    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)
    models: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, record: Record) -> Record:
        """Counts a record and hands it on."""
        self.counts[record.source, record.task, record.lang] += 1
        self.licences[str(record.meta.get("licence") or "?")] += 1
        self.models[str(record.meta.get("model", "?")), str(record.meta.get("pack", "?"))] += 1
        return record


def write(out: Path, title: str, facts: Facts, report: Mapping[str, Any], paid: Any) -> None:
    """`README.md` with the head that the Hugging Face hub reads, and `README_zh.md`.

    Args:
      report: of `steps.filter`; paid: `zv_jax.llm.receipt.Sums`, or None.
    """
    for lang, name in (("en", "README.md"), ("zh", "README_zh.md")):
        head = _head(facts) if lang == "en" else ""
        text = head + "\n".join(_lines(lang, title, facts, report, paid)) + "\n"
        write_atomic(out / name, text.encode())


def _head(facts: Facts) -> str:
    langs = "".join(f"- {lang}\n" for lang in sorted({lang for _, _, lang in facts.counts}))
    return f"---\nlanguage:\n{langs}task_categories:\n- visual-question-answering\n---\n\n"


def _lines(
    lang: str, title: str, facts: Facts, report: Mapping[str, Any], paid: Any
) -> Iterable[str]:
    say = WORDS[lang]
    yield from (f"# {title}", "", str(say["intro"]), "", str(say["counts"]), "", "```text")
    rows = [(*key, f"{count:,}") for key, count in sorted(facts.counts.items())]
    yield from align([tuple(say["head"]), *rows], "lllr")
    yield from ("```", "", str(say["licences"]), "", str(say["licence_note"]), "")
    yield from (f"- {name}: {count:,}" for name, count in facts.licences.most_common())
    yield from ("", str(say["models"]), "")
    yield from (f"- {m}, `{pack}`: {count:,}" for (m, pack), count in facts.models.most_common())
    yield from ("", str(say["price"]), "", _paid(say, paid), "", str(say["filters"]), "")
    yield from (str(say["filter_note"]), "", "```text", *filter_step.table(dict(report)), "```")


def _paid(say: Mapping[str, Any], paid: Any) -> str:
    if paid is None:
        return str(say["no_price"])
    return str(say["paid"]).format(
        requests=paid.answered, given=paid.tokens_in, made=paid.tokens_out, dollars=paid.dollars
    )
