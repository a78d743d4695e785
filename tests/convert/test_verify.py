"""`verify` says yes to the same model in another form, and no to one changed number."""

import re

import numpy as np
import pytest

from zv_jax.cli import main as cli
from zv_jax.errors import ConversionError
from zv_jax.inference import verify


@pytest.fixture(scope="module")
def forms(workdir, tmp_path_factory):
    """A random Base as a workdir, exported, and imported again; made by the commands."""
    folder = tmp_path_factory.mktemp("forms")
    run, out, back = workdir("stage1", "base"), folder / "out", folder / "back"
    assert cli.main(["convert", "to-hf", str(run), str(out), "--max-shard-size=100KB"]) == 0
    assert cli.main(["convert", "from-hf", str(out), str(back)]) == 0
    return run, out, back


def test_the_same_model_in_two_forms(forms, capsys):
    run, out, _ = forms
    assert cli.main(["convert", "verify", str(run), str(out)]) == 0
    shown = capsys.readouterr().out
    for line in ("image encoder", "Q-Former", "projection", "language model", "images to logits"):
        assert line in shown
    assert "greedy tokens (32 a row): equal" in shown and "texts: equal" in shown


def test_one_changed_tensor_is_found_in_its_tower(forms, tmp_path, capsys):
    from safetensors.numpy import load_file, save_file

    _, out, back = forms
    changed = tmp_path / "changed"
    changed.mkdir()
    for file in out.iterdir():
        if file.is_file():
            (changed / file.name).write_bytes(file.read_bytes())
    for file in changed.glob("*.safetensors"):
        part = load_file(file)
        name = "language_projection.weight"
        if name in part:
            part[name] = part[name] + np.float32(0.01)
            save_file(part, file, {"format": "pt"})
    assert cli.main(["convert", "verify", str(back), str(changed)]) == 1
    shown = capsys.readouterr().err
    assert "the two models differ" in shown
    rows = dict(re.findall(r"^(.*?)  +(\d\.\d\de[+-]\d\d) ", shown, re.MULTILINE))
    assert rows["Q-Former"] == rows["language model"] == "0.00e+00"
    assert float(rows["projection"]) > 1e-3 and float(rows["all, images to logits"]) > 1e-3


def test_stage0_is_compared_by_its_embeddings(workdir):
    found = verify.compare(workdir("stage0"), workdir("stage0"))
    assert found.same_tokens is None and found.agrees(0.0)
    names = [row.name for row in found.rows]
    assert "image-text matching" in names and "Q-Former, text half" in names
    assert all(row.largest > 0.01 for row in found.rows)


@pytest.mark.slow
def test_models_of_another_shape_are_not_compared(workdir):
    with pytest.raises(ConversionError, match="not of one shape"):
        verify.compare(workdir("stage1", "base"), workdir("stage0"))


@pytest.mark.parametrize(
    "words, says",
    [
        (["from-hf", "a"], "needs two paths"),
        (["from-hf", "nowhere", "x"], "there is no config.json"),
        (["to-hf", "nowhere", "x"], "no checkpoint here"),
        (["to-hf", "nowhere", "x", "--dtype=int4"], "unknown dtype 'int4'"),
        (["from-hg", "a", "b"], "did you mean 'from-hf'?"),
    ],
)
def test_wrong_commands_are_one_message(words, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["convert", *words]) == 2
    shown = capsys.readouterr().err
    assert says in shown and "Traceback" not in shown
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_adapters_and_the_export_they_are_merged_into(workdir, tmp_path, capsys):
    run, out = workdir("stage2", "chat"), tmp_path / "out"
    assert cli.main(["convert", "to-hf", str(run), str(out), "--merge-lora"]) == 0
    assert cli.main(["convert", "verify", str(run), str(out)]) == 0
    assert "greedy tokens (32 a row): equal" in capsys.readouterr().out
