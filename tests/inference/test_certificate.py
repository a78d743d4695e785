"""A certificate passes an untouched export and names the layer of each damage; no other library."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from damaged_exports import LAYER, PATCH, QUERY, certificate, change, export_chat, swapped, turned

from zv_jax.cli import main as cli


@pytest.fixture(scope="module")
def chat(tmp_path_factory) -> Path:
    """The folder that `export_chat` fills."""
    folder = tmp_path_factory.mktemp("chat")
    export_chat(folder)
    return folder


@pytest.fixture
def copy(chat, tmp_path, monkeypatch) -> Path:
    """A copy of it as the working folder."""
    for name in ("merged", "plain", "adapter"):
        shutil.copytree(chat / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def verify(chat: Path, *words: str, checkpoint: bool = True) -> int:
    given = [f"--checkpoint={chat / 'run'}"] if checkpoint else []
    return cli.main(["convert", "verify", *words, *given])


BESIDE = ("plain", "--adapter=adapter", "--against=ours")


def first(out: str) -> dict:
    """The first difference that the certificate of an export names."""
    return certificate(out)["sides"]["ours"]["first_difference"]


def test_an_untouched_export_passes_and_its_card_says_so(chat, copy, capsys):
    for _ in range(2):  # the second takes the place of the first
        assert verify(chat, *BESIDE) == 0
    shown = capsys.readouterr().out
    assert "certificate: passed" in shown
    found = certificate("plain")
    assert "adapter_model.safetensors" in found["adapter"]["files"]
    assert found["status"] == found["sides"]["ours"]["status"] == "passed"
    assert found["reference"]["name"] == "run" and found["dtype"] == "float32"
    counts = [(q["lang"], len(q["images"])) for q in found["questions"]]
    assert counts == [(lang, count) for lang in ("en", "zh") for count in (0, 1, 3)]
    compared = {(line["tower"], line["what"]) for line in found["sides"]["ours"]["compared"]}
    towers = ("image encoder", "Q-Former", "projection", "language model")
    assert compared >= {(tower, what) for tower in towers for what in ("weights", "features")}
    assert {what for tower, what in compared if tower == "answers"} == {
        "greedy tokens", "log-probabilities",
    }  # fmt: skip
    card = Path("plain/README.md").read_text("utf-8")
    assert card.count("zv_jax 0") >= 2 and card.count("`certificate.json`") == 2
    assert card.count("passed") == card.count("通过") == 1


@pytest.mark.slow
def test_merged_adapters_pass(chat, copy):
    assert verify(chat, "merged", "--against=ours") == 0
    assert certificate("merged")["adapter"] is None


@pytest.mark.parametrize("half", "AB")
def test_two_rows_of_an_adapter_matrix_swapped(chat, copy, half, capsys):
    change(copy / "adapter", f"{QUERY}.lora_{half}.weight", swapped)
    assert verify(chat, *BESIDE) == 1
    assert first("plain")["layer"] == LAYER
    assert first("plain")["tensor"].endswith(f"layers.1.self_attn.q_proj.lora_{half}.weight")
    assert f"first layer that differs: {LAYER}, tensor" in capsys.readouterr().out
    card = Path("plain/README.md").read_text("utf-8")
    assert f"DIFFERENT from `{LAYER}` on" in card and f"自 `{LAYER}` 起不一致" in card


def test_an_adapter_of_one_layer_dropped(chat, copy):
    for half in "AB":
        change(copy / "adapter", f"{QUERY}.lora_{half}.weight", lambda _: None)
    assert verify(chat, *BESIDE) == 1
    assert first("plain")["layer"] == LAYER
    assert "self_attn.q_proj.lora_" in first("plain")["tensor"]


@pytest.mark.slow
def test_an_export_without_its_adapters(chat, copy):
    """They begin in the first layer of the image encoder."""
    assert verify(chat, "plain", "--against=ours") == 1
    assert first("plain")["layer"] == "vision_model.encoder.layers.0"


def test_a_patch_kernel_transposed(chat, copy):
    change(copy / "plain", PATCH, turned)
    assert verify(chat, *BESIDE) == 1
    assert first("plain")["layer"] == "vision_model.embeddings"
    assert first("plain")["tensor"] == PATCH
    lines = certificate("plain")["sides"]["ours"]["compared"]
    features = [line for line in lines if line["what"] == "features" and not line["agrees"]]
    assert features[0]["layer"] == "vision_model.embeddings"  # by what it computes, too


def test_one_bit_of_a_weight_that_changes_no_answer(chat, copy):
    name = f"{LAYER}.mlp.down_proj.weight"
    change(copy / "plain", name, lambda x: np.nextafter(x, np.where(x == x.max(), 9, x)))
    assert verify(chat, *BESIDE) == 1
    assert first("plain")["tensor"] == name and first("plain")["difference"] <= 1
    lines = certificate("plain")["sides"]["ours"]["compared"]
    assert [line["what"] for line in lines if not line["agrees"]] == ["weights"]


def test_a_side_that_cannot_run_is_not_passed(chat, copy, tmp_path, capsys):
    words = [*BESIDE[:2], "--against=transformers,ours", f"--transformers_python={tmp_path}/python"]
    assert verify(chat, *words) == 3
    found = certificate("plain")
    assert found["status"] == "not run" and found["sides"]["ours"]["status"] == "passed"
    assert "cannot be started" in found["sides"]["transformers"]["reason"]
    assert "transformers not run" in Path("plain/README.md").read_text("utf-8")
    out, err = capsys.readouterr()
    assert "certificate: not run" in out and "could not be run" in err
    # Nothing to compare with is no pass either.
    assert verify(chat, *BESIDE, checkpoint=False) == 3
    assert "give the checkpoint" in certificate("plain")["sides"]["ours"]["reason"]


@pytest.mark.parametrize(
    "words, says",
    [
        (["merged", "--against=torch"], "unknown side 'torch'"),
        (["merged", "plain", "--against=ours"], "needs one path, not 2"),
        (["merged", "--against=ours", "--tolerance=0.1"], "leave --tolerance out"),
        (["merged", "plain", f"--vllm_python={sys.executable}"], "--vllm_python without --against"),
        (["adapter", "--against=ours"], "there is no config.json"),
    ],
)
def test_wrong_flags_are_one_message(copy, words, says, capsys):
    assert cli.main(["convert", "verify", *words]) == 2
    assert says in capsys.readouterr().err
