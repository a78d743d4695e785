"""The plugin of vLLM for exports of zv_jax: `register` is all that vLLM calls.

Here are the processing of prompts, the model and what guards them; no JAX, and nothing of zv_jax.
"""

from __future__ import annotations

MODEL = "zv_vllm.model:ZiyaVisual"


def register() -> None:
    """Makes vLLM serve both classes of our exports by one model of ours.

    vLLM calls it in each of its processes, maybe more than once. The model is named as a string,
    since importing it here would touch the accelerator before vLLM has chosen one.
    """
    from vllm import ModelRegistry

    for name in ("InstructBlipForConditionalGeneration", "Blip2ForConditionalGeneration"):
        ModelRegistry.register_model(name, MODEL)
