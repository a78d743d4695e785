"""A VQA data set of one's own with its benchmark: one card and one file of a task, no Python."""

import csv
import json
import shutil
import types
from pathlib import Path

import pytest
from PIL import Image

import zv_jax
from zv_jax.cli import main as cli
from zv_jax.data.public import catalogue
from zv_jax.evaluation import config as config_lib
from zv_jax.evaluation import run as run_lib
from zv_jax.evaluation import task as task_lib

COLOURS = {"red": (255, 0, 0), "blue": (0, 0, 255)}
CARD = """
title: Colours
paper: []
lang: en
tasks: [vqa]
licence: CC0
home: https://example.org
files: [test.csv]
obtain: {en: write it, zh: 自己写}
layout: csv
splits:
  test: {use: eval, records: 2}
"""
TASK = """
version: 1
title: Colours
dataset: colours
split: test
langs: [en]
expected: 2
kind: text
records: vqa
prompt: "Question: {question} Short Answer:"
decoding: {max_new_tokens: 5}
clean: [first_line, final_period, lower]
metrics: [exact_match]
controls: [untrained, shuffled_images]
"""


class Blinking:
    """Says what colour it sees."""

    config = types.SimpleNamespace(
        stage=types.SimpleNamespace(name="stage2", variant="chat"),
        model=types.SimpleNamespace(preset="toy"),
        data=types.SimpleNamespace(box_decimals=2),
    )

    def answer(self, prompts, images, max_new_tokens, instructions=None):
        assert prompts[0] == "Question: Which colour? Short Answer:"
        pixels = [shown.getpixel((0, 0)) for (shown,) in images]
        return [next(c for c, rgb in COLOURS.items() if rgb == p[:3]) for p in pixels]


@pytest.fixture
def colours(tmp_path, monkeypatch):
    """The package with one card and one file more, and the data they speak of."""
    folders = {}
    for package, name, text in ((catalogue.cards, "cards", CARD), (task_lib.tasks, "tasks", TASK)):
        folders[package] = tmp_path / name
        shutil.copytree(Path(package.__file__).parent, folders[package])
        (folders[package] / "colours.yaml").write_text(text, "utf-8")
    files = catalogue.resources.files
    here = types.SimpleNamespace(files=lambda package: folders.get(package) or files(package))
    for module in (catalogue, task_lib):
        monkeypatch.setattr(module, "resources", here)
        module.names.cache_clear()
    root = tmp_path / "data/colours"
    root.mkdir(parents=True)
    with (root / "test.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "image", "question", "answer"])
        for colour, rgb in COLOURS.items():
            Image.new("RGB", (8, 8), rgb).save(root / f"{colour}.png")
            rows.writerow([colour, f"{colour}.png", "Which colour?", colour])
    yield tmp_path / "data"
    for module in (catalogue, task_lib):
        module.names.cache_clear()


def test_one_card_and_one_file_make_a_benchmark(colours, tmp_path):
    config = config_lib.suite(tasks=("colours",), data=str(colours), controls=("shuffled_images",),
                              attention_images=0)  # fmt: skip
    load = lambda path, untrained=False: Blinking()
    results = run_lib.run("some/checkpoint", config, tmp_path / "out", False, load)
    first = results["scores"][0]
    assert (first["metric"], first["value"], first["items_expected"]) == ("exact_match", 100, 2)
    assert first["controls"]["shuffled_images"] == 0
    (file,) = (tmp_path / "out/predictions").glob("colours-*")
    words = ["eval", "score", "--benchmark=colours", f"--data={colours}", f"--predictions={file}"]
    assert cli.main([*words, f"--workdir={tmp_path / 'again'}"]) == 0
    again = json.loads((tmp_path / "again/results.json").read_text("utf-8"))
    assert [s["value"] for s in again["scores"]] == [100, 100]
    alone = zv_jax.evaluate(Blinking(), "colours", data=colours)
    assert [s["value"] for s in alone["scores"]] == [s["value"] for s in results["scores"]]
    suite = ["--suite=configs/eval/ziya.py", "--suite.tasks=colours", f"--suite.data={colours}"]
    assert cli.main(["eval", "check-data", *suite]) == 0
