"""The list of samples that could not be used, over restarts on fewer and on more processes."""

from zv_jax.data.pipeline.bad_samples import BadSample
from zv_jax.files import read_jsonl
from zv_jax.training.substitutes import Shortened, Substitutes


def fault(name: str, source: str = "a/train") -> BadSample:
    return BadSample(source, name, "picture not found", f"{name}.jpg", "other")


def test_every_sample_is_listed_once_whatever_number_of_processes_goes_on(tmp_path):
    lists = [Substitutes(tmp_path, process, 3) for process in range(3)]
    for process, found in enumerate(lists):
        found.start(0)
        for step in range(4):
            found.add(step, fault(f"{process}-{step}"))
    assert lists[0].counts() == {"a/train": 12}

    alone = Substitutes(tmp_path, 0, 1)  # after a kill, from the checkpoint of step 2
    alone.start(2)
    alone.add(2, fault("0-2", "b/train"))
    assert alone.counts() == {"a/train": 6, "b/train": 1}

    again = [Substitutes(tmp_path, process, 2) for process in range(2)]
    for found in again:
        found.start(1)
    assert again[0].counts() == {"a/train": 3}
    names = [path.name for path in tmp_path.iterdir()]
    assert sorted(names) == ["substitutes-1.jsonl", "substitutes-2.jsonl", "substitutes.jsonl"]


def test_a_row_says_what_was_wrong_where_and_what_took_its_place(tmp_path):
    found = Substitutes(tmp_path, 0, 1)
    returned = found.add(7, fault("cat"))
    assert returned == {
        "source": "a/train",
        "record": "cat",
        "what": "picture not found",
        "where": "cat.jpg",
        "instead": "other",
    }
    assert read_jsonl(tmp_path / "substitutes.jsonl") == [{"step": 7, **returned}]


def test_what_length_did_is_summed_up_over_restarts_and_processes(tmp_path):
    lists = [Shortened(tmp_path, process, 2) for process in range(2)]
    for process, found in enumerate(lists):
        found.start(0)
        for step in range(6):
            found.add(step, {("a", "too_long"): 2, ("b", "cut"): process})
            if step in (3, 5):  # a checkpoint after four steps, a line of the log after six
                found.flush()
    assert lists[0].counts() == {"a": {"too_long": 24}, "b": {"cut": 6}}
    assert len(read_jsonl(tmp_path / "shortened.jsonl")) == 2, "one row for each flush"

    alone = Shortened(tmp_path, 0, 1)  # after a kill, from the checkpoint of step 4
    alone.start(4)
    assert alone.counts() == {"a": {"too_long": 16}, "b": {"cut": 4}}
    alone.add(4, {("b", "left_out"): 1})
    alone.flush()
    assert alone.counts()["b"] == {"cut": 4, "left_out": 1}
