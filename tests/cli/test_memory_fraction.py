"""`--memory_fraction` is refused where it would have no effect."""

from zv_jax.cli import main as cli


def test_a_share_of_a_gpu_is_refused_without_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    words = ["--config=configs/quickstart.py:vision", f"--workdir={tmp_path / 'run'}"]
    assert cli.main(["train", *words, "--memory_fraction=0.9"]) == 2
    message = capsys.readouterr().err
    assert "--memory_fraction" in message and "no GPU" in message
    assert not (tmp_path / "run").exists()
