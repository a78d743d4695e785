"""Adapters on their way to PEFT; `tests/parity/test_peft.py` lets PEFT itself read them."""

import json

import numpy as np

from zv_jax.convert import ours, peft
from zv_jax.convert.sources import open_file


def test_what_peft_computes_is_what_we_compute(tmp_path, workdir):
    """PEFT adds B A x, times lora_alpha / r; we add (x A B), times alpha / rank."""
    model = ours.open_checkpoint(workdir("stage2"))
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
