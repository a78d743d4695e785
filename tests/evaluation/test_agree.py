"""One question in both languages: what agrees, and a model that contradicts itself."""

import dataclasses
import json
import random
import types

import pytest
from PIL import Image

from zv_jax.bmmic.filters.same_names import same_names
from zv_jax.cli import main as cli
from zv_jax.configs.eval.agree import get_config
from zv_jax.data.openmoji import scenes, tasks
from zv_jax.data.openmoji.concepts import COLOURS, load_concepts
from zv_jax.data.records import record as records_lib
from zv_jax.data.records.record import ImageRef
from zv_jax.data.sources.open import open_source
from zv_jax.data.text.dialogue import render_boxes
from zv_jax.errors import ConfigError, DataError
from zv_jax.evaluation import agree, agree_files
from zv_jax.evaluation import config as config_lib
from zv_jax.evaluation import run as run_lib
from zv_jax.evaluation.metrics import agreement

SCENES = 40
TASKS = ("vqa", "mc_vqa", "grounding", "grounded_caption")
KINDS = {"vqa", "mc_vqa", "ref_ground", "ref_caption"}
DECIMALS = 2


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Folder of a source: questions about scenes in both languages; an image is one colour, which
    tells which scene it is."""
    folder = tmp_path_factory.mktemp("scenes")
    drawn = scenes.sample_scenes("val", SCENES, 3, load_concepts(), tuple(COLOURS))
    lines = []
    for number, scene in enumerate(drawn):
        ref = ImageRef(path=f"{number}.png", width=8, height=8)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / ref.path)
        for lang in ("en", "zh"):
            made = tasks.scene_records(scene, ref, lang, random.Random(f"{number}{lang}"))
            lines += [records_lib.dumps(r) for r in made if r.task in KINDS]
    (folder / "val.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return folder


@pytest.fixture(scope="module")
def records(world):
    return list(records_lib.read_jsonl(world / "val.jsonl"))


def truth(record):
    return render_boxes(record.turns[-1].text, record.objects, DECIMALS)


def suite(world, **more):
    return config_lib.suite(
        **{"tasks": TASKS, "controls": (), "source": {"name": "jsonl", "path": str(world),
                                                       "split": "val"}} | more
    )  # fmt: skip


FLIPS = {"有": "没有", "没有": "有", "是": "不是", "不是": "是"}


def flipped(record, others):
    """Another answer of the same kind than the true one."""
    said = truth(record)
    if said.startswith("["):
        x1, y1, x2, y2 = json.loads(said)
        moved = (0.6, 0.9) if x1 < 0.5 else (0.0, 0.3)
        return f"[{moved[0]},{y1},{moved[1]},{y2}]"
    if record.choices:
        return record.choices[(record.answer_index + 1) % len(record.choices)]
    if said in FLIPS:
        return FLIPS[said]
    kind = record.meta["question_type"]
    alike = [r for r in others if r.meta["question_type"] == kind and not r.choices]
    if kind.startswith("how_many"):  # 三只 and 三个 are one number
        return next(text for text in map(truth, alike) if text[0] != said[0])
    if kind in ("what", "region"):  # 一只猫 and 猫 are one thing
        alike = [r for r in alike if r.meta["about"] != record.meta["about"]]
    return next(text for text in map(truth, alike) if text != said)


class Oracle:
    """Knows every true answer; of the Chinese questions in `wrong` it says something else."""

    has_heads = False
    config = types.SimpleNamespace(
        stage=types.SimpleNamespace(name="stage2", variant="chat"),
        model=types.SimpleNamespace(preset="toy"),
        data=types.SimpleNamespace(box_decimals=DECIMALS),
    )

    def __init__(self, records, wrong=()):
        chinese = [r for r in records if r.lang == "zh"]
        self.asked, self.said = 0, {}
        for record in records:
            text = flipped(record, chinese) if record.id in wrong else truth(record)
            number = int(record.images[0].path.removesuffix(".png"))
            asked = render_boxes(record.turns[0].text, record.objects, DECIMALS)
            key = number, asked.replace("<image>", "").strip()
            self.said[key] = text

    def answer(self, prompts, images, max_new_tokens, instructions=None):
        self.asked += len(prompts)
        numbers = [shown[0].getpixel((0, 0))[0] for shown in images]
        return [self.said[key] for key in zip(numbers, prompts, strict=True)]


def compared(world, folder, model, **more):
    config = suite(world, **more)
    load = lambda path, untrained=False: model
    return agree.run("some/checkpoint", config, folder, same_names, progress=False, load=load)


def unique(records):
    """Records whose question is asked once only about its image."""
    seen = {}
    for record in records:
        asked = render_boxes(record.turns[0].text, record.objects, DECIMALS)
        seen.setdefault((record.images[0].path, asked), []).append(record)
    return [held[0] for held in seen.values() if len(held) == 1]


@pytest.fixture(scope="module")
def contradiction(world, records, tmp_path_factory):
    """A model that contradicts itself in Chinese on a tenth of the questions, and on which."""
    chinese = [r for r in unique(records) if r.lang == "zh"]
    total = sum(r.lang == "zh" for r in records)
    wrong = {r.id for r in random.Random(1).sample(chinese, total // 10)}
    folder = tmp_path_factory.mktemp("contradiction")
    model = Oracle(records, wrong)
    return compared(world, folder, model), wrong, folder, model


def test_all_contradictions_are_found_and_nothing_else(contradiction, records):
    found, wrong, _, _ = contradiction
    assert {one.question.items[1].id for one in found.disagreements} == wrong
    assert all(one.same is False for one in found.disagreements)
    assert {one.question.kind for one in found.disagreements} == set(agreement.KINDS)
    total = sum(r.lang == "zh" for r in records)
    assert found.scores[0]["value"] == pytest.approx(100 * (1 - len(wrong) / total), abs=1e-3)
    assert found.scores[0]["n"] == total and found.scores[0]["unreadable"] == 0


def test_a_model_that_says_the_same_agrees_on_everything(world, records, tmp_path):
    found = compared(world, tmp_path, Oracle(records))
    assert not found.disagreements
    assert all(score["value"] == 100 for score in found.scores)


def test_scores_have_intervals_and_chance_far_below(contradiction):
    scores = {score["metric"]: score for score in contradiction[0].scores}
    assert list(scores) == ["agreement", *(f"agreement_{kind}" for kind in agreement.KINDS)]
    for score in scores.values():
        low, high = score["interval"]
        assert low <= score["value"] <= high
    assert scores["agreement"]["controls"]["chance"] < 50
    assert scores["agreement_box"]["controls"]["chance"] < 20
    assert 35 < scores["agreement_yes_no"]["controls"]["chance"] < 65
    assert scores["agreement_name"]["control_n"]["chance"] > 100


def test_it_says_which_language_is_right(contradiction):
    found = contradiction[0]
    assert {agree.right(one) for one in found.disagreements} == {(True, False)}
    assert {agree.right(one) for one in found.answered if one.same} == {(True, True)}


def test_answers_that_are_there_are_not_asked_again(world, contradiction):
    found, _, folder, model = contradiction
    before = model.asked
    again = compared(world, folder, model)
    assert model.asked == before and again.scores == found.scores
    assert not (folder / "results.json").exists(), "results of an evaluation stay as they are"


def test_the_folder_of_an_evaluation_is_enough(world, records, tmp_path):
    model = Oracle(records)
    load = lambda path, untrained=False: model
    config = suite(world, limit=10, attention_images=0)
    run_lib.run("some/checkpoint", config, tmp_path, progress=False, load=load)
    before, results = model.asked, (tmp_path / "results.json").read_bytes()
    found = compared(world, tmp_path, model, limit=10, attention_images=0)
    assert found.scores[0]["n"] == 40 and model.asked == before
    assert (tmp_path / "results.json").read_bytes() == results


def test_a_part_of_a_split_says_so(world, records, tmp_path):
    found = compared(world, tmp_path, Oracle(records), limit=20)
    assert found.scores[0]["metric"] == "agreement@80"
    assert found.scores[0]["items_expected"] > 80


def test_the_files_hold_scores_and_every_disagreement(contradiction, tmp_path):
    found, wrong, _, _ = contradiction
    agree_files.write(found, tmp_path)
    scores = json.loads((tmp_path / "agree.json").read_text())
    assert scores["checkpoint"] == "some/checkpoint" and scores["scores"] == list(found.scores)
    rows = [
        json.loads(line) for line in (tmp_path / "disagreements.jsonl").read_text().splitlines()
    ]
    assert {row["zh"]["id"] for row in rows} == wrong
    table = (tmp_path / "disagreements.md").read_text().splitlines()
    assert len(table) == 2 + len(wrong) and all(line.count(" | ") == 4 for line in table[2:])
    assert "agreement_yes_no" in agree_files.render(found)


def test_mined_rows_are_records_to_train_on(contradiction, records, tmp_path):
    found, wrong, _, _ = contradiction
    file = tmp_path / "mined.jsonl"
    assert agree_files.mine(found, file) == (2 * len(wrong), 0)
    source = open_source("jsonl", str(file), "val")
    kept = {source.record(i).id: source.record(i) for i in range(len(source))}
    of = {record.id: record for record in records}
    assert kept.keys() == wrong | {name.replace("#zh-", "#en-") for name in wrong}
    for name, record in kept.items():
        assert (record.turns, record.objects) == (of[name].turns, of[name].objects)
        number = int(of[name].images[0].path.removesuffix(".png"))
        assert source.image(record.images[0]).getpixel((0, 0)) == (number, 0, 0)


def test_test_questions_are_never_mined(contradiction, tmp_path):
    found = contradiction[0]
    first = found.disagreements[0]
    record = dataclasses.replace(first.question.items[0].record, split="test")
    item = dataclasses.replace(first.question.items[0], record=record)
    asked = dataclasses.replace(first.question, items=(item, first.question.items[1]))
    leaky = dataclasses.replace(found, answered=(dataclasses.replace(first, question=asked),))
    with pytest.raises(DataError, match="must not be trained on"):
        agree_files.mine(leaky, tmp_path / "mined.jsonl")
    assert not list(tmp_path.iterdir())


def test_the_command_compares_predictions_of_zv_eval(world, contradiction, tmp_path, capsys):
    _, wrong, folder, _ = contradiction
    files = sorted(map(str, (folder / "predictions").glob("*.jsonl")))
    recipe = ["--suite=configs/eval/agree.py", f"--suite.source.path={world}",
              "--suite.source.name=jsonl"]  # fmt: skip
    given = [f"--predictions={','.join(files)}", f"--workdir={tmp_path / 'out'}"]
    assert cli.main(["eval", "agree", *recipe, *given, f"--mine={tmp_path / 'm.jsonl'}"]) == 0
    shown = capsys.readouterr().out
    assert f"{len(wrong)} disagreements" in shown and f"{2 * len(wrong)} training rows" in shown
    english = [name for name in files if "-en-" in name]
    assert cli.main(["eval", "agree", *recipe, f"--predictions={','.join(english)}",
                     f"--workdir={tmp_path / 'no'}"]) != 0  # fmt: skip
    assert "no question has an answer in both languages" in capsys.readouterr().err
    assert cli.main(["eval", "agree", *recipe, f"--workdir={tmp_path / 'no'}"]) != 0
    assert "whose answers" in capsys.readouterr().err


@pytest.mark.parametrize(
    "more, said",
    [
        ({"langs": ("en",)}, "both languages"),
        ({"tasks": ()}, "both languages"),
        ({"tasks": ("caption",)}, "cannot be compared by rule"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_a_model_is_loaded(world, tmp_path, more, said):
    with pytest.raises(ConfigError, match=said):
        compared(world, tmp_path, None, **more)


def test_questions_are_paired_by_id_or_by_their_original(records):
    english, chinese = (next(r for r in records if r.lang == lang) for lang in ("en", "zh"))
    assert agree.key_of(english) == agree.key_of(chinese)
    translated = records_lib.loads(
        '{"id":"vqav2_t/train/7","source":"vqav2_t","split":"train","task":"vqa","lang":"zh",'
        '"images":[{"path":"7.jpg"}],"turns":[],"meta":{"original":"vqav2/train/7"}}'
    )
    assert agree.key_of(translated) == "vqav2/train/7"


@pytest.mark.parametrize("arg, split", [("", "val"), ("test", "test"), ("train", "train")])
def test_the_recipe_names_its_split(arg, split):
    checked = config_lib.validate(get_config(arg))
    assert {checked.task(name).split for name in checked.tasks} == {split}


@pytest.mark.parametrize(
    "text, lang, value",
    [
        ("three", "en", 3), ("There are 3 dogs.", "en", 3), ("a dog", "en", 1), ("None.", "en", 0),
        ("twenty-one", "en", 21), ("a hundred and five", "en", 105), ("1,000 people", "en", 1000),
        ("2 or 3", "en", None), ("several", "en", None), ("a pair of shoes", "en", None),
        ("<think>2?</think>four", "en", 4), ("1/2", "en", None), ("", "en", None),
        ("三只", "zh", 3), ("3 只", "zh", 3), ("图里一共有两只猫。", "zh", 2), ("没有", "zh", 0),
        ("二十一", "zh", 21), ("一百零五", "zh", 105), ("十", "zh", 10), ("十二個", "zh", 12),
        ("三四只", "zh", None), ("好几只", "zh", None), ("一只猫和两只狗", "zh", None),
        ("俩", "zh", 2), ("", "zh", None),
    ],
)  # fmt: skip
def test_counts_in_digits_and_words(text, lang, value):
    assert agreement.parse_count(text, lang) == value


@pytest.mark.parametrize(
    "english, chinese, same",
    [
        ("a puppy", "一只小狗", True), ("It is a dog.", "是一只猫。", False),
        ("red", "红色", True), ("It's grey.", "灰色的", True), ("red", "蓝色", False),
        ("at the top left", "在左上角", True), ("top", "左上角", False), ("centre", "中间", True),
        ("an apple and a banana", "苹果和香蕉", True), ("an apple", "苹果和香蕉", False),
        ("a red car", "汽车", True), ("bottom left", "一只猴子", False),
        ("an orange", "橙子", True), ("orange", "橙色", True),
        ("There is a star.", "图里有一颗星星", True), ("a maple leaf", "一棵树", False),
        ("qwerty", "一只猫", None), ("a cat", "呃", None),
    ],
)  # fmt: skip
def test_names_are_compared_through_the_bilingual_table(english, chinese, same):
    assert same_names(english, chinese) is same


def test_words_of_an_image_agree_as_they_are_written():
    read = agreement.read("name", "ACME 24", "en"), agreement.read("name", "ACME 24。", "zh")
    assert agreement.same("name", *read, same_names) is True


@pytest.mark.parametrize(
    "question, truths, lang, kind",
    [
        ("how many dogs are there?", ["a dog"], "en", "count"), ("有几只狗？", [], "zh", "count"),
        ("is there a dog?", [], "en", "yes_no"), ("is it a dog or a cat?", [], "en", "name"),
        ("图里有没有狗？", ["没有"], "zh", "yes_no"), ("what is this?", ["a dog"], "en", "name"),
        ("find the dog", ["[0.1,0.1,0.3,0.4]"], "en", "box"),
        ("多少钱？", [], "zh", "name"),
    ],
)  # fmt: skip
def test_the_kind_follows_from_question_and_truth(question, truths, lang, kind):
    assert agreement.kind_of(question, truths, lang) == kind


def test_every_drawing_is_named_alike_in_both_languages_and_no_other():
    drawn = load_concepts()
    for one in drawn:
        shown = f"There is {one.en_article} {one.en}."
        assert same_names(shown, f"图里有一{one.zh_measure}{one.zh}。") is True, one.key
    for one in drawn:
        others = [other.zh for other in drawn if other is not one]
        assert not [zh for zh in others if same_names(one.en, zh)], one.key
