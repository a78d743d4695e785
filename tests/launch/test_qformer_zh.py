"""A Q-Former of English words learns Chinese: the script, and stage 0 from what it makes."""

import shlex
import subprocess
from pathlib import Path

import pytest
import toy_run

from zv_jax.cli import main as cli
from zv_jax.config import recipe
from zv_jax.data.pipeline import census
from zv_jax.data.text import vocabulary
from zv_jax.errors import CheckpointError

SCRIPT = Path(__file__).resolve().parents[2] / "launch" / "qformer_zh.sh"
ENGLISH = "[PAD] [UNK] [CLS] [SEP] a red blue green black pink square number ? , what colour is"
DIGITS = " ".join([*"0123456789", *(f"##{n}" for n in range(10))])


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with pairs in both languages and the vocabulary of an English BERT."""
    pytest.importorskip("tokenizers")  # reads vocabularies of BERT
    toy_run.write_corpus(tmp_path / "corpus")
    (tmp_path / "vocab.txt").write_text("\n".join(f"{ENGLISH} {DIGITS}".split()) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def script(here: Path, *words: str) -> tuple[subprocess.CompletedProcess, list[list[str]]]:
    """What the script says, and the commands it runs."""
    (here / "bin").mkdir(exist_ok=True)
    (here / "bin" / "zv").write_text('#!/bin/bash\nprintf "%q " "$@" >>calls\necho >>calls\n')
    (here / "bin" / "zv").chmod(0o755)
    (here / "calls").write_text("")
    path = {"PATH": f"{here / 'bin'}:/usr/bin:/bin"}
    done = subprocess.run(
        ["bash", str(SCRIPT), *words], env=path, cwd=here, capture_output=True, text=True
    )
    return done, [shlex.split(line) for line in (here / "calls").read_text().splitlines()]


def stage0(here: Path, vocabulary: str, rows: int, **more):
    words = {"kind": "bert", "path": vocabulary}
    return toy_run.toy_config(
        here / "corpus",
        "stage0",
        data={"qformer_tokenizer": words},
        model={
            "llm": {"vocab_size": 1024},
            "qformer": {"vocab_size": rows},
            "image_token_id": 1023,
        },
        train={"steps": 1},
        **more,
    )


def unknown(config) -> dict[str, float]:
    (counted,) = census.take(config, vocabulary.load_tokenizers(config))
    return counted.unknown["qformer"]


@pytest.mark.slow
def test_stage_0_goes_on_in_chinese_from_a_checkpoint_that_knew_none(here):
    english = stage0(here, "vocab.txt", 48)
    assert unknown(english)["zh"] > 0.5, "nothing to tell Chinese captions apart by"
    toy_run.train(english, here / "weights" / "bert")

    done, calls = script(here, "vocab.txt", "weights/bert", "weights/bert_zh")
    assert done.returncode == 0, done.stderr
    for call in calls:
        assert cli.main(call) == 0
    rows = len((here / "weights/qformer_tokenizer/vocab.txt").read_text("utf-8").splitlines())
    assert rows > 8_836, "all of GB 2312 and the frequent characters of Big5"

    start = {"init_from": ("weights/bert_zh",)}
    bilingual = stage0(here, "weights/qformer_tokenizer", rows, **start)
    assert unknown(bilingual) == {"en": 0.0, "zh": 0.0}
    toy_run.train(bilingual, here / "runs" / "stage0")
    ungrown = stage0(here, "weights/qformer_tokenizer", rows, init_from=("weights/bert",))
    with pytest.raises(CheckpointError, match="zv tokenizer grow .* --qformer_tokenizer=DIR"):
        toy_run.train(ungrown, here / "runs" / "refused")


def test_the_vocabulary_is_made_once_for_several_checkpoints(here):
    (here / "weights" / "qformer_tokenizer").mkdir(parents=True)
    (here / "weights" / "qformer_tokenizer" / "vocab.txt").write_text("[PAD]\n")
    done, calls = script(here, "vocab.txt", "weights/blip2", "weights/blip2_zh")
    assert [call[:2] for call in calls] == [["tokenizer", "grow"]], done.stdout
    done, calls = script(here, "vocab.txt")
    assert (done.returncode, calls) == (2, []) and "fix: launch/qformer_zh.sh" in done.stderr


def test_the_recipe_names_the_commands_of_the_script():
    from zv_jax.configs import common, stage0

    assert "launch/qformer_zh.sh" in stage0.__doc__ and "launch/qformer_zh.sh" in common.__doc__
    for command in ("zv tokenizer union", "zv tokenizer grow"):
        assert command in stage0.__doc__ and command in SCRIPT.read_text()
    assert recipe("tiny_chat").data.max_text == 32, "what models of others keep"
