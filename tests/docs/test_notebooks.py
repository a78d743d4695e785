"""The notebooks run from top to bottom, in both languages, and hold no results of old runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from random_runs import TEXTS, random_run

from zv_jax.data.text import tokenizers

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = [ROOT / "docs/notebooks/talk.ipynb", ROOT / "docs/zh/notebooks/talk.ipynb"]


def cells(notebook, kind):
    found = json.loads(notebook.read_text())["cells"]
    return [cell for cell in found if cell["cell_type"] == kind]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=["en", "zh"])
def test_a_notebook_has_no_results(notebook):
    for cell in cells(notebook, "code"):
        assert cell["outputs"] == [] and cell["execution_count"] is None


def test_the_twins_have_the_same_cells():
    kinds = [
        [cell["cell_type"] for cell in json.loads(notebook.read_text())["cells"]]
        for notebook in NOTEBOOKS
    ]
    assert kinds[0] == kinds[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the runs that the notebooks ask, tiny and random."""
    made = tmp_path_factory.mktemp("repository")
    words = tokenizers.train_sentencepiece(TEXTS, 320, made / "words")
    for stage, name in (("stage0", "stage0"), ("stage2", "stage2_chat")):
        random_run(made / "runs/quickstart" / name, words, stage, "chat")
    return made


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=["en", "zh"])
def test_a_notebook_runs_from_top_to_bottom(folder, notebook):
    code = "\n".join("".join(cell["source"]) for cell in cells(notebook, "code"))
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
