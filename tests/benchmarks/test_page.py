"""Figures in the documentation are those that are kept, in both languages."""

import re

import pytest

from benchmarks import page, rows
from benchmarks.rows import Peaks, Row
from zv_jax.errors import DataError

LINES = [
    {
        "kind": "machine", "suite": "cpu", "date": "2026-11-30", "processor": "a processor",
        "cores_allowed": 2, "memory": "8 GB", "versions": {"jax": "0.10.2"},
    },
    {"kind": "part", "part": "decode", "load": 0.25},
]  # fmt: skip


@pytest.mark.parametrize("language", page.PAGES)
def test_the_pages_show_what_is_kept(language):
    text = page.PAGES[language].read_text("utf-8")
    assert page.rendered(text, language) == text, "python benchmarks/page.py"


def test_a_file_of_results_becomes_a_table(tmp_path):
    kept = tmp_path / "bench_cpu.jsonl"
    rows.append_rows(kept, LINES)
    rows.write(kept, "peaks", Peaks(2e11, 4e10, "float32", "cpu"))
    case = "8 rows, 5 beams, 64 tokens"
    rows.write(
        kept, "row", Row("decode", case, "transformers, generate", (1.0,), (2.0,), read=2e10)
    )
    rows.write(kept, "row", Row("steps", "steps case=a/b", note="out of time after 9 s"))
    markers = [m.format(suite) for suite in page.SUITES for m in (page.BEGIN, page.END)]
    text = "\n".join(["before", *markers, "after"])
    for language in page.PAGES:
        once = page.rendered(text, language, tmp_path)
        assert page.rendered(once, language, tmp_path) == once
        table = [line[2:-2].split(" | ") for line in once.splitlines() if line[:1] == "|"]
        assert len({len(line) for line in table}) == 1 and len(table) == 4
        assert table[2][3:6] == ["1 s", "2 s", "0.50"] and table[2][-2] == "50%"
        assert "200 GFLOP/s" in once and "0.25" in once and page.FACTS[language]["none"] in once
    assert "8 行，束宽 5，64 个词元" in once and "超时（9 秒）" in once
    with pytest.raises(DataError, match="is missing"):
        page.rendered("no markers", "en", tmp_path)


def test_everything_that_rows_say_has_chinese():
    for text in (
        "quickstart/stage0, a step",
        "PyTorch, float32, in the passes that LAVIS makes of stage 0",
        "quickstart_chat: 20 candidates x 64 rows, prompt 24 tokens, candidate 4",
        "1,000 images of 32 queries x 5,000 texts, width 256",
        "batches of stage 0 from jpeg shards, an image",
        "a step of quickstart_base, stage 0, fed from shards, 32 images, 0 workers",
        "import zv_jax, and a model can be loaded",
        "first step of quickstart/stage2_chat, nothing cached",
        "quickstart/stage2_chat, peak, programs cached",
        "continuing with 315 million parameters, one step, above the imports",
        "waiting for data 0.4%",
        "stage 2 Chat 13b, 16 rows, a step",
        "first stage 0 Base 13b, 256 rows, a step",
        "ziya_visual_chat_13b, 16 rows: each later token",
        "causal: 40 heads of 128, 16 rows of 1024 tokens, with gradient",
        "transformers and PEFT, bfloat16, compiled",
        "layers recomputed, attention sdpa",
    ):
        assert re.search("[\u4e00-\u9fff]", page.chinese(text)), text
    with pytest.raises(DataError, match="has no Chinese"):
        page.chinese("something new")
