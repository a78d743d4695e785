"""Adapters on their way to PEFT; `tests/parity/test_peft.py` lets PEFT itself read them."""

import json

import numpy as np
import pytest

from zv_jax.convert import own_checkpoint, peft
from zv_jax.convert.sources import open_file
from zv_jax.errors import ConversionError


def test_what_peft_computes_is_what_we_compute(tmp_path, workdir):
    """PEFT adds B A x, times lora_alpha / r; we add (x A B), times alpha / rank."""
    model = own_checkpoint.open_checkpoint(workdir("stage2"))
    lora = model.config.model.lora
    peft.to_peft(model, tmp_path / "out")
    told = json.loads((tmp_path / "out/adapter_config.json").read_text())
    source = open_file(tmp_path / "out/adapter_model.safetensors")
    module = "base_model.model.language_model.model.layers.1.self_attn.q_proj"
    a, b = (source.read(f"{module}.lora_{part}.weight") for part in "AB")
    assert told["r"] == len(a) == b.shape[1] and told["use_rslora"] is False
    paths = model.adapters["params/llm/layers/attn/q/kernel"]
    mine = model.read({path: model.specs[path] for path in paths})
    ours_a, ours_b = (np.asarray(mine[path])[1] for path in paths)
    np.testing.assert_allclose(
        told["lora_alpha"] / told["r"] * (b @ a).T,
        lora.alpha / lora.rank * (ours_a @ ours_b),
        rtol=1e-5,
    )


@pytest.fixture
def changed(tmp_path, workdir):
    """`changed(lora_dropout=None)`: an adapter of ours whose configuration says so; a base."""

    def make(**changes):
        base = own_checkpoint.open_checkpoint(workdir("stage2"))
        peft.to_peft(base, tmp_path / "adapter")
        file = tmp_path / "adapter/adapter_config.json"
        raw = json.loads(file.read_text()) | changes
        told = {name: value for name, value in raw.items() if value != "left out"}
        file.write_text(json.dumps(told))
        return tmp_path / "adapter", own_checkpoint.open_checkpoint(workdir("stage1"))

    return make


@pytest.mark.slow
def test_an_adapter_without_dropout_has_none(changed, tmp_path):
    """As PEFT reads it: null is 0."""
    adapter, base = changed(lora_dropout=None)
    assert peft.from_peft(adapter, base, tmp_path / "again") > 0
    assert own_checkpoint.open_checkpoint(tmp_path / "again").config.model.lora.dropout == 0.0


@pytest.mark.parametrize(
    "changes, says",
    [({"peft_type": "left out"}, "peft_type"), ({"lora_dropout": "0.1"}, "lora_dropout")],
)
def test_an_adapter_that_does_not_say_what_it_is_is_refused(changed, tmp_path, changes, says):
    with pytest.raises(ConversionError, match=f"{says} is"):
        peft.from_peft(*changed(**changes), tmp_path / "again")
    assert not (tmp_path / "again").exists()
