"""An export in PyTorch and transformers: python run_transformers.py FOLDER

A program of its own: it runs in any environment with these packages, also without zv_jax. FOLDER
has what `elsewhere.ask` writes, and gets found.npz and about.json. Exit code 3: a package is
missing.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

MISSING = 3


def main(folder: Path) -> None:
    asked = json.loads((folder / "request.json").read_text("utf-8"))
    try:
        import PIL
        import torch
        import transformers

        packages = [torch, transformers, PIL]
        if asked["adapter"]:
            import peft

            packages.append(peft)
    except ImportError as error:
        print(error, file=sys.stderr)
        sys.exit(MISSING)
    export = Path(asked["export"])
    name = json.loads((export / "config.json").read_text("utf-8"))["architectures"][0]
    model, loading = getattr(transformers, name).from_pretrained(
        export, dtype=getattr(torch, asked["dtype"]), output_loading_info=True
    )
    weights = dict.fromkeys(loading["missing_keys"], float("inf"))
    weights |= unequal(export, model.state_dict())
    if asked["adapter"]:
        adapted = peft.PeftModel.from_pretrained(model, asked["adapter"])
        weights |= unequal(Path(asked["adapter"]), peft.get_peft_model_state_dict(adapted))
        model = adapted.get_base_model()
    found = Export(model.eval(), asked, np.load(folder / "images.npy")).measured()
    np.savez(folder / "found.npz", allow_pickle=False, **found)
    versions = {package.__name__: package.__version__ for package in packages}
    about = {"versions": versions, "weights": weights}
    (folder / "about.json").write_text(json.dumps(about), "utf-8")


def unequal(folder: Path, loaded: dict) -> dict[str, float]:
    """By tensor of the files: how many of its numbers were not loaded as they are there."""
    from safetensors import safe_open

    counts = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in loaded.keys() & set(file.keys()):
                value = file.get_tensor(name).to(loaded[name].dtype)
                same = value.shape == loaded[name].shape
                counts[name] = int((value != loaded[name]).sum()) if same else float("inf")
    return counts


class Export:
    """A loaded export, and what its modules give while it reads one question after the other."""

    def __init__(self, model: Any, asked: dict, images: np.ndarray):
        from PIL import Image
        from transformers import AutoProcessor

        self.model, self.asked = model, asked
        self.processor = AutoProcessor.from_pretrained(asked["export"])
        self.images = [Image.fromarray(image) for image in images]
        self.given: dict[str, np.ndarray] = {}
        first = "language_model.model.layers.0"
        for name in asked["modules"]:
            module = model.get_submodule(name)
            if name.endswith("embed_tokens"):  # with visual tokens in their places
                module = model.get_submodule(first)
                module.register_forward_pre_hook(self._reads(name), with_kwargs=True)
            else:
                module.register_forward_hook(self._gives(name))

    def _reads(self, name: str) -> Callable[[Any, tuple, dict], None]:
        return lambda _module, args, kwargs: self._keep(name, (*args, *kwargs.values())[0])

    def _gives(self, name: str) -> Callable[[Any, tuple, Any], None]:
        return lambda _module, _args, output: self._keep(name, output)

    def _keep(self, name: str, value: Any) -> None:
        """Of the first call: the last norm of the ViT is called again, for a pooled output."""
        if name not in self.given:
            value = value[0] if isinstance(value, tuple) else value
            self.given[name] = value.float().numpy()

    def measured(self) -> dict[str, np.ndarray]:
        import torch

        found: dict[str, np.ndarray] = {}
        with torch.no_grad():
            for number, case in enumerate(self.asked["cases"]):
                found |= {f"{place}/{number}": value for place, value in self._case(case).items()}
        return found

    def _case(self, case: dict) -> dict[str, np.ndarray]:
        """Activations for the ids of zv_jax, so that other ids show in the prompt alone."""
        import torch

        ids = torch.tensor([case["prompt"]])
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        found = {"prompt": self._prompt(case)}
        model = self.model.language_model
        if case["images"]:
            model = self.model
            shown = [self.images[i] for i in case["images"]]
            seen = self.processor.image_processor(shown, return_tensors="pt")["pixel_values"]
            lines = seen.permute(0, 2, 3, 1).reshape(len(shown), seen.shape[2], -1)
            found["pixels"] = lines.numpy()
            inputs["pixel_values"] = seen
            if case["qformer_prompt"]:
                read = self.processor.qformer_tokenizer(case["qformer_text"], truncation=True)
                found["prompt of the Q-Former"] = np.array(read["input_ids"])
                read = torch.tensor([case["qformer_prompt"]] * len(shown))
                inputs["qformer_input_ids"] = read
                inputs["qformer_attention_mask"] = torch.ones_like(read)
        self.given.clear()
        model(**inputs)
        images = [name for name in self.given if not name.startswith("language_model.")]
        found |= {name: value if name in images else value[0] for name, value in self.given.items()}
        return found | self._answer(model, inputs)

    def _prompt(self, case: dict) -> np.ndarray:
        """The ids of the chat template, each image as many as it takes."""
        content = [{"type": "image"} for _ in case["images"]]
        content.append({"type": "text", "text": case["question"]})
        tokenizer = self.processor.tokenizer
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        placeholder, queries = self.asked["placeholder"], self.asked["queries"]
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        return np.concatenate([[i] * (queries if i == placeholder else 1) for i in ids])

    def _answer(self, model: Any, inputs: dict) -> dict[str, np.ndarray]:
        import torch

        placeholder = self.asked["placeholder"]
        made = model.generate(
            **inputs,
            max_new_tokens=self.asked["new_tokens"],
            do_sample=False,
            num_beams=1,
            # `generate` of the model hands neither on to its language model.
            suppress_tokens=[placeholder],
            eos_token_id=self.model.generation_config.eos_token_id,
            output_logits=True,
            return_dict_in_generate=True,
        )
        tokens = made.sequences[0][-len(made.logits) :]
        logits = torch.stack(made.logits)[:, 0].double()
        logits[:, placeholder] = -torch.inf
        logprobs = logits.log_softmax(-1).gather(1, tokens[:, None])[:, 0]
        return {"greedy tokens": tokens.numpy(), "log-probabilities": logprobs.numpy()}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
