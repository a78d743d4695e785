"""A whole suite on a toy model: every score and control can be worked out."""

import json

import numpy as np
import pytest
from PIL import Image

from zv_jax.errors import ConfigError, DataError
from zv_jax.evaluation import config as config_lib
from zv_jax.evaluation import run as run_lib
from zv_jax.evaluation import tables
from zv_jax.evaluation.metrics import caption_scores

COLOURS = ("red", "green", "blue", "white")
LANGUAGE = ("caption", "vqa", "grounding", "grounded_caption", "mc_vqa", "conversation")


def by_metric(results, task, lang):
    return {s["metric"]: s for s in results["scores"] if (s["task"], s["lang"]) == (task, lang)}


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_scores_and_controls_of_answers(evaluate, lang):
    results, _ = evaluate(batch_size=3)
    expected = {
        # task, metric: score, untrained, shuffled, most frequent, chance, n
        ("vqa", "exact_match"): (100, 25, 25, 50, None, 8),
        ("vqa", "yes_no_accuracy"): (100, 25, 50, 75, 50, 4),
        ("grounding", "acc@0.5"): (75, 100, 75, 100, None, 4),
        ("grounding", "mean_iou"): (75, 100, 75, 100, None, 4),
        ("grounded_caption", "exact_match"): (100, 25, 0, 25, None, 4),
        ("mc_vqa", "accuracy"): (100, 25, 0, 25, 25, 4),
        ("conversation", "turn_accuracy"): (100, 50, 0, 50, None, 8),
        ("conversation", "turn_accuracy_several_images"): (100, 50, 0, 50, None, 8),
        ("conversation", "dialogue_accuracy"): (100, 0, 0, 25, None, 4),
    }
    for (task, metric), numbers in expected.items():
        score = by_metric(results, task, lang)[metric]
        controls = score["controls"]
        got = (
            score["value"],
            controls["untrained"],
            controls["shuffled_images"],
            controls["most_frequent"],
            controls["chance"],
            score["n"],
        )
        if task == "conversation":
            # Which pictures are shuffled to which decides how often the second turn is right.
            assert got[2] < got[0]
            got, numbers = got[:2] + got[3:], numbers[:2] + numbers[3:]
        assert got == pytest.approx(numbers), (task, metric)
    assert by_metric(results, "grounding", lang)["acc@0.5"]["unreadable"] == 1


def test_what_is_not_evaluated_is_counted_with_its_reason(evaluate, toy, tmp_path):
    lines = (toy / "test.jsonl").read_text("utf-8").splitlines()
    blind = next(json.loads(line) for line in lines if "en-vqa-colour" in line)
    blind |= {"id": "blind", "images": []}
    mine = toy / "blind.jsonl"
    mine.write_text("\n".join([*lines, json.dumps(blind)]) + "\n", "utf-8")
    results, _ = evaluate(
        tasks=("vqa",),
        langs=("en",),
        limit=3,
        controls=(),
        source={"name": "jsonl", "path": str(mine)},
    )
    assert results["data"]["path"] == str(mine)
    found = results["data"]["left_out"]
    assert found == {
        "records": 57,
        "other_tasks": 40,
        "other_languages": 8,
        "parts": [
            {"task": "vqa", "lang": "en", "records": 9, "evaluated": 3}
            | {"no_image": 1, "beyond_limit": 5}
        ],
    }
    assert list(tables.left_out(results["data"])) == [
        "not evaluated, of 57 records: 40 of other tasks, 8 in other languages",
        "not evaluated, vqa en, of 9 records: 1 without an image, 5 beyond the limit",
    ]


def test_captions_are_named_by_language_and_scored_against_all_references(evaluate):
    results, _ = evaluate(tasks=("caption",))
    said = [f"a {c} picture" for c in COLOURS]
    references = {c: [f"a {c} picture", c] for c in COLOURS}
    score = by_metric(results, "caption", "en")["CIDEr-D"]
    assert score["value"] == pytest.approx(
        100 * caption_scores(references, dict(zip(COLOURS, said, strict=True)))["cider"], abs=1e-4
    )
    frequent = caption_scores(references, dict.fromkeys(COLOURS, "a green picture"))["cider"]
    assert score["controls"]["most_frequent"] == pytest.approx(100 * frequent, abs=1e-4)
    assert list(by_metric(results, "caption", "zh")) == ["cider_zh_char"]


def test_a_part_of_a_split_is_marked_and_controls_on_a_part_say_so(evaluate):
    results, _ = evaluate(tasks=("caption", "vqa"), limits={"caption": 3}, control_limit=2)
    captions = by_metric(results, "caption", "en")
    assert list(captions) == ["CIDEr-D@3"]
    assert (captions["CIDEr-D@3"]["items"], captions["CIDEr-D@3"]["items_expected"]) == (3, 4)
    vqa = by_metric(results, "vqa", "en")["exact_match"]
    assert vqa["control_n"]["shuffled_images"] == 2
    assert vqa["control_n"]["most_frequent"] == 8


def test_the_caption_control_on_a_part_uses_the_statistics_of_all(evaluate):
    # Alone, one picture would have no document frequencies and score 0.
    results, _ = evaluate(tasks=("caption",), langs=("en",), untrained_limit=1)
    value = by_metric(results, "caption", "en")["CIDEr-D"]["controls"]["untrained"]
    references = {c: [f"a {c} picture", c] for c in COLOURS}
    first = {"red": references["red"]}
    alone = caption_scores(first, {"red": "a red picture"}, corpus=references)
    assert value == pytest.approx(100 * alone["cider"], abs=1e-4)
    assert value > 0


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_retrieval(evaluate, colours, lang):
    results, _ = evaluate(colours(stage="stage0"), rerank_k=2, rerank_limit=3)
    assert {s["task"] for s in results["scores"]} == {"retrieval"}
    scores = by_metric(results, "retrieval", lang)
    assert list(scores) == [
        *(f"{way}_recall@{k}_itc" for k in (1, 5) for way in ("text", "image")),
        "text_recall@1_itm@3",
        "image_recall@1_itm@3",
    ]
    first = scores["text_recall@1_itc"]
    assert (first["value"], first["n"]) == (100, 4)
    # Every picture looks red to the blind model, so only the red one finds its caption; for
    # captions all pictures are alike, and ties count against it.
    assert first["controls"] == {
        "untrained": 25,
        "shuffled_images": 0,
        "most_frequent": None,
        "chance": 25,
    }
    assert scores["image_recall@1_itc"]["controls"]["untrained"] == 0
    matched = scores["image_recall@1_itm@3"]
    assert (matched["value"], matched["n"]) == (100, 3)
    assert "itm + itc on the best 2 by itc" in matched["protocol"]
    assert "4 images x 4 texts" in first["protocol"]


def test_every_batch_of_a_kind_has_one_shape(evaluate, colours):
    model = colours()
    evaluate(model, batch_size=3, tasks=LANGUAGE)
    assert {rows for rows, _, _ in model.shapes} == {3}
    assert {images for _, images, _ in model.shapes} == {1, 2}


def test_a_dialogue_is_continued_with_the_models_own_words(evaluate, colours):
    model = colours()
    evaluate(model, tasks=("conversation",), langs=("en",), controls=())
    first_turns = {p[0].answer for p in model.dialogues if len(p) == 2}
    assert first_turns == {"RED", "GREEN", "BLUE", "WHITE"}


def test_what_is_left_behind(evaluate):
    results, out = evaluate(max_new_tokens={"vqa": 5})
    assert json.loads((out / "results.json").read_text("utf-8")) == json.loads(json.dumps(results))
    assert results["stage"] == "stage2"
    assert results["variant"] == "chat"
    assert results["peak_rss_bytes"] > 0
    rows = [json.loads(line) for line in (out / "samples.jsonl").read_text("utf-8").splitlines()]
    assert {row["task"] for row in rows} == set(LANGUAGE)
    for row in rows:
        images = row["image"] if isinstance(row["image"], list) else [row["image"]]
        assert all(Image.open(out / name).size == (8, 8) for name in images)
    boxes = [row for row in rows if row["task"] == "grounding"]
    assert boxes[0]["box_true"] == boxes[0]["box_pred"] == [0.1, 0.2, 0.5, 0.6]
    assert [row["box_pred"] for row in boxes if not row["correct"]] == [None, None]
    talk = next(row for row in rows if row["task"] == "conversation")
    assert [turn["prediction"] for turn in talk["turns"]] == ["RED", "BLUE"]
    assert len(talk["image"]) == 2
    assert any("max_new_tokens=5" in s["protocol"] for s in results["scores"])
    assert not (out / "attention.json").exists()


def test_retrieval_samples_in_both_directions(evaluate, colours):
    _, out = evaluate(colours(stage="stage0"), tasks=("retrieval",), langs=("zh",))
    rows = [json.loads(line) for line in (out / "samples.jsonl").read_text("utf-8").splitlines()]
    assert [row["direction"] for row in rows[:2]] == ["image", "text"]
    assert rows[0]["retrieved"][0] == {"image": rows[0]["image"], "score": 1.0, "correct": True}
    assert rows[1]["retrieved"][0] == {"text": "一张红色的图", "score": 1.0, "correct": True}


def test_attention_is_written_where_the_model_offers_it(evaluate, colours):
    model = colours()
    model.attention_maps = lambda images: np.full((len(images), 2, 3, 4), 0.25)
    _, out = evaluate(model, tasks=("vqa",), attention_images=3)
    maps = json.loads((out / "attention.json").read_text())
    assert [(m["query"], m["grid"]) for m in maps[:2]] == [(0, [3, 4]), (1, [3, 4])]
    assert len({m["image"] for m in maps}) == 3
    assert all((out / m["image"]).is_file() for m in maps)
    assert maps[0]["weights"] == [0.25] * 12


def test_the_table_shows_languages_side_by_side(evaluate):
    results, _ = evaluate(control_limit=2)
    text = tables.render(results["scores"])
    head = text.splitlines()[0]
    assert head.index("English") < head.index("Chinese")
    line = next(line for line in text.splitlines() if "CIDEr-D / cider_zh_char" in line)
    assert line.startswith("caption")
    vqa = next(line for line in text.splitlines() if "exact_match" in line)
    assert "100.0 [100.0, 100.0]" in vqa
    assert "*" in vqa
    narrow = tables.render(results["scores"], width=100).splitlines()
    assert not any("English" in line and "Chinese" in line for line in narrow)
    assert sum("exact_match" in line for line in narrow) == 2 * sum(
        "exact_match" in line for line in text.splitlines()
    )


def test_an_interrupted_suite_goes_on_with_its_controls(toy, tmp_path, colours):
    config = config_lib.suite(source={"name": "jsonl", "path": str(toy)}, batch_size=3)

    class Killed(colours):
        left = 100

        def answer(self, *given, **named):
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt
            return super().answer(*given, **named)

    def go(workdir, model, shard=(0, 1)):
        load = lambda path, untrained=False: model(blind=untrained)
        return run_lib.run("some/checkpoint", config, tmp_path / workdir, False, load, shard)

    expected = go("whole", colours)["scores"]
    for left in (9, 20):
        Killed.left = left
        with pytest.raises(KeyboardInterrupt):
            go("parts", Killed)
    assert go("parts", colours)["scores"] == expected
    Killed.left = 1  # nothing is asked again
    assert go("parts", Killed)["scores"] == expected
    assert go("shared", colours, (0, 2)) is None
    assert go("shared", colours, (1, 2))["scores"] == expected


def test_the_same_run_gives_the_same_numbers(evaluate):
    first, _ = evaluate()
    second, _ = evaluate()
    assert first["scores"] == second["scores"]


def test_a_stage_without_tasks_and_a_missing_language_are_explained(
    evaluate, colours, toy, tmp_path
):
    with pytest.raises(ConfigError, match="language"):
        evaluate(colours(stage="language"))
    only_english = tmp_path / "test.jsonl"
    lines = (toy / "test.jsonl").read_text("utf-8").splitlines()
    only_english.write_text("\n".join(x for x in lines if '"lang":"en"' in x), "utf-8")
    with pytest.raises(DataError, match="zh"):
        evaluate(source={"name": "jsonl", "path": str(tmp_path)}, tasks=("vqa",))
