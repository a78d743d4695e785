"""Figures into the documentation: python benchmarks/page.py RESULTS.jsonl [...]

The results of `bench.py` or `gpu_suite.py` are copied to docs/measured/bench_cpu.jsonl or
bench_gpu.jsonl, and both languages of docs/performance.md are written anew between their markers
from what is kept there. Without arguments only the pages are.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that the file runs from anywhere, installed or not

from benchmarks import rows as measured  # noqa: E402
from zv_jax.errors import DataError, ZvError  # noqa: E402
from zv_jax.files import read_jsonl, write_atomic  # noqa: E402

MEASURED = ROOT / "docs" / "measured"
PAGES = {"en": ROOT / "docs" / "performance.md", "zh": ROOT / "docs" / "zh" / "performance.md"}
SUITES = "cpu", "gpu"
BEGIN, END = "<!-- figures: {} -->", "<!-- end of figures: {} -->"

HEADS = {
    "en": measured.HEAD,
    "zh": (
        "部分", "项目", "对照", "我们", "对照用量", "比值", "各轮", "按公式的 FLOPs",
        "编译器的 FLOPs", "占矩阵乘法峰值", "占读取带宽", "备注",
    ),
}  # fmt: skip
FACTS = {
    "en": {
        "machine": "{date}, {processor}, {cores_allowed} cores, {memory}. {versions}.",
        "peaks": "Measured on {device}: {flops:,.0f} GFLOP/s of {dtype} products, "
        "{bandwidth:,.0f} GB/s read.",
        "load": "Load average when the parts began: {0:.2f} to {1:.2f}.",
        "none": "Not measured yet.",
    },
    "zh": {
        "machine": "{date}，{processor}，{cores_allowed} 个核心，{memory}。{versions}。",
        "peaks": "在 {device} 上测得：{dtype} 矩阵乘法 {flops:,.0f} GFLOP/s，"
        "读取 {bandwidth:,.0f} GB/s。",
        "load": "各部分开始时的平均负载：{0:.2f} 至 {1:.2f}。",
        "none": "尚未测量。",
    },
}
# What rows say, in Chinese; the first pattern that fits all of a text counts.
PHRASES = (
    ("", ""),
    ("peaks", "峰值"),
    ("steps", "训练步"),
    ("decode", "生成"),
    ("ranking", "排序"),
    ("retrieval", "检索"),
    ("data", "数据"),
    ("startup", "启动"),
    ("memory", "内存"),
    ("attention", "注意力"),
    (r"(\w+/\w+), a step", r"\1，一步"),
    (r"(\d+) rows, (\d+) beams, (\d+) tokens", r"\1 行，束宽 \2，\3 个词元"),
    (
        r"(\w+): (\d+) candidates x (\d+) rows, prompt (\d+) tokens, candidate (\d+)",
        r"\1：\2 个候选 x \3 行，提示 \4 个词元，候选 \5 个",
    ),
    (
        r"([\d,]+) images of (\d+) queries x ([\d,]+) texts, width (\d+)",
        r"\1 张图片各 \2 个查询 x \3 条文本，宽 \4",
    ),
    (
        r"batches of stage 0 from (\w+) (?:files|shards), an image",
        r"阶段 0 的批次，来自 \1，每张图片",
    ),
    (r"opening ([\d,]+) prepared records", r"打开 \1 条已准备的记录"),
    (r"opening ([\d,]+)", r"打开 \1 条"),
    (r"reading ([\d,]+) records in random order", r"随机读取 \1 条记录"),
    ("after a tenth of them", "读完十分之一时"),
    (
        r"a step of (\w+), stage 0, fed from shards, (\d+) images, (\d+) workers",
        r"\1 阶段 0 从分片训练，一步，\2 张图片，\3 个进程",
    ),
    ("the same batch again", "反复用同一批次"),
    (r"waiting for data ([\d.]+%)", r"等待数据 \1"),
    (r"(import \w+|zv [\w ]*--help)", r"\1"),
    (r"import zv_jax, and a model can be loaded", "import zv_jax，至可以载入模型"),
    (r"first step of ([\w/]+), nothing cached", r"\1 的第一步，无缓存"),
    (r"first step of ([\w/]+), programs cached", r"\1 的第一步，程序已缓存"),
    (r"([\w/]+), peak, nothing cached", r"\1，峰值，无缓存"),
    (r"([\w/]+), peak, programs cached", r"\1，峰值，程序已缓存"),
    (
        r"continuing with (\d+) million parameters, one step, above the imports",
        r"续训 \1 百万参数的模型，一步，导入之外",
    ),
    ("the weights themselves", "权重本身"),
    ("ours, float32", "我们，float32"),
    ("PyTorch, float32", "PyTorch，float32"),
    ("PyTorch, float32, with our malloc settings", "PyTorch，float32，用我们的 malloc 参数"),
    ("PyTorch, bfloat16 autocast", "PyTorch，bfloat16 自动混合精度"),
    (
        "PyTorch, float32, in the passes that LAVIS makes of stage 0",
        "PyTorch，float32，按 LAVIS 在阶段 0 的各次前向",
    ),
    (
        "transformers and PEFT, float32, as their users train",
        "transformers 与 PEFT，float32，照其用户的用法",
    ),
    ("the same, by torch.compile", "同上，经 torch.compile"),
    ("transformers, generate", "transformers 的 generate"),
    ("candidates one by one", "候选逐个评分"),
    ("PyTorch, image by image as LAVIS", "PyTorch，如 LAVIS 逐张图片"),
    ("Pillow, decode and resize", "Pillow 解码并缩放"),
    (r"Pillow, decode (\w+) shards", r"Pillow 解码 \1 分片"),
    (r"WebDataset \+ DataLoader", "WebDataset + DataLoader"),
    (r"(stage \d) (Base|Chat) (\w+), (\d+) rows, a step", r"\1 \2 \3，\4 行，一步"),
    (r"first (stage \d) (Base|Chat) (\w+), (\d+) rows, a step", r"\1 \2 \3，\4 行，第一步"),
    (r"(\w+), (\d+) rows: first token", r"\1，\2 行：第一个词元"),
    (r"(\w+), (\d+) rows: each later token", r"\1，\2 行：其后每个词元"),
    (
        r"causal: (\d+) heads of (\d+), (\d+) rows of (\d+) tokens, with gradient",
        r"因果：\1 头各宽 \2，\3 行各 \4 个词元，含梯度",
    ),
    ("a mask in memory", "内存中的掩码"),
    (r"transformers and PEFT, bfloat16(, compiled)?", r"transformers 与 PEFT，bfloat16\1"),
    (r"layers recomputed, attention (\w+)", r"逐层重算，注意力 \1"),
    (r"nothing recomputed, attention (\w+)", r"不重算，注意力 \1"),
    (r"remat \w+, \d+ microbatches.*", r"\g<0>"),  # names of fields and of chips
    (r"\w+ \w+=.*", r"\g<0>"),  # a part with its arguments
    (r"failed: (.*)", r"失败：\1"),
    (r"out of time after (\d+) s", r"超时（\1 秒）"),
    (r"not begun: (-?\d+) s are left", r"未开始：只剩 \1 秒"),
)


def chinese(text: str) -> str:
    """What a row says, in Chinese.

    Raises:
        DataError: there is no phrase for it.
    """
    for pattern, replacement in PHRASES:
        if re.fullmatch(pattern, text):
            return re.sub(f"^(?:{pattern})$", replacement, text)
    raise DataError(
        f"{text!r} has no Chinese",
        where="benchmarks/page.py",
        expected="a pattern in PHRASES for everything that rows say",
        fix="add one",
    )


def figures(lines: Sequence[dict[str, Any]], language: str) -> str:
    """Machine, peaks, load and the table of a file of results, in Markdown."""
    words: Callable[[str], str] = chinese if language == "zh" else str
    facts, best = FACTS[language], measured.peaks(lines)
    about = next(line for line in lines if line["kind"] == "machine")
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    text = [facts["machine"].format(**about | {"versions": versions})]
    if best.flops:
        scaled = {"flops": best.flops / 1e9, "bandwidth": best.bandwidth / 1e9}
        text.append(facts["peaks"].format(device=best.device, dtype=best.dtype, **scaled))
    load = [line["load"] for line in lines if line["kind"] == "part"]
    text.append(facts["load"].format(min(load), max(load)))
    head = HEADS[language]
    table = [head, ["---"] * len(head)]
    for row in measured.rows(lines):
        cells = measured.cells(row, best)
        table.append([*map(words, cells[:3]), *cells[3:-1], words(cells[-1])])
    return "\n".join(text) + "\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in table)


def rendered(page: str, language: str, kept: Path = MEASURED) -> str:
    """The text of a page with what is kept between its markers.

    Raises:
        DataError: a marker is missing.
    """
    for suite in SUITES:
        begin, end = BEGIN.format(suite), END.format(suite)
        if begin not in page or end not in page:
            raise DataError(
                f"{begin!r} or {end!r} is missing",
                where=str(PAGES[language]),
                expected="both markers, each on a line of its own",
                fix="write them where the figures belong",
            )
        lines = read_jsonl(kept / f"bench_{suite}.jsonl")
        text = figures(lines, language) if lines else FACTS[language]["none"]
        before, after = page.partition(begin)[0], page.partition(end)[2]
        page = f"{before}{begin}\n\n{text}\n\n{end}{after}"
    return page


def main() -> int:
    """Exit status 0; 2 when a file is no file of results."""
    try:
        for name in sys.argv[1:]:
            lines = read_jsonl(Path(name))
            if not lines or lines[0].get("suite") not in SUITES:
                raise DataError(
                    "no results of a suite",
                    where=name,
                    expected="a file that bench.py or gpu_suite.py wrote",
                    fix="make bench",
                )
            kept = MEASURED / f"bench_{lines[0]['suite']}.jsonl"
            write_atomic(kept, Path(name).read_bytes())
        for language, page in PAGES.items():
            write_atomic(page, rendered(page.read_text("utf-8"), language).encode())
    except ZvError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
