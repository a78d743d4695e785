"""The page of samples and the commands around data sets, as a person runs them."""

import html
import json
import re
from pathlib import Path

import pytest
from random_runs import random_run

from tests.data.readers import layouts
from zv_jax.cli import main as cli
from zv_jax.data.public import catalogue_page
from zv_jax.data.records import record as R

ROOT = Path(__file__).resolve().parents[3]


def run(capsys, *arguments):
    code = cli.main(["data", *map(str, arguments)])
    return code, *capsys.readouterr()


def test_peek_shows_tokens_of_text_and_answer_with_their_ids(toy, tmp_path, capsys):
    out = tmp_path / "peek.html"
    code, shown, err = run(capsys, "peek", toy, "--stage=stage1", "--n=40", f"--out={out}")
    assert code == 0, err
    assert "40 samples" in shown
    page = out.read_text(encoding="utf-8")
    assert page.count("<section>") == 40 and page.count("<img ") == 40
    sections = page.split("<section>")[1:]
    for section in sections:
        learned = re.search(r"学习内容</b> (.*?)</p>", section)[1]
        record = R.loads(html.unescape(re.search(r"<pre>(.*?)</pre>", section, re.S)[1]))
        answers = {t.text for t in record.turns if t.role == "assistant"} | {
            *(record.answers or ())
        }
        if record.task == "ref_ground":
            answers = {"[0.125,0.250,0.500,1.000]"}
        assert html.unescape(learned).strip() in answers
        assert "image 图片 × 4" in section and 'class="learned"' in section
    assert re.search(r"caption/(en|zh)/\d+", page), "the template is named"


@pytest.mark.parametrize("stage", ["stage0", "language"])
def test_peek_at_the_other_stages(toy, tmp_path, capsys, stage):
    out = tmp_path / "peek.html"
    code, _, err = run(capsys, "peek", toy, f"--stage={stage}", "--n=3", f"--out={out}")
    assert code == 0, err
    assert out.read_text(encoding="utf-8").count("<section>") == 3


def test_peek_escapes_what_the_data_says(toy, tmp_path, capsys):
    rows = [json.loads(line) for line in toy.open(encoding="utf-8")][:1]
    rows[0]["id"] = "<script>alert(1)</script>"
    rows[0]["answers"] = ["<b>bold</b>"]
    layouts.lines(toy, rows)
    out = tmp_path / "peek.html"
    assert run(capsys, "peek", toy, "--n=1", f"--out={out}")[0] == 0
    page = out.read_text(encoding="utf-8")
    assert "<script>" not in page and "<b>bold" not in page and "&lt;script&gt;" in page


def test_from_public_files_to_records_to_shards_to_a_page(tmp_path, capsys):
    root = tmp_path / "coco"
    layouts.coco_caption(root)
    for name in ("train2014/COCO_train2014_000000000009", "val2014/COCO_val2014_000000000042"):
        layouts.one_image(root / f"{name}.jpg", "green")
    out = tmp_path / "coco.jsonl"
    code, shown, err = run(capsys, "convert", "coco_caption", f"--root={root}", f"--out={out}")
    assert code == 0 and "2 records" in shown and "no --guard" in err
    assert run(capsys, "validate", out, f"--image_root={root}", "--decode")[0] == 0
    shards = tmp_path / "shards"
    code, shown, err = run(
        capsys, "prepare", "coco_caption", f"--root={root}", f"--out={shards}", "--image_size=32"
    )
    assert code == 0 and "2 records, 2 pictures" in shown, err
    page = tmp_path / "page.html"
    assert run(capsys, "peek", shards, "--n=2", f"--out={page}")[0] == 0
    assert run(capsys, "peek", "coco_caption", f"--root={root}", f"--out={page}", "--n=2")[0] == 0
    code, shown, _ = run(capsys, "stats", "coco_caption", f"--root={root}")
    assert code == 0 and "113,285 less than published" in shown


def test_guard_lists_are_made_and_obeyed(tmp_path, capsys):
    layouts.vqav2(tmp_path / "okvqa", prefix="")
    layouts.coco_caption(tmp_path / "coco")
    guard = tmp_path / "guard"
    code, shown, _ = run(capsys, "guard", f"okvqa={tmp_path / 'okvqa'}", f"--out={guard}")
    assert code == 0 and "okvqa/val" in shown
    command = ["convert", "coco_caption", f"--root={tmp_path / 'coco'}", f"--guard={guard}"]
    code, _, err = run(capsys, *command, f"--out={tmp_path / 'x.jsonl'}")
    assert code == 2 and "no record" in err, "both pictures are OKVQA's"
    assert not list(tmp_path.glob("*x.jsonl*")), "nothing half-written"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["convert"], "needs one name"),
        (["convert", "coco_captions", "--root=x"], "did you mean 'coco_caption'"),
        (["convert", "gqa"], "--root is missing"),
        (["convert", "gqa", "--root=nowhere", "--out=x.jsonl"], "annotation file not found"),
        (["convert", "csv", "--root=x", "--columns=image"], "'image' is no NAME=VALUE"),
        (["guard"], "needs copies of evaluation sets"),
        (["guard", "okvqa", "--out=x"], "'okvqa' is no NAME=VALUE"),
        (["prepare", "gqa", "--root=x", "--image_size=-1"], "image_size"),
        (["convert", "vqav2", "--root=x", "--split=val", "--out=x"], "must not be learned"),
        (["stats", "gqa"], "--root is missing"),
        (["list", "nothing"], "unknown data set 'nothing'"),
    ],
)
def test_wrong_commands_are_explained(arguments, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, *arguments)
    assert code == 2 and says in err
    assert not list(tmp_path.iterdir())


def test_the_list_and_the_cards_in_both_languages(capsys):
    code, shown, _ = run(capsys, "list")
    assert code == 0 and "refcocog" in shown
    assert "113,287" in run(capsys, "list", "coco_caption")[1]
    assert "获取方式" in run(capsys, "list", "coco_caption", "--lang=zh")[1]


@pytest.mark.parametrize(
    ("lang", "path"), [("en", "docs/datasets.md"), ("zh", "docs/zh/datasets.md")]
)
def test_the_page_of_all_data_sets_is_up_to_date(lang, path):
    made = (ROOT / path).read_text(encoding="utf-8")
    assert made == catalogue_page.page(lang), f"zv data list --markdown --lang={lang} > {path}"


def test_peek_with_a_checkpoint_shows_what_that_model_gets(toy, tmp_path, capsys, tokenizer):
    run_of = random_run(tmp_path / "run", tokenizer, "stage2", "chat")
    out = tmp_path / "peek.html"
    rows = [json.loads(line) for line in toy.open(encoding="utf-8")][:1]
    rows[0] |= {"task": "vqa", "lang": "zh", "answers": ["鑫。"]}
    rows[0]["turns"] = [{"role": "user", "text": "<image>鑫？"}]
    layouts.lines(toy, rows)
    arguments = ["peek", toy, f"--checkpoint={run_of}", "--n=1", f"--out={out}"]
    code, shown, err = run(capsys, *arguments)
    assert code == 0, err
    page = html.unescape(out.read_text(encoding="utf-8"))
    assert "<0xE9><i>" in page.replace("&lt;", "<"), "what the vocabulary lacks falls into bytes"
    assert "single bytes of a character" in shown and "[UNK] 0.0%" in shown
    assert " 0.0%" not in shown.split("字节")[1].splitlines()[0]
    assert "image 图片 × 4" in page and "1 samples of stage2" in page
    assert run(capsys, *arguments, "--stage=stage1")[0] == 0
    assert "of stage1" in out.read_text(encoding="utf-8")
    code, _, err = run(capsys, *arguments, "--config=configs/quickstart.py:stage2_chat")
    assert code == 2 and "both --checkpoint and --config" in err
