"""Two models against each other: winners, ties, and a judge that goes by the place."""

import json

import pytest
from judge_server import WORDS, Judge, write_bench

from zv_jax.cli import main as cli
from zv_jax.errors import ServerError
from zv_jax.evaluation import tables
from zv_jax.evaluation.judge.main import main


@pytest.fixture(params=["en", "zh"])
def duel(request, tmp_path):
    """A benchmark with six questions, answers of 3 to 8 words, and another model's, all of 5."""
    lang = request.param
    answers = write_bench(tmp_path / "bench", lang)
    join = " ".join if lang == "en" else "".join
    other = tmp_path / "other.jsonl"
    rows = [{"question_id": n, "text": join(WORDS[lang][:5])} for n in range(6)]
    other.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    server = Judge(lang)
    yield tmp_path / "bench", lang, answers, other, tmp_path / "out", server
    server.shutdown()
    server.server_close()


def rated(duel, **given):
    bench, lang, answers, other, out, server = duel
    settings = {"url": server.url, "model": "rule", "first_wait": 0.01, "progress": False}
    return main(bench, lang, answers, out, against=other, **(settings | given))


def values(results):
    return {entry["metric"]: entry["value"] for entry in results["scores"]}


def test_the_longer_answer_wins_in_both_orders(duel):
    results = rated(duel, names=("Base", "Chat"))
    # 3 and 4 words lose against 5, 5 is a tie, 6 to 8 win.
    assert results["outcomes"]["all"] == {"win": 3, "loss": 2, "tie": 1, "orders_disagree": 0}
    assert results["outcomes"]["complex"] == {"win": 1, "loss": 0, "tie": 1, "orders_disagree": 0}
    found = values(results)
    assert found["win"] == 50 and found["tie"] == pytest.approx(100 / 6, abs=1e-3)
    assert (found["rating"], found["rating_of_the_other"]) == (5.5, 5.0)
    assert (results["judged"], results["expected"], results["lang"]) == (6, 6, duel[1])
    assert all("judge=rule" in entry["protocol"] for entry in results["scores"])
    text = (duel[4] / "cases.md").read_text("utf-8")
    assert text.count("### ") == 6 and "Base before Chat: Base 5, Chat 3." in text
    assert "Chat before Base: Base 5, Chat 3." in text


def test_a_judge_that_prefers_the_first_place_makes_nobody_win(duel):
    server = duel[5]
    for number in range(5):
        server.faults[f"#{number}?"] = ["say:9 4", "say:9 4"]
    server.faults["#5?"] = ["say:7 7", "say:7 7"]
    results = rated(duel)
    assert results["outcomes"]["all"] == {"win": 0, "loss": 0, "tie": 1, "orders_disagree": 5}
    assert values(results)["rating"] == values(results)["rating_of_the_other"]


def test_a_tie_in_one_order_alone_is_a_disagreement(duel):
    duel[5].faults["#4?"] = ["say:6 6"]
    results = rated(duel, concurrency=1)
    assert results["outcomes"]["all"]["orders_disagree"] == 1
    assert results["outcomes"]["all"]["win"] == 2


def test_what_was_rated_in_one_order_only_is_in_no_number(duel):
    duel[5].faults["#0?"] = [400]
    with pytest.raises(ServerError, match="judged 5/6"):
        rated(duel)
    results = json.loads((duel[4] / "results.json").read_text())
    assert sum(results["outcomes"]["all"].values()) == 5 and "win@5" in values(results)
    assert results["failures"] == {"http:400": 1}
    again = rated(duel)
    # Only what is missing is asked; two equal answers make one request of both orders.
    assert again["judged"] == 6 and len(duel[5].requests) == 11 + 1


def test_table_8_has_both_models_beside_the_papers_ratings(duel):
    results = rated(duel)
    (table,) = tables.tables(results["scores"], (), False)
    assert (table["number"], table["ours"]) == (8, 2)
    said = tables.terminal([table], {})
    assert "Ziya-Visual-V1" in said and "the other model" in said
    *_, ours, other = table["rows"]
    first = 0 if duel[1] == "en" else 3
    assert [cell["value"] for cell in ours["cells"][first : first + 2]] == [5.5, 50.0]
    assert other["cells"][first + 1]["value"] == pytest.approx(100 / 3, abs=1e-3)
    assert "**the other model**" in tables.markdown([table], {})


def test_the_command_names_the_models_after_their_files(duel, capsys, monkeypatch):
    bench, lang, answers, other, out, server = duel
    monkeypatch.setenv("ZV_JUDGE_URL", server.url)
    monkeypatch.setenv("ZV_JUDGE_MODEL", "rule")
    words = ["eval", "judge", f"--bench={bench}", f"--lang={lang}", f"--answers={answers}"]
    assert cli.main([*words, f"--against={other}", f"--workdir={out}"]) == 0
    said = capsys.readouterr().out
    assert "orders disagree" in said and "both orders of 6 questions of 6" in said
    assert "**other**" in (out / "cases.md").read_text("utf-8")
    assert cli.main([*words, f"--against={other}", f"--workdir={out}", "--names=A"]) == 2
    assert "1 names" in capsys.readouterr().err
