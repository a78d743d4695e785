"""LLaVA-bench by a judge behind a real server, with everything that goes wrong on the way."""

import json
import time

import pytest
from judge_server import LINES, Judge, rule, write_bench

from zv_jax.cli import main as cli
from zv_jax.errors import ConfigError, DataError, ServerError
from zv_jax.evaluation.judge.main import main
from zv_jax.llm import ledger as ledger_lib
from zv_jax.llm.connection import retry_after
from zv_jax.llm.endpoint import endpoint_of

# References have 8 or 9 words, answers 3 to 8: conv 3, 6; detail 4, 7; complex 5, 8 of 8, 9.
EXPECTED = {"relative_conv": 52.9, "relative_detail": 64.7, "relative_complex": 76.5,
            "relative": 64.7, "relative_mean": 64.7}  # fmt: skip
QUICK = {"first_wait": 0.01, "longest_wait": 0.05, "timeout": 20}
SLOW_SERVER = ("hang", "drip")


@pytest.fixture
def bench(tmp_path):
    answers = write_bench(tmp_path / "bench", "en")
    return tmp_path / "bench", "en", answers, tmp_path / "out"


@pytest.fixture
def server():
    judge = Judge()
    yield judge
    judge.shutdown()
    judge.server_close()


def ask(bench, server, **given):
    settings = QUICK | {"url": server.url, "model": "rule", "key": "sk-secret", "tries": 4}
    return main(*bench, **(settings | {"progress": False} | given))


def values(results):
    return {entry["metric"]: entry["value"] for entry in results["scores"]}


def test_scores_are_ratios_of_means_by_category_pooled_and_averaged(bench, server):
    results = ask(bench, server)
    assert values(results) == pytest.approx(EXPECTED, abs=0.051)
    assert (results["judged"], results["expected"]) == (6, 6)
    for entry in results["scores"]:
        assert entry["interval"][0] <= entry["value"] <= entry["interval"][1]
        assert "judge=rule" in entry["protocol"] and "rule=zv_jax:" in entry["protocol"]
    first = server.requests[0]
    assert (first["temperature"], first["max_tokens"]) == (0.2, 1024)
    content = first["messages"][1]["content"]
    assert content.startswith("[Context]\na red ball lies\n")
    assert "ball: [0.1, 0.2, 0.3, 0.4]\n\n[Question]\n" in content
    assert all(h["Authorization"] == "Bearer sk-secret" for h in server.headers)


FAULTS = [500, 503, (429, "0"), (503, "nonsense"), "reset", "cut", "html", "no choice", "empty",
          "hang", "drip", "endless", "compressed", "deep", "surrogate"]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_one_fault_each_changes_nothing_but_the_number_of_requests(bench, server, fault):
    for number in (1, 4):
        server.faults[f"#{number}?"] = [fault]
    impatient = {"timeout": 1, "tries": 9} if fault in SLOW_SERVER else {}
    results = ask(bench, server, **impatient)
    assert values(results) == pytest.approx(EXPECTED, abs=0.051)
    assert (results["judged"], results["failures"]) == (6, {})
    # On a busy machine a good reply can come too late, too.
    assert len(server.requests) == 8 or (impatient and len(server.requests) > 8)


def test_retry_after_holds_back_every_request(bench, server):
    server.faults["#0?"] = [(429, "1")]
    started = time.monotonic()
    ask(bench, server, concurrency=1)
    assert time.monotonic() - started >= 1


def test_a_question_that_cannot_be_judged_is_left_out_loudly_and_asked_again_later(bench, server):
    server.faults["#2?"] = [500] * 4
    with pytest.raises(ServerError, match="judged 5/6"):
        ask(bench, server)
    results = json.loads((bench[3] / "results.json").read_text())
    assert results["failures"] == {"http:500": 1}
    assert results["failed"] == [{"id": "2", "swapped": False, "reason": "http:500"}]
    assert "relative@5" in values(results) and "relative_complex@1" in values(results)
    assert "relative_conv" in values(results)  # nothing of this category is missing
    assert len(server.requests) == 9
    assert values(ask(bench, server)) == pytest.approx(EXPECTED, abs=0.051)
    assert len(server.requests) == 10


def test_an_unreadable_reply_is_asked_three_times_and_then_never_averaged(bench, server):
    server.faults["#0?"] = ["say:I would rather not."] * 3
    server.faults["#1?"] = ["say:Both are fine."]
    with pytest.raises(ServerError, match="judged 5/6"):
        ask(bench, server)
    assert len(server.requests) == 6 + 2 + 1
    assert [r.get("seed") for r in server.requests if "#0?" in str(r)] == [None, 1, 2]
    results = json.loads((bench[3] / "results.json").read_text())
    assert results["failures"] == {"unreadable": 1}
    with pytest.raises(ServerError):
        ask(bench, server)
    assert len(server.requests) == 9  # the three readings are kept


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_or_model_stops_at_once_without_showing_the_key(bench, server, status):
    server.faults["[Question]"] = [status] * 99
    with pytest.raises(ServerError, match="refuses every request") as caught:
        ask(bench, server, concurrency=1)
    assert len(server.requests) == 1
    assert "sk-secret" not in str(caught.value)


def test_a_request_that_is_wrong_itself_is_not_repeated(bench, server):
    server.faults["#3?"] = [400]
    with pytest.raises(ServerError, match="judged 5/6"):
        ask(bench, server)
    assert len(server.requests) == 6


def test_the_swapped_order_is_turned_back(bench, server):
    results = ask(bench, server, swap=True)
    found = values(results)
    assert found["relative_swapped"] == found["relative_both"] == found["relative"]
    assert (results["judged"], results["expected"], results["same_winner"]) == (12, 12, 100)
    rows = [json.loads(line) for line in (bench[3] / "reviews.jsonl").read_text().splitlines()]
    assert [row["swapped"] for row in rows] == [False] * 6 + [True] * 6


def test_a_judge_that_prefers_the_first_place_is_found_out(bench, server):
    for number in range(6):
        server.faults[f"#{number}?"] = ["say:9 5"] * 2
    results = ask(bench, server, swap=True)
    assert results["same_winner"] == 0
    assert values(results)["relative_both"] == 100


def test_chinese_files_and_a_judge_that_replies_in_chinese(tmp_path):
    answers = write_bench(tmp_path / "bench", "zh")
    server = Judge("zh")
    results = ask((tmp_path / "bench", "zh", answers, tmp_path / "out"), server)
    server.shutdown()
    assert values(results) == pytest.approx(EXPECTED, abs=0.051)
    assert "助手" in server.requests[0]["messages"][1]["content"]


def test_a_rule_file_of_the_benchmark_goes_before_ours(bench, server):
    rules = {c: {"role": "Assistant", "prompt": f"rate {c}"} for c in ("conv", "detail", "complex")}
    (bench[0] / "rule.json").write_text(json.dumps(rules))
    results = ask(bench, server)
    assert "rule=rule.json:" in results["scores"][0]["protocol"]
    assert all("[System]\nrate " in r["messages"][1]["content"] for r in server.requests)


def test_offline_requests_out_and_replies_in_give_the_same_as_a_connection(bench, server, tmp_path):
    online = ask(bench, server)
    apart = (*bench[:3], tmp_path / "offline")
    out, back = tmp_path / "requests.jsonl", tmp_path / "replies.jsonl"
    main(*apart, model="rule", requests_out=str(out), progress=False)
    requests = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(requests) == 6 and requests[0]["url"] == "/v1/chat/completions"
    lines = []
    for entry in requests:
        text = LINES["en"].format(*rule(entry["body"]["messages"][1]["content"]))
        body = {"model": "rule-1", "choices": [{"message": {"content": text}}]}
        reply = {"custom_id": entry["custom_id"], "response": {"status_code": 200, "body": body}}
        lines.append(json.dumps(reply))
    failed = {"custom_id": requests[0]["custom_id"], "response": None, "error": {"code": "late"}}
    back.write_text("\n".join([json.dumps(failed), *lines[1:]]) + "\n")
    with pytest.raises(ServerError, match="judged 5/6"):
        main(*apart, model="rule", replies_in=[str(back)], progress=False)
    back.write_text(lines[0] + "\n")
    offline = main(*apart, model="rule", replies_in=[str(back)], progress=False)
    assert offline["scores"] == online["scores"]
    assert len(server.requests) == 6


def test_a_ledger_is_continued_after_a_torn_line(bench, server):
    ask(bench, server)
    file = bench[3] / "ledger.jsonl"
    data = file.read_bytes()
    file.write_bytes(data[:-30])
    assert values(ask(bench, server)) == pytest.approx(EXPECTED, abs=0.051)
    assert len(server.requests) == 7
    assert ledger_lib.read(file)[0].packs[""].answered == 6
    file.write_bytes(data.replace(b'"content":"', b'"content":"9 ', 1))
    with pytest.raises(DataError, match=r"the ledger was changed[\s\S]*ledger.jsonl line"):
        ask(bench, server)
    assert len(server.requests) == 7


def test_a_budget_counts_what_the_workdir_has_cost_before(bench, server):
    ask(bench, server, prices=(10.0, 30.0), max_dollars=1.0)
    spent = ledger_lib.read(bench[3] / "ledger.jsonl")[0].spent
    assert spent == pytest.approx(6 * (7 * 10 + 3 * 30) / 1e6)
    with pytest.raises(ConfigError, match=r"may cost .*, beside \$0.00 of before"):
        ask(bench, server, swap=True, prices=(10.0, 30.0), max_dollars=0.0001)
    assert len(server.requests) == 6


def test_requests_in_flight_and_per_minute_are_bounded(bench, server):
    server.pause = 0.2
    ask(bench, server, concurrency=2)
    assert server.busy == 2
    (bench[3] / "ledger.jsonl").unlink()
    started = time.monotonic()
    ask(bench, server, per_minute=600)
    assert time.monotonic() - started >= 0.5  # 6 requests, one in 0.1 s


def test_the_cost_is_known_before_the_first_request(bench, server, capsys):
    with pytest.raises(ConfigError, match=r"at most \$0\.2"):
        ask(bench, server, prices=(10.0, 30.0), max_dollars=0.01)
    assert not server.requests
    ask(bench, server, prices=(10.0, 30.0), max_dollars=1.0, progress=True)
    assert "6 requests, about" in capsys.readouterr().err


def test_answers_are_joined_by_id_and_missing_ones_are_counted(bench, server):
    lines = bench[2].read_text().splitlines()
    bench[2].write_text("\n".join(lines[:-1]))
    with pytest.raises(ServerError, match="judged 5/6"):
        ask(bench, server)
    assert json.loads((bench[3] / "results.json").read_text())["unanswered"] == 1
    bench[2].write_text("\n".join([*lines, lines[0]]))
    with pytest.raises(DataError, match=r"'5' comes twice[\s\S]*line 7"):
        ask(bench, server)


def test_the_command_fails_where_answers_are_not_judged(bench, server, monkeypatch, capsys):
    folder, lang, answers, out = map(str, bench)
    words = ["eval", "judge", f"--bench={folder}", f"--answers={answers}", f"--workdir={out}"]
    assert cli.main(words) == 2
    assert "ZV_JUDGE_URL" in capsys.readouterr().err
    monkeypatch.setenv("ZV_JUDGE_URL", server.url)
    monkeypatch.setenv("ZV_JUDGE_MODEL", "rule")
    server.faults["#3?"] = [400]
    assert cli.main(words) == 1
    shown = capsys.readouterr()
    assert "judged 5/6" in shown.err and "relative@5" in shown.out
    assert cli.main(words) == 0
    assert "judged 6/6" in capsys.readouterr().out


def test_what_the_header_may_hold():
    assert retry_after("2.5") == 2.5
    assert retry_after("99999") == 600
    assert retry_after("-1") == 0
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    for nothing in (None, "", "soon", "nan"):
        assert retry_after(nothing) is None


def test_an_endpoint_is_told_by_flags_before_the_environment(monkeypatch):
    monkeypatch.setenv("ZV_JUDGE_URL", "http://a/v1")
    monkeypatch.setenv("ZV_JUDGE_MODEL", "one")
    monkeypatch.setenv("ZV_JUDGE_KEY", "sk-secret")
    end = endpoint_of("ZV_JUDGE", model="two")
    assert (end.url, end.model, end.key) == ("http://a/v1", "two", "sk-secret")
    assert "sk-secret" not in repr(end)
    with pytest.raises(ConfigError, match="no address"):
        endpoint_of("ZV_JUDGE", url="localhost")


@pytest.mark.parametrize("status", [400, 401])
def test_a_server_that_repeats_the_key_does_not_get_it_shown(
    bench, server, status, monkeypatch, capsys
):
    folder, lang, answers, out = map(str, bench)
    monkeypatch.setenv("ZV_JUDGE_URL", server.url)
    monkeypatch.setenv("ZV_JUDGE_MODEL", "rule")
    monkeypatch.setenv("ZV_JUDGE_KEY", "sk-SECRET-123")
    for number in range(6):
        server.faults[f"#{number}?"] = [status]
    words = ["eval", "judge", f"--bench={folder}", f"--answers={answers}", f"--workdir={out}"]
    assert cli.main(words) != 0
    shown = capsys.readouterr()
    written = [path.read_text() for path in bench[3].rglob("*") if path.is_file()]
    assert "sk-SECRET" not in "".join([shown.out, shown.err, *written])
    assert "\x1b" not in shown.err
