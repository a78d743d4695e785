"""The report: complete, partial and broken runs, escaping, self-containment, merged results."""

import html.parser
import json
import math
import re
from pathlib import Path

import pytest
from report_runs import HOSTILE, draw, make_run, make_stage, score, write_lines

from zv_jax.errors import DataError
from zv_jax.evaluation.report import build, substitutes
from zv_jax.evaluation.report.inputs import read
from zv_jax.evaluation.report.learning import matching_prior
from zv_jax.html.charts import overlap, smooth, ticks


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A complete synthetic run."""
    return make_run(tmp_path / "runs")


class Page(html.parser.HTMLParser):
    """Collects tags and checks that they nest."""

    VOID = {"br", "img", "input", "link", "meta"}

    def __init__(self, text: str):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def having(self, name: str, **wanted: str) -> list[dict]:
        return [
            a
            for tag, a in self.tags
            if tag == name
            and all(
                value in (a.get(key.rstrip("_")) or "").split() for key, value in wanted.items()
            )
        ]


def page_of(runs: Path) -> Page:
    return Page(build(runs).read_text("utf-8"))


def test_a_complete_run_fills_every_section(runs):
    page = page_of(runs)
    assert "Not run yet" not in page.text and "picture missing" not in page.text
    assert "Nothing: every input of this report was there." in page.text
    assert {a["id"] for a in page.having("section")} == {
        "summary",
        "answers",
        "boxes",
        "retrieval",
        "dialogues",
        "attention",
        "learning",
        "towers",
        "scores",
        "costs",
        "substitutes",
        "about",
    }
    for words in (
        "trained from nothing",
        "从零开始",
        "CC BY-SA 4.0",
        "74.3 %",
        "41.0 %",
        "69.3–78.3",
        "一个蓝色盒子",
        "shuffled pictures",
        "打乱图片",
        "2 min 36 s",
    ):
        assert words in page.text, words
    drawn = page.having("figure", class_="panel")
    assert len(drawn) == 8  # language, stages 1 and 2: LM; vision: 2; stage 0: ITC, ITM, ITG
    assert page.having("svg", class_="boxes") and page.having("img", class_="heat")


def test_every_interface_text_is_there_in_both_languages(runs):
    page = page_of(runs)
    marked = [a for _, a in page.tags if "t" in (a.get("class") or "").split()]
    assert sum(a["lang"] == "en" for a in marked) == sum(a["lang"] == "zh-Hans" for a in marked)
    for _, attributes in page.tags:
        for name in ("alt", "aria-label"):
            if attributes.get(name):
                assert attributes.get(f"data-{name}-zh"), attributes


def test_the_page_asks_nothing_of_the_network(runs):
    text = build(runs).read_text("utf-8")
    page = Page(text)
    for tag, attributes in page.tags:
        for name in ("src", "srcset", "poster", "data", "action", "xlink:href"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)
        if tag == "link":
            assert attributes["href"] == "data:,"
    assert all("alt" in a for a in page.having("img"))
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest", text)
    assert len(text) < 3_000_000
    assert "/somewhere" not in text


def test_words_of_data_and_model_never_become_markup(runs):
    folder = runs / "eval_stage2_chat"
    rows = [
        {
            "task": task,
            "lang": HOSTILE,
            "image": f"images/{HOSTILE}.png",
            "question": HOSTILE,
            "references": [HOSTILE],
            "prediction": HOSTILE,
            "correct": False,
            "box_true": [0, 0, 1, 1],
            "retrieved": [{"text": HOSTILE, "score": 1}],
            "turns": [{"question": HOSTILE, "prediction": HOSTILE, "references": HOSTILE}] * 3,
        }
        for task in ("caption", "vqa", HOSTILE)
    ]
    write_lines(folder / "samples.jsonl", rows)
    (folder / "results.json").write_text(
        json.dumps(
            {
                "stage": HOSTILE,
                "scores": [score(HOSTILE, HOSTILE, HOSTILE, 1.0, 1.0, 1.0, 1.0, 1.0)],
            }
        )
    )
    (runs / "stage0" / "stage_table.json").write_text(json.dumps([{"tower": HOSTILE}]))
    write_lines(runs / "times.jsonl", [{"step": HOSTILE, "seconds": 3}])
    fields = ("source", "record", "what", "where", "instead")
    bad = {"step": 1, **dict.fromkeys(fields, HOSTILE)}
    write_lines(runs / "stage0" / "substitutes.jsonl", [bad])
    counts = {"source": HOSTILE, "left_out": {HOSTILE: HOSTILE}, "unknown": {"llm": {HOSTILE: 1}}}
    (runs / "stage0" / "census.json").write_text(json.dumps([counts, {"unknown": HOSTILE}]))
    write_lines(runs / "stage0" / "shortened.jsonl", [{"step": 1, "counts": {HOSTILE: HOSTILE}}])
    text = build(runs).read_text("utf-8")
    assert "<script>alert" not in text
    assert len(Page(text).having("script")) == 1


def test_an_empty_folder_is_reported_as_such(tmp_path):
    page = page_of(tmp_path)
    assert "Nothing has been trained" in page.text and "尚未运行" in page.text
    assert not page.having("svg") and "from nothing" not in page.text and "%" not in page.text
    merged = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert merged["scores"] == [] and merged["stages"]["stage0"]["status"] == "absent"
    assert "stage0/metrics.jsonl" in merged["missing"]


def test_broken_and_cut_off_inputs_are_named_and_the_rest_is_shown(runs):
    metrics = runs / "stage0" / "metrics.jsonl"
    metrics.write_text(metrics.read_text() + '{"step": 1210, "itc"')
    (runs / "stage1_base" / "metrics.jsonl").write_text('oops\n{"step": 10, "lm": NaN}\n[]\n')
    (runs / "stage2_base" / "config.json").write_text("{")
    (runs / "eval_stage2_chat" / "images" / "0.png").write_bytes(b"not a picture")
    page = page_of(runs)
    assert "picture missing" in page.text and "1 values not finite" in page.text
    merged = json.loads((runs / "results.json").read_text("utf-8"))
    assert merged["unreadable"] == [
        "stage1_base/metrics.jsonl: 1 unreadable lines",
        "stage2_base/config.json: not a JSON dict",
    ]
    assert merged["stages"]["stage0"]["status"] == "done"
    assert merged["stages"]["stage1_base"]["losses"]["lm"] == {"first": None, "last": None}


@pytest.mark.parametrize("field", ["metric", "lang"])
def test_a_name_that_is_no_word_ends_no_report(runs, field):
    """NaN, of a damaged file, equals nothing, not even itself."""
    file = runs / "eval_stage2_chat" / "results.json"
    found = json.loads(file.read_text("utf-8"))
    found["scores"] = [{**found["scores"][0], "task": "other", field: math.nan}]
    file.write_text(json.dumps(found), "utf-8")
    assert "nan" in page_of(runs).text


def test_a_resumed_run_counts_each_step_once_and_adds_up_its_time(runs):
    folder = runs / "stage2_chat"
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    write_lines(folder / "metrics.jsonl", rows[:20] + [{**row, "lm": 0.5} for row in rows[15:]])
    stage = read(runs).stages["stage2_chat"]
    assert [row["step"] for row in stage.metrics] == list(range(10, 501, 10))
    assert stage.metrics[17]["lm"] == 0.5
    build(runs)
    merged = json.loads((runs / "results.json").read_text("utf-8"))
    assert merged["times"]["stage2_chat"] == 156.0


def test_merged_results_name_the_evaluation_of_every_score(runs):
    build(runs)
    merged = json.loads((runs / "results.json").read_text("utf-8"))
    assert len(merged["scores"]) == 24
    chat = [
        s
        for s in merged["scores"]
        if s["evaluation"] == "eval_stage2_chat"
        and s["metric"] == "exact_match"
        and s["lang"] == "zh"
    ]
    assert chat[0]["value"] == 71.0 and chat[0]["controls"]["shuffled_images"] == 35.2
    assert merged["memory"]["peak_rss_bytes"]["stage0"] == 3 * 2**30
    assert merged["environment"]["python"]


def test_weights_from_elsewhere_are_not_called_trained_from_nothing(runs):
    path = runs / "stage0" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "init_from": ["/models/eva_vit_g"]}))
    page = page_of(runs)
    assert "eva_vit_g" in page.text and "/models" not in page.text
    assert "from nothing" not in page.text


def test_an_image_outside_its_folder_is_not_shown(runs):
    secret = runs / "secret.png"
    draw(secret, 1)
    evaluation = read(runs).evaluations[0]
    assert evaluation.image("../secret.png") is None
    assert evaluation.image(str(secret)) is None
    assert evaluation.image("images/1.png") is not None


def test_a_folder_that_does_not_exist_is_one_clear_error(tmp_path):
    with pytest.raises(DataError, match="no such runs folder"):
        build(tmp_path / "nowhere")


def test_every_sample_that_was_not_used_is_listed_by_source(runs):
    assert "None: every sample could be used." in page_of(runs).text
    config = json.loads((runs / "stage0/config.json").read_text())
    config["data"]["sources"] = [{"name": "jsonl", "path": "/somewhere/my/train.jsonl"}]
    (runs / "stage0/config.json").write_text(json.dumps(config))

    def row(source, record, where, instead, what="picture not found"):
        return {
            "step": 3, "source": source, "record": record, "what": what, "where": where,
            "instead": instead,
        }  # fmt: skip

    cat, dog = (
        row("jsonl/train", name, f"/somewhere/my/{name}.jpg", "fox") for name in ("cat", "dog")
    )
    line = "/somewhere/my/train.jsonl:7"
    lost = row("jsonl/train", line, line, None, "invalid JSON")
    write_lines(runs / "stage0/substitutes.jsonl", [lost, cat, dog, {**cat, "instead": "owl"}])
    write_lines(runs / "stage0/substitutes-1.jsonl", [cat])  # of the second process
    write_lines(runs / "stage2_chat/substitutes.jsonl", [row("web/train", "a", "b.jpg", "c")])
    page = page_of(runs)
    assert "3 samples, drawn 5 times." in page.text and "3 个样本，共抽到 5 次。" in page.text
    for words in (
        "cat.jpgpicture not foundcat3fox, owlStage 0",
        "dog.jpgpicture not founddog1foxStage 0",
        "train.jsonl:7invalid JSONtrain.jsonl:71left out",
        "b.jpgpicture not founda1cStage 2 · Chat",
    ):
        assert words in page.text, words
    assert "/somewhere" not in page.text
    merged = json.loads((runs / "results.json").read_text("utf-8"))
    assert merged["substitutes"] == {"stage0": {"jsonl/train": 5}, "stage2_chat": {"web/train": 1}}


def test_what_was_left_out_of_the_data_and_what_was_not_in_the_vocabulary_is_shown(runs):
    counts = {
        "source": "sources[0] jsonl mine.jsonl train", "records": 4321, "samples": 4000,
        "left_out": {"images": 300, "task": 21}, "looked_at": 2000, "too_long": 12,
        "exchanges": 34, "cut": 5, "bad": 0, "unknown": {"qformer": {"en": 0.0, "zh": 0.345}},
    }  # fmt: skip
    (runs / "stage0/census.json").write_text(json.dumps([counts]))
    drawn = {counts["source"]: {"too_long": 70, "cut": 8}}
    write_lines(runs / "stage0/shortened.jsonl", [{"step": 9, "counts": drawn}] * 2)
    page = page_of(runs)
    for words in ("4,321", "300 number of images", "图片数不符 300", "zh 34.50%", "140 · 0 · 16"):
        assert words in page.text, words
    assert "34.5% of the zh tokens that the Q-Former read" in page.text
    assert "zv tokenizer union" in page.text and "zv tokenizer grow" in page.text
    merged = json.loads((runs / "results.json").read_text("utf-8"))
    assert merged["census"] == {"stage0": [counts]}
    assert merged["shortened"]["stage0"][counts["source"]] == {"too_long": 140, "cut": 16}


def test_more_unused_samples_than_the_page_can_hold_are_counted(runs, monkeypatch):
    monkeypatch.setattr(substitutes, "SHOWN", 2)
    bad = {"step": 0, "source": "s", "what": "w", "where": "f", "instead": None}
    write_lines(runs / "stage0/substitutes.jsonl", [{**bad, "record": f"r{n}"} for n in range(5)])
    page = page_of(runs)
    assert "r1" in page.text and "r2" not in page.text
    assert "3 more are in substitutes.jsonl" in page.text


def test_answers_that_could_not_be_read_are_counted(runs):
    file = runs / "eval_stage2_chat/results.json"
    results = json.loads(file.read_text("utf-8"))
    results["scores"][0]["unreadable"] = 77
    file.write_text(json.dumps(results), "utf-8")
    page = page_of(runs).text
    assert "Unreadable" in page and "无法读懂" in page and "30077" in page  # n, then unreadable


def test_the_prior_of_matching():
    assert matching_prior({}) == pytest.approx(0.6365, abs=5e-5)
    assert matching_prior({"stage": {"itm_pairs": "single"}}) == pytest.approx(math.log(2))


def test_chart_arithmetic():
    assert overlap((0, 0, 1, 1), (0, 0, 1, 0.5)) == pytest.approx(0.5)
    assert overlap((0, 0, 0.2, 0.2), (0.5, 0.5, 1, 1)) == 0.0
    assert ticks(4.1) == [0, 2, 4, 6] and ticks(0.69)[-1] >= 0.69
    flat = smooth([(step, 3.0) for step in range(50)])
    assert all(y == pytest.approx(3.0) for _, y in flat)
    assert smooth([(0, None), (1, 2.0)]) == [(0, None), (1, 2.0)]


def test_runs_are_known_by_what_they_hold(tmp_path):
    make_stage(tmp_path / "my photographs", "stage2", {"lm": (3, 1)}, 40)
    config = json.loads((tmp_path / "my photographs/config.json").read_text())
    config["stage"]["variant"] = "chat"
    (tmp_path / "my photographs/config.json").write_text(json.dumps(config))
    (tmp_path / "scores of mine").mkdir()
    scores = [{"task": "vqa", "lang": "en", "metric": "exact_match", "value": 50.0}]
    (tmp_path / "scores of mine/results.json").write_text(json.dumps({"scores": scores}))
    run = read(tmp_path)
    assert run.stages["stage2_chat"].steps == 40 and run.stages["stage2_chat"].status == "done"
    assert run.stages["stage1_chat"].status == "absent"
    assert [e.name for e in run.evaluations] == ["scores of mine"]
