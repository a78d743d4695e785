"""A certificate of transformers: an untouched export passes, each damage is found in its layer."""

import shutil
import sys
from pathlib import Path

import pytest
from damaged_exports import LAYER, PATCH, QUERY, certificate, change, export_chat, swapped, turned

from zv_jax.cli import main as cli

pytestmark = pytest.mark.parity
pytest.importorskip("torch")
pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def chat(tmp_path_factory) -> Path:
    """The folder that `export_chat` fills."""
    folder = tmp_path_factory.mktemp("chat")
    export_chat(folder)
    return folder


@pytest.fixture
def copy(chat, tmp_path, monkeypatch) -> Path:
    """A copy of it as the working folder."""
    shutil.copytree(chat, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def verify(*words: str) -> int:
    flags = ["--against=transformers", f"--transformers_python={sys.executable}"]
    return cli.main(["convert", "verify", *words, *flags, "--checkpoint=run"])


def first(out: str) -> dict:
    """The first difference that the certificate of an export names."""
    return certificate(out)["sides"]["transformers"]["first_difference"]


def test_an_untouched_export(copy):
    assert verify("merged") == 0
    side = certificate("merged")["sides"]["transformers"]
    compared = {line["layer"] for line in side["compared"] if line["what"] == "features"}
    assert {"vision_model.embeddings", "qformer.encoder.layer.1", LAYER} <= compared
    assert side["versions"].keys() >= {"torch", "transformers"} and side["ties"] == 0
    largest = max(line["difference"] for line in side["compared"])
    assert 0 < largest < 5e-5  # two programs, and not one with itself


def test_an_adapter_beside_its_base_and_two_rows_of_it_swapped(copy):
    pytest.importorskip("peft")
    assert verify("plain", "--adapter=adapter") == 0
    change(copy / "adapter", f"{QUERY}.lora_B.weight", swapped)
    assert verify("plain", "--adapter=adapter") == 1
    assert first("plain")["layer"] == LAYER and first("plain")["what"] == "features"


def test_an_adapter_of_one_layer_dropped(copy):
    pytest.importorskip("peft")
    for half in "AB":
        change(copy / "adapter", f"{QUERY}.lora_{half}.weight", lambda _: None)
    assert verify("plain", "--adapter=adapter") == 1
    assert first("plain")["layer"] == LAYER


def test_a_patch_kernel_transposed(copy):
    change(copy / "merged", PATCH, turned)
    assert verify("merged") == 1
    assert first("merged")["layer"] == "vision_model.embeddings"


def test_pixels_prepared_in_another_way(copy):
    path = Path("merged/processor_config.json")
    path.write_text(path.read_text("utf-8").replace("0.48145466", "0.5"), "utf-8")
    assert verify("merged") == 1
    assert first("merged")["layer"] == "pixels"
