"""The Python of an export's own model card, run as people would run it.

    python tests/parity/card_lines.py runs/quickstart/stage2_chat [RECORDS]

exports the checkpoint, runs the card's lines on the first RECORDS (150) questions of the test split
of zv_openmoji in each language, in the environment of the parity tests, and says how many answers
differ from those of `zv generate`; the exit code is 1 where one does.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

TITLES = {"en": "## English", "zh": "## 中文"}


def run(folder: Path, lang: str) -> tuple[dict[str, Any], list[str]]:
    """Runs the card's blocks of that language in `folder`: their names, and the lines printed."""
    text = (folder / "README.md").read_text("utf-8")
    section = next(part for part in re.split(r"(?m)^(?=## )", text) if TITLES[lang] in part)
    names: dict[str, Any] = {}
    shown = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(shown):
        for block in re.findall(r"(?s)```python\n(.*?)\n```", section):
            exec(block, names)  # noqa: S102
    return names, shown.getvalue().splitlines()


def differing(checkpoint: str, count: int = 150, tokens: int = 32) -> tuple[int, int]:
    """(how many answers differ, how many questions were asked), over both languages."""
    from zv_jax.data.sources.open import open_source
    from zv_jax.inference.model import from_pretrained

    model = from_pretrained(checkpoint)
    source = open_source("zv_openmoji", "", "test")
    records = [source.record(i) for i in range(len(source))]
    wrong = total = 0
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        model.save_pretrained(out)
        for lang in TITLES:
            asked = [r for r in records if (r.task, r.lang) == ("vqa", lang)][:count]
            questions = [r.turns[0].text.replace("<image>", "").strip() for r in asked]
            images = [source.image(r.images[0]) for r in asked]
            images[0].save(out / "image.png")
            card, _ = run(out, lang)
            expected = model.answer(questions, [[i] for i in images], max_new_tokens=tokens)
            for question, image, answer in zip(questions, images, expected, strict=True):
                wrong += card["answers"](card["ask"](question, image), tokens) != [answer]
            total += len(asked)
    return wrong, total


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    wrong, total = differing(sys.argv[1], *map(int, sys.argv[2:3]))
    print(f"{wrong} of {total} answers differ")
    sys.exit(wrong > 0)
