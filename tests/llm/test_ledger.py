"""The ledger as a file."""

import hashlib
import json

import pytest

from zv_jax.cli import main as cli
from zv_jax.errors import DataError
from zv_jax.llm import ledger as ledger_lib
from zv_jax.llm.ledger import Ledger
from zv_jax.llm.offsets import Offsets
from zv_jax.llm.prices import Prices, about, counted


def key_of(number):
    return hashlib.sha256(str(number).encode()).hexdigest()


def answer(number, text="yes", pack="p"):
    raw = {"choices": [{"message": {"content": text}, "finish_reason": "stop"}],
           "usage": {"prompt_tokens": 10, "completion_tokens": 2}}  # fmt: skip
    return {"kind": "answered", "key": key_of(number), "pack": pack, "usd": 0.5, "raw": raw}


def test_replies_are_found_again_after_opening(tmp_path):
    with Ledger(tmp_path / "a" / "ledger.jsonl", "x") as ledger:
        ledger.add([answer(n, f"answer {n} 图" * n) for n in range(1, 2000)])
        ledger.add([answer(5, "another")])  # the first one stays
    with Ledger(tmp_path / "a" / "ledger.jsonl", "x") as ledger:
        assert len(ledger) == 1999 and ledger.get(key_of(0)) is None
        for n in (1, 5, 1999):
            assert ledger.get(key_of(n)).text == f"answer {n} 图" * n
    assert not list((tmp_path / "a").glob(".*"))


@pytest.mark.parametrize("torn", [1, 30, 200])
def test_a_torn_last_line_is_cut_off(tmp_path, torn):
    path = tmp_path / "ledger.jsonl"
    with Ledger(path, "x") as ledger:
        ledger.add([answer(1), answer(2)])
    path.write_bytes(path.read_bytes()[:-torn])
    assert ledger_lib.read(path)[0].packs["p"].answered == 1
    with Ledger(path, "x") as ledger:
        assert ledger.get(key_of(1)) and not ledger.get(key_of(2))
        ledger.add([answer(2)])
    assert ledger_lib.read(path)[0].packs["p"].answered == 2


@pytest.mark.parametrize("content", [b"{}\n", b"notes of mine", b'{"key": "a"}\n', b"\n\n"])
def test_another_file_is_refused_and_not_touched(tmp_path, content):
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match="this is no ledger"):
        Ledger(path, "x")
    assert path.read_bytes() == content


def test_the_receipt_on_the_command_line(tmp_path, capsys):
    with Ledger(tmp_path / "ledger.jsonl", "x") as ledger:
        ledger.add([answer(1), answer(2, pack=""), answer(4, pack="detail@1:" + "5" * 40)])
        ledger.add([{"kind": "asked", "key": key_of(3), "pack": "p", "most": 0.25}])
    assert cli.main(["bmmic", "receipt", str(tmp_path), str(tmp_path / "ledger.jsonl")]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["(none)", "2", "0", "20", "0", "4", "1.000000", "0", "0.000000", "0"] in rows
    assert "detail@1:555555555555" in [row[0] for row in rows if row], "a name and its hash"
    assert ["all", "6", "0", "60", "0", "12", "3.000000", "2", "0.500000", "0"] in rows
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"usd":0.5', b'"usd":0.4', 1))
    assert cli.main(["bmmic", "receipt", str(tmp_path)]) == 2
    assert "ledger.jsonl line 2" in capsys.readouterr().err
    for words in ([], ["--x"], [str(tmp_path / "none")]):
        assert cli.main(["bmmic", "receipt", *words]) == 2
        assert capsys.readouterr().err.startswith("zv: ")


def test_the_receipt_of_a_folder_is_that_of_all_parts(tmp_path, capsys):
    for part in range(3):
        with Ledger(tmp_path / f"ledger-{part}-of-3.jsonl", "x") as ledger:
            ledger.add([answer(part)])
    assert cli.main(["bmmic", "receipt", str(tmp_path)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["all", "3"] in [row[:2] for row in rows]
    assert sum("unchanged" in row for row in rows) == 3


def test_offsets_of_many_keys():
    offsets = Offsets()
    for n in range(5000):
        offsets.add(key_of(n), n * 100)
    assert all(n * 100 in offsets.candidates(key_of(n)) for n in range(5000))
    assert not list(offsets.candidates(key_of(5000))) and len(offsets) == 5000
    clash = key_of(1)[:16] + "0" * 48
    offsets.add(clash, 7)
    assert sorted(offsets.candidates(clash)) == [7, 100]


def test_prices():
    usage = {"prompt_tokens": 1000, "completion_tokens": 100,
             "prompt_tokens_details": {"cached_tokens": 400}}  # fmt: skip
    assert Prices(2.5, 10).of(usage) == pytest.approx((2500 + 1000) / 1e6)
    assert Prices(2.5, 10, cached=1).of(usage) == pytest.approx((1500 + 400 + 1000) / 1e6)
    assert Prices(2.5, 10).of(usage, share=0.5) == pytest.approx(3500 / 2e6)
    assert counted({"prompt_tokens": "many", "prompt_tokens_details": 3}).given == 0
    assert counted("many") == counted([5]) == counted(None) == counted({})
    for none in (10**400, 2**63, -1, True, float("nan")):
        assert Prices(2.5, 10).of({"prompt_tokens": none, "completion_tokens": none}) == 0
    assert about("图里有什么?") == 6 and about("what is there") == 4


@pytest.mark.parametrize(
    "entry",
    [
        {"kind": "answered", "key": "a", "usd": 0.1, "raw": {"choices": []}},
        {"kind": "answered", "key": "a", "usd": float("inf"), "raw": {}},
        {"kind": "asked", "key": ["a"], "most": 1},
        {"kind": "lost", "key": "a", "most": "much"},
        {"kind": ["lost"]},
        {"kind": "lost", "key": "a", "most": 1, "pack": {}},
    ],
)
def test_a_chain_that_is_right_and_an_entry_that_is_not_is_one_error(tmp_path, entry):
    path = tmp_path / "ledger.jsonl"
    with Ledger(path, "judge") as ledger:
        head = ledger.head
    body = json.dumps(entry, separators=(",", ":")).encode()
    chain = hashlib.sha256(head.encode() + body).hexdigest()
    with path.open("ab") as file:
        file.write(body[:-1] + b',"chain":"' + chain.encode() + b'"}\n')
    with pytest.raises(DataError, match=r"ledger\.jsonl line 2"):
        Ledger(path, "judge")
