"""`zv eval score` of one's own records, and of result files that other programs write."""

import json

import pytest

from zv_jax.cli import main as cli
from zv_jax.data.records.record import ImageRef, Record
from zv_jax.errors import DataError
from zv_jax.evaluation import predictions

ANSWERS = {"en": ["red", "blue"], "zh": ["红色", "蓝色"]}
TASK = "langs: [en, zh]\nsplit: test\nrecords: vqa\nmetrics: [exact_match]\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Four questions in two languages, all answered, one of them wrongly."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "split").mkdir()
    rows, said = [], []
    for lang, answers in ANSWERS.items():
        for n, answer in enumerate(answers):
            name = f"mine/test/{lang}{n}"
            turns = [
                {"role": "user", "text": "<image>?"},
                {"role": "assistant", "text": answer},
            ]
            rows.append(
                {"id": name, "source": "mine", "split": "test", "task": "vqa", "lang": lang}
                | {"images": [{"path": f"{n}.png"}], "turns": turns, "answers": [answer]}
            )
            said.append({"id": name, "prediction": answer if name != "mine/test/en1" else "green"})
    write("split/test.jsonl", rows)
    write("answers.jsonl", said)
    (tmp_path / "mine.yaml").write_text(TASK)
    return tmp_path


def write(file, rows):
    with open(file, "w", encoding="utf-8") as out:
        out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def score(file="answers.jsonl", *flags):
    words = ["eval", "score", "--benchmark=mine.yaml", "--data=split", f"--predictions={file}"]
    return cli.main([*words, "--workdir=out", *flags])


def test_predictions_on_own_records_are_scored_in_each_language(here):
    assert score() == 0
    scores = json.loads((here / "out/results.json").read_text())["scores"]
    found = {(s["task"], s["lang"]): s["value"] for s in scores if s["metric"] == "exact_match"}
    assert found == {("mine", "en"): 50, ("mine", "zh"): 100}


def test_a_list_and_a_part_do_as_well(here):
    rows = [json.loads(line) for line in (here / "answers.jsonl").open()][:1]
    (here / "list.json").write_text(json.dumps(rows))
    assert score("list.json", "--partial") == 0
    entry = json.loads((here / "out/results.json").read_text())["scores"][0]
    assert entry["metric"] == "exact_match@1" and entry["value"] == 100


@pytest.mark.parametrize(
    ("task", "says"),
    [
        ("langs: [fr]\nrecords: vqa\nmetrics: [exact_match]\n", "unknown langs 'fr'"),
        ("langs: en\nrecords: vqa\nmetrics: [exact_match]\n", "is no list"),
        ("langs: [en]\nmetrics: [exact_match]\n", "records is missing"),
        ("langs: [en]\nrecords: vqaa\nmetrics: [x]\n", "did you mean 'vqa'"),
        (TASK.replace("exact_match", "exact"), "did you mean 'exact_match'"),
        (TASK + "matric: 1\n", "did you mean 'metrics'"),
        ("[", "cannot be read"),
        ("[" * 10_000, "cannot be read"),
        ("a: !!int ''", "cannot be read"),
        ("a: !!timestamp x", "cannot be read"),
        ("just words", "no table"),
        ("a: &a [x, x]\nb: [*a, *a]", "line 2: an alias, *a"),
        # Each line merges the one before it several times over: 3 ** 30 fields.
        (
            "a0: &a0 {x: y}\n"
            + "".join(f"a{n + 1}: &a{n + 1} {{<<: [*a{n}, *a{n}, *a{n}]}}\n" for n in range(30)),
            "an alias",
        ),
        ("a: " + "x" * (1 << 20), "more than 1,048,576 bytes"),
    ],
)
def test_a_wrong_task_is_explained(here, capsys, task, says):
    (here / "mine.yaml").write_text(task)
    assert score() == 2
    assert says in capsys.readouterr().err
    assert not (here / "out").exists()


def records(*numbers):
    return [
        Record(f"coco/val/{n}", "coco", "val", "vqa", "en", (ImageRef(path="a.jpg"),), ())
        for n in numbers
    ]


@pytest.mark.parametrize(
    "rows",
    [
        [{"image_id": 7, "caption": "a man"}, {"image_id": 8, "caption": "a dog"}],
        [{"question_id": 7, "answer": "a man"}, {"question_id": 8, "answer": "a dog"}],
        [{"id": "coco/val/7", "prediction": "a man"}, {"id": 8, "prediction": "a dog"}],
    ],
)
def test_result_files_of_coco_and_vqa_are_taken_as_they_are(tmp_path, rows):
    file = tmp_path / "results.json"
    file.write_text(json.dumps(rows))
    found = predictions.read(file, records(7, 8))
    assert {key: said.text for key, said in found.items()} == {
        "coco/val/7": "a man",
        "coco/val/8": "a dog",
    }


def test_an_entry_of_a_list_that_is_wrong_is_named(tmp_path):
    file = tmp_path / "results.json"
    file.write_text('[{"image_id": 7, "caption": "a"}, {"image_id": 8, "caption": null}]')
    with pytest.raises(DataError) as caught:
        predictions.read(file, records(7, 8))
    assert caught.value.where == f"{file} entry 2, field prediction"
