"""An export in vLLM with the plugin zv-vllm: python run_vllm.py FOLDER

A program of its own: it runs in an environment of vLLM, without zv_jax. FOLDER has what
`elsewhere.ask` writes, and gets found.npz and about.json. Exit code 3: a package is missing.
"""

import json
import os
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

MISSING = 3
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM makes room for


def main(folder: Path) -> None:
    asked = json.loads((folder / "request.json").read_text("utf-8"))
    os.environ |= {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # an error of the engine ends this process
        "VLLM_PLUGINS": "zv",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")  # GiB
    try:
        import vllm
        import zv_vllm  # noqa: F401  vLLM alone would serve another model in silence
    except ImportError as error:
        print(error, file=sys.stderr)
        sys.exit(MISSING)
    found = measured(asked, np.load(folder / "images.npy"))
    np.savez(folder / "found.npz", allow_pickle=False, **found)
    versions = {"vllm": vllm.__version__, "zv-vllm": metadata.version("zv-vllm")}
    (folder / "about.json").write_text(json.dumps({"versions": versions, "weights": {}}), "utf-8")


def measured(asked: dict, images: np.ndarray) -> dict[str, np.ndarray]:
    """Prompts, greedy tokens and their log-probabilities, one question at a time."""
    from PIL import Image
    from vllm import LLM, SamplingParams

    options, adapter = adapter_of(asked["adapter"])
    longest = max(len(case["prompt"]) for case in asked["cases"]) + asked["new_tokens"]
    llm = LLM(
        asked["export"],
        dtype=asked["dtype"],
        enforce_eager=True,
        max_num_seqs=1,
        max_model_len=longest,
        limit_mm_per_prompt={"image": max(len(case["images"]) for case in asked["cases"])},
        **options,
    )
    greedy = SamplingParams(temperature=0, max_tokens=asked["new_tokens"], logprobs=0)
    found = {}
    for number, case in enumerate(asked["cases"]):
        shown = [Image.fromarray(images[i]) for i in case["images"]]
        content = [{"type": "image_pil", "image_pil": image} for image in shown]
        content.append({"type": "text", "text": case["question"]})
        message = [{"role": "user", "content": content}]
        (output,) = llm.chat([message], greedy, use_tqdm=False, lora_request=adapter)
        (answer,) = output.outputs
        chosen = zip(answer.logprobs, answer.token_ids, strict=True)
        found[f"prompt/{number}"] = np.array(output.prompt_token_ids)
        found[f"greedy tokens/{number}"] = np.array(answer.token_ids)
        found[f"log-probabilities/{number}"] = np.array([at[i].logprob for at, i in chosen])
    return found


def adapter_of(path: str | None) -> tuple[dict[str, Any], Any]:
    """Options of the engine, and what a request names the adapter by."""
    if path is None:
        return {}, None
    from vllm.lora.request import LoRARequest

    rank = json.loads((Path(path) / "adapter_config.json").read_text("utf-8"))["r"]
    room = next((known for known in RANKS if known >= rank), rank)
    options = dict(enable_lora=True, enable_tower_connector_lora=True, max_lora_rank=room)
    return options, LoRARequest("adapter", 1, path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
