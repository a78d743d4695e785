"""A synthetic run folder for the report: every file that the stages and the evaluation write."""

import json
import math
import random
from pathlib import Path

from PIL import Image, ImageDraw

from zv_jax.html.charts import overlap

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
        row = {
            key: first + (last - first) * share + rng.gauss(0, 0.04) * first
            for key, (first, last) in objectives.items()
        }
        rows.append(
            {
                "step": step,
                "loss": sum(row.values()),
                **row,
                "lr": 1e-3,
                "seconds": 4.0,
                "samples_per_second": 100 + rng.random() * 9,
                "peak_rss_bytes": 3 * 2**30,
            }
        )
    write_lines(folder / "metrics.jsonl", rows)
    write_lines(folder / "events.jsonl", [{"event": "start", "step": 0}])
    before = ["/somewhere/runs/language"] if name.startswith("stage1") else []
    (folder / "config.json").write_text(
        json.dumps(
            {
                "model": {
                    "preset": "quickstart_chat",
                    "vision": {"layers": 4, "width": 192, "image_size": 72},
                    "qformer": {"layers": 4, "width": 192, "num_queries": 16},
                    "llm": {"layers": 4, "width": 256, "vocab_size": 2048},
                },
                "stage": {"name": name, "itm_pairs": "both"},
                "data": {"sources": [{"name": "zv_openmoji"}]},
                "init_from": before,
                "train": {"steps": steps, "batch_size": 64, "log_every": 10},
            }
        )
    )
    chat, late = name.endswith("chat"), name.startswith(("stage1", "stage2"))
    (folder / "stage_table.json").write_text(
        json.dumps(
            [
                {
                    "tower": "vision",
                    "trainable": 1_800_000 if name == "vision" else 0,
                    "frozen": 1_800_000 if late or name == "stage0" else 0,
                    "adapter": 24_000 if chat else 0,
                },
                {
                    "tower": "qformer",
                    "trainable": 0 if name in ("language", "vision") else 3_100_000,
                    "frozen": 0,
                    "adapter": 0,
                },
                {
                    "tower": "projector",
                    "trainable": 49_000 if late else 0,
                    "frozen": 0,
                    "adapter": 0,
                },
                {
                    "tower": "llm",
                    "trainable": 3_600_000 if name == "language" else 0,
                    "frozen": 3_600_000 if late else 0,
                    "adapter": 31_000 if chat else 0,
                },
            ]
        )
    )


def draw(path: Path, seed: int) -> list[float]:
    """A scene of two shapes; returns the box of the first."""
    rng = random.Random(seed)
    drawn = Image.new("RGB", (144, 144), rng.choice(list(COLOURS.values())))
    pen = ImageDraw.Draw(drawn)
    left, top, side = rng.randint(6, 30), rng.randint(6, 70), rng.randint(40, 60)
    pen.ellipse((left, top, left + side, top + side), fill="#d8433b", outline="#222", width=3)
    other = rng.randint(6, 90)
    pen.rectangle((95, other, 138, other + 44), fill="#3b64d8", outline="#222", width=3)
    drawn.save(path)
    return [v / 144 for v in (left, top, left + side, top + side)]


def score(task: str, lang: str, metric: str, value: float, *controls: float | None) -> dict:
    names = ("untrained", "shuffled_images", "most_frequent", "chance")
    return {
        "task": task,
        "lang": lang,
        "metric": metric,
        "value": value,
        "n": 300,
        "interval": [value - 5, value + 4],
        "controls": dict(zip(names, controls, strict=True)),
    }


def make_samples(images: Path) -> list[dict]:
    images.mkdir(parents=True)
    true = {f"images/{at}.png": draw(images / f"{at}.png", at) for at in range(12)}
    names, rows = list(true), []
    texts = {
        "en": (
            "a red ball on the left and a blue box on the right",
            "Where is the red ball?",
            "What is on the right?",
            "a blue box",
            "How many things are there?",
            "two",
        ),
        "zh": (
            "左边有一个红球，右边有一个蓝色盒子",
            "红球在哪里？",
            "右边是什么？",
            "一个蓝色盒子",
            "一共有几样东西？",
            "两样",
        ),
    }
    for at, name in enumerate(names):
        for lang, (caption, where, what, thing, many, two) in texts.items():
            shared = {"lang": lang, "image": name}
            rows.append(
                {
                    "task": "caption",
                    **shared,
                    "question": "<image>",
                    "correct": None,
                    "references": [caption],
                    "prediction": caption if at % 3 else thing,
                }
            )
            rows.append(
                {
                    "task": "vqa",
                    **shared,
                    "question": what,
                    "references": [thing],
                    "prediction": thing if at % 4 else two,
                    "correct": bool(at % 4),
                }
            )
            rows.append(
                {
                    "task": "vqa",
                    **shared,
                    "question": many,
                    "references": [two],
                    "prediction": two,
                    "correct": True,
                }
            )
            box = [v + 0.04 * (at % 3) for v in true[name]] if at != 3 else None
            rows.append(
                {
                    "task": "grounding",
                    **shared,
                    "question": where,
                    "references": [],
                    "prediction": "",
                    "box_true": true[name],
                    "box_pred": box,
                    "correct": box is not None and overlap(box, true[name]) >= 0.5,
                }
            )
            if at < 3:
                rows.append(
                    {
                        "task": "retrieval",
                        **shared,
                        "question": caption,
                        "retrieved": [
                            {"image": names[(at + k) % 12], "score": 0.61 - 0.07 * k}
                            for k in range(5)
                        ],
                    }
                )
                rows.append(
                    {
                        "task": "retrieval",
                        **shared,
                        "references": [caption],
                        "retrieved": [
                            {"text": f"{caption} ({k})" if k else caption, "score": 0.58 - 0.05 * k}
                            for k in range(5)
                        ],
                    }
                )
            if at == 5:
                rows.append(
                    {
                        "task": "conversation",
                        **shared,
                        "turns": [
                            {"question": what, "prediction": thing, "references": [thing]},
                            {"question": many, "prediction": two, "references": [two]},
                            {
                                "question": where,
                                "prediction": "[0.1,0.2]",
                                "references": ["[0.1,0.3]"],
                            },
                        ],
                    }
                )
                rows.append(
                    {
                        "task": "conversation",
                        "lang": lang,
                        "image": names[6:8],
                        "question": what,
                        "prediction": thing,
                        "references": [thing],
                    }
                )
    return rows


def make_run(folder: Path) -> Path:
    lm = {"lm": (7.4, 1.1)}
    make_stage(folder / "language", "language", lm, 600)
    make_stage(folder / "vision", "vision", {"symbols": (0.9, 0.17), "words": (6.9, 1.8)}, 300)
    make_stage(
        folder / "stage0",
        "stage0",
        {"itc": (4.2, 0.5), "itm": (0.69, 0.21), "itg": (7.3, 0.9)},
        1200,
    )
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
                score("retrieval", lang, "text_recall@1_itc", 74.3 - less, 0.3, 0.3, None, 0.3),
                score("retrieval", lang, "image_recall@1_itc", 71.7 - less, 0.0, 0.7, None, 0.3),
                score("retrieval", lang, "image_recall@5_itc", 93.0 - less, 1.3, 1.7, None, 1.7),
                score("caption", lang, cider, 212.5 + better, 0.4, 48.1, None, None),
                score("vqa", lang, "exact_match", 66.0 + better - less, 0.0, 35.2, 21.0, None),
                score("grounding", lang, "acc@0.5", 41.0 + better - less, 0.0, 5.3, None, 4.1),
            ]
        (place / "results.json").write_text(
            json.dumps(
                {
                    "checkpoint": f"/somewhere/{name}",
                    "model": "quickstart",
                    "stage": name[:6],
                    "variant": name[7:],
                    "seconds": 81.5,
                    "peak_rss_bytes": 2_900_000_000,
                    "scores": scores,
                }
            )
        )
        (place / "attention.json").write_text(
            json.dumps(
                [
                    {
                        "image": f"images/{image}.png",
                        "query": query,
                        "grid": [6, 6],
                        "weights": [
                            math.exp(-((k % 6 - query % 6) ** 2 + (k // 6 - query // 3) ** 2) / 2)
                            for k in range(36)
                        ],
                    }
                    for image in range(2)
                    for query in range(8)
                ]
            )
        )
    write_lines(
        folder / "times.jsonl",
        [
            {"step": step, "seconds": spent}
            for step, spent in (
                ("data prepare", 21.0),
                ("language", 95.2),
                ("vision", 80.1),
                ("stage0", 512.3),
                ("stage1_base", 96.0),
                ("stage1_chat", 110.0),
                ("stage2_base", 140.0),
                ("stage2_chat", 95.0),
                ("stage2_chat", 61.0),
                ("evaluation", 180.0),
                ("report", 2.1),
            )
        ],
    )
    return folder
