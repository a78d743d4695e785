"""The report: complete, partial and broken runs, escaping, self-containment, merged results."""

import html.parser
import json
import math
import random
import re
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from evaluation.report import build
from evaluation.report.charts import overlap, smooth, ticks
from evaluation.report.inputs import read
from evaluation.report.learning import matching_prior
from zv_jax.errors import DataError

HOSTILE = '<script>alert("x")</script>&\'"'
COLOURS = {"yellow": "#f7d154", "blue": "#7fb2ea", "pink": "#f2a7c3", "green": "#8fce9a"}


def write_lines(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


def make_stage(folder: Path, name: str, objectives: dict[str, tuple[float, float]], steps: int):
    """A training run whose losses fall from the first to the second value of each objective."""
    rng = random.Random(name)
    folder.mkdir(parents=True)
    rows = []
    for step in range(10, steps + 1, 10):
        share = 1 - math.exp(-4 * step / steps)
        row = {key: first + (last - first) * share + rng.gauss(0, 0.04) * first
               for key, (first, last) in objectives.items()}
        rows.append({"step": step, "loss": sum(row.values()), **row, "lr": 1e-3, "seconds": 4.0,
                     "samples_per_second": 100 + rng.random() * 9, "peak_rss_bytes": 3 * 2**30})
    write_lines(folder / "metrics.jsonl", rows)
    write_lines(folder / "events.jsonl", [{"event": "start", "step": 0}])
    before = ["/somewhere/runs/language"] if name.startswith("stage1") else []
    (folder / "config.json").write_text(json.dumps({
        "model": {"preset": "quickstart_chat",
                  "vision": {"layers": 4, "width": 192, "image_size": 72},
                  "qformer": {"layers": 4, "width": 192, "num_queries": 16},
                  "llm": {"layers": 4, "width": 256, "vocab_size": 2048}},
        "stage": {"name": name, "train_vision": name == "stage0", "itm_pairs": "both"},
        "data": {"sources": [{"name": "zv_openmoji"}]}, "init_from": before,
        "train": {"steps": steps, "batch_size": 64, "log_every": 10}}))
    chat, late = name.endswith("chat"), name.startswith(("stage1", "stage2"))
    (folder / "stage_table.json").write_text(json.dumps([
        {"tower": "vision", "trainable": 1_800_000 if name == "stage0" else 0,
         "frozen": 1_800_000 if late else 0, "adapter": 24_000 if chat else 0},
        {"tower": "qformer", "trainable": 0 if name == "language" else 3_100_000,
         "frozen": 0, "adapter": 0},
        {"tower": "projector", "trainable": 49_000 if late else 0, "frozen": 0, "adapter": 0},
        {"tower": "llm", "trainable": 3_600_000 if name == "language" else 0,
         "frozen": 3_600_000 if late else 0, "adapter": 31_000 if chat else 0}]))


def draw(path: Path, seed: int) -> list[float]:
    """A scene of two shapes; returns the box of the first."""
    rng = random.Random(seed)
    picture = Image.new("RGB", (144, 144), rng.choice(list(COLOURS.values())))
    pen = ImageDraw.Draw(picture)
    left, top, side = rng.randint(6, 30), rng.randint(6, 70), rng.randint(40, 60)
    pen.ellipse((left, top, left + side, top + side), fill="#d8433b", outline="#222", width=3)
    other = rng.randint(6, 90)
    pen.rectangle((95, other, 138, other + 44), fill="#3b64d8", outline="#222", width=3)
    picture.save(path)
    return [v / 144 for v in (left, top, left + side, top + side)]


def score(task: str, lang: str, metric: str, value: float, *controls: float | None) -> dict:
    names = ("untrained", "shuffled_images", "most_frequent", "chance")
    return {"task": task, "lang": lang, "metric": metric, "value": value, "n": 300,
            "interval": [value - 5, value + 4],
            "controls": dict(zip(names, controls, strict=True))}


def make_samples(images: Path) -> list[dict]:
    images.mkdir(parents=True)
    true = {f"images/{at}.png": draw(images / f"{at}.png", at) for at in range(12)}
    names, rows = list(true), []
    texts = {"en": ("a red ball on the left and a blue box on the right", "Where is the red ball?",
                    "What is on the right?", "a blue box", "How many things are there?", "two"),
             "zh": ("左边有一个红球，右边有一个蓝色盒子", "红球在哪里？", "右边是什么？",
                    "一个蓝色盒子", "一共有几样东西？", "两样")}
    for at, name in enumerate(names):
        for lang, (caption, where, what, thing, many, two) in texts.items():
            shared = {"lang": lang, "image": name}
            rows.append({"task": "caption", **shared, "question": "<image>", "correct": None,
                         "references": [caption], "prediction": caption if at % 3 else thing})
            rows.append({"task": "vqa", **shared, "question": what, "references": [thing],
                         "prediction": thing if at % 4 else two, "correct": bool(at % 4)})
            rows.append({"task": "vqa", **shared, "question": many, "references": [two],
                         "prediction": two, "correct": True})
            box = [v + 0.04 * (at % 3) for v in true[name]] if at != 3 else None
            rows.append({"task": "grounding", **shared, "question": where, "references": [],
                         "prediction": "", "box_true": true[name], "box_pred": box,
                         "correct": box is not None and overlap(box, true[name]) >= 0.5})
            if at < 3:
                rows.append({"task": "retrieval", **shared, "question": caption, "retrieved": [
                    {"image": names[(at + k) % 12], "score": 0.61 - 0.07 * k} for k in range(5)]})
                rows.append({"task": "retrieval", **shared, "references": [caption], "retrieved": [
                    {"text": f"{caption} ({k})" if k else caption, "score": 0.58 - 0.05 * k}
                    for k in range(5)]})
            if at == 5:
                rows.append({"task": "conversation", **shared, "turns": [
                    {"question": what, "prediction": thing, "references": [thing]},
                    {"question": many, "prediction": two, "references": [two]},
                    {"question": where, "prediction": "[0.1,0.2]", "references": ["[0.1,0.3]"]}]})
                rows.append({"task": "conversation", "lang": lang, "image": names[6:8],
                             "question": what, "prediction": thing, "references": [thing]})
    return rows


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A complete synthetic run."""
    return make_run(tmp_path / "runs")


def make_run(folder: Path) -> Path:
    lm = {"lm": (7.4, 1.1)}
    make_stage(folder / "language", "language", lm, 600)
    make_stage(folder / "stage0", "stage0",
               {"itc": (4.2, 0.5), "itm": (0.69, 0.21), "itg": (7.3, 0.9)}, 1200)
    for stage, last in (("stage1", 0.8), ("stage2", 0.4)):
        for variant, gain in (("base", 1.0), ("chat", 0.8)):
            name = f"{stage}_{variant}"
            make_stage(folder / name, name, {"lm": (3.1, last * gain)}, 500)
    for name, better in (("stage2_base", 0), ("stage2_chat", 9)):
        place = folder / f"eval_{name}"
        rows = make_samples(place / "images")
        write_lines(place / "samples.jsonl", rows)
        scores = []
        for lang, less in (("en", 0), ("zh", 4)):
            cider = "CIDEr-D" if lang == "en" else "cider_zh_char"
            scores += [
                score("retrieval", lang, "TR@1", 74.3 - less, 0.3, 0.3, None, 0.3),
                score("retrieval", lang, "IR@1", 71.7 - less, 0.0, 0.7, None, 0.3),
                score("retrieval", lang, "IR@5", 93.0 - less, 1.3, 1.7, None, 1.7),
                score("caption", lang, cider, 212.5 + better, 0.4, 48.1, None, None),
                score("vqa", lang, "exact_match", 66.0 + better - less, 0.0, 35.2, 21.0, None),
                score("grounding", lang, "acc@0.5", 41.0 + better - less, 0.0, 5.3, None, 4.1)]
        (place / "results.json").write_text(json.dumps({
            "checkpoint": f"/somewhere/{name}", "model": "quickstart", "stage": name[:6],
            "variant": name[7:], "seconds": 81.5, "peak_rss_bytes": 2_900_000_000,
            "scores": scores}))
        (place / "attention.json").write_text(json.dumps([
            {"image": f"images/{image}.png", "query": query, "grid": [6, 6],
             "weights": [math.exp(-((k % 6 - query % 6) ** 2 + (k // 6 - query // 3) ** 2) / 2)
                         for k in range(36)]} for image in range(2) for query in range(8)]))
    write_lines(folder / "times.jsonl", [
        {"step": step, "seconds": spent} for step, spent in (
            ("data prepare", 21.0), ("language", 95.2), ("stage0", 512.3), ("stage1_base", 96.0),
            ("stage1_chat", 110.0), ("stage2_base", 140.0), ("stage2_chat", 95.0),
            ("stage2_chat", 61.0), ("evaluation", 180.0), ("report", 2.1))])
    return folder


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
        return [a for tag, a in self.tags if tag == name
                and all(value in (a.get(key.rstrip("_")) or "").split()
                        for key, value in wanted.items())]


def page_of(runs: Path) -> Page:
    return Page(build(runs).read_text("utf-8"))


def test_a_complete_run_fills_every_section(runs):
    page = page_of(runs)
    assert "Not run yet" not in page.text and "picture missing" not in page.text
    assert "Nothing: every input of this report was there." in page.text
    assert {a["id"] for a in page.having("section")} == {
        "summary", "answers", "boxes", "retrieval", "dialogues", "attention", "learning", "towers",
        "scores", "costs", "about"}
    for words in ("trained from nothing", "从零开始", "CC BY-SA 4.0", "74.3 %", "41.0 %",
                  "69.3–78.3", "一个蓝色盒子", "shuffled pictures", "打乱图片", "2 min 36 s"):
        assert words in page.text, words
    drawn = page.having("figure", class_="panel")
    assert len(drawn) == 6  # language: LM; stage 0: ITC, ITM, ITG; stages 1 and 2: LM
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
    rows = [{"task": task, "lang": HOSTILE, "image": f"images/{HOSTILE}.png", "question": HOSTILE,
             "references": [HOSTILE], "prediction": HOSTILE, "correct": False,
             "box_true": [0, 0, 1, 1], "retrieved": [{"text": HOSTILE, "score": 1}],
             "turns": [{"question": HOSTILE, "prediction": HOSTILE, "references": HOSTILE}] * 3}
            for task in ("caption", "vqa", HOSTILE)]
    write_lines(folder / "samples.jsonl", rows)
    (folder / "results.json").write_text(json.dumps({
        "stage": HOSTILE, "scores": [score(HOSTILE, HOSTILE, HOSTILE, 1.0, 1.0, 1.0, 1.0, 1.0)]}))
    (runs / "stage0" / "stage_table.json").write_text(json.dumps([{"tower": HOSTILE}]))
    write_lines(runs / "times.jsonl", [{"step": HOSTILE, "seconds": 3}])
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
    assert merged["unreadable"] == ["stage1_base/metrics.jsonl: 1 unreadable lines",
                                    "stage2_base/config.json: not a JSON dict"]
    assert merged["stages"]["stage0"]["status"] == "done"
    assert merged["stages"]["stage1_base"]["losses"]["lm"] == {"first": None, "last": None}


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
    chat = [s for s in merged["scores"] if s["evaluation"] == "eval_stage2_chat"
            and s["metric"] == "exact_match" and s["lang"] == "zh"]
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


def test_a_picture_outside_its_folder_is_not_shown(runs):
    secret = runs / "secret.png"
    draw(secret, 1)
    evaluation = read(runs).evaluations[0]
    assert evaluation.picture("../secret.png") is None
    assert evaluation.picture(str(secret)) is None
    assert evaluation.picture("images/1.png") is not None


def test_a_folder_that_does_not_exist_is_one_clear_error(tmp_path):
    with pytest.raises(DataError, match="no such runs folder"):
        build(tmp_path / "nowhere")


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
