"""Small exports, the answers of zv_jax and transformers for them, and vLLM in this process."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from PIL import Image

os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_PLUGINS": "zv",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine is here, and can be looked into
    "VLLM_ALLOW_INSECURE_SERIALIZATION": "1",  # `apply_model` takes functions
}

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
NEW = 16


@pytest.fixture(scope="session")
def exports(tmp_path_factory) -> Path:
    """The folder that `make_exports.py` fills; ZV_VLLM_EXPORTS names one that is there already."""
    if "ZV_VLLM_EXPORTS" in os.environ:
        return Path(os.environ["ZV_VLLM_EXPORTS"])
    out = tmp_path_factory.mktemp("exports")
    python = os.environ.get("ZV_PYTHON", str(ROOT / ".venv/bin/python"))
    env = {**os.environ, "JAX_PLATFORMS": "cpu"}
    subprocess.run([python, str(HERE / "make_exports.py"), str(out)], check=True, env=env)
    return out


@pytest.fixture(scope="session")
def cases(exports) -> dict[str, list[dict]]:
    """`cases["chat"]`: dialogues with the ids that zv_jax has for prompt and greedy answer."""
    return json.loads((exports / "cases.json").read_text("utf-8"))


@pytest.fixture(scope="session")
def images(exports) -> list[Image.Image]:
    return [Image.open(path).convert("RGB") for path in sorted(exports.glob("*.png"))]


def part(image: Image.Image) -> dict:
    return {"type": "image_pil", "image_pil": image}


def messages(turns: list, images: list[Image.Image], part=part) -> list[dict]:
    """Turns as OpenAI's messages, each image behind the text of its turn."""
    out = []
    for question, answer, shown in turns:
        content = [{"type": "text", "text": question}, *(part(images[i]) for i in shown)]
        out.append({"role": "user", "content": content})
        if answer is not None:
            out.append({"role": "assistant", "content": answer})
    return out


class Engine:
    """vLLM with one export, and what it computes."""

    def __init__(self, folder: Path, **options):
        from vllm import LLM

        self.llm = LLM(
            str(folder),
            dtype="float32",
            enforce_eager=True,
            block_size=32,
            max_num_seqs=8,
            limit_mm_per_prompt={"image": 8},
            enable_prefix_caching=True,
            **options,
        )
        self.eos = self.llm.get_tokenizer().eos_token_id
        self.calls = {"vit": 0, "qformer": 0}
        self.llm.apply_model(self._watch)

    def _watch(self, model) -> None:
        """Counts the images that each tower sees."""
        for name, tower in (("vit", model.vision_model), ("qformer", model.qformer)):
            tower.register_forward_hook(
                lambda _module, _inputs, output, name=name: self._count(name, len(output))
            )

    def _count(self, name: str, images: int) -> None:
        self.calls[name] += images

    def chat(self, dialogues: list[list[dict]], **options) -> list:
        """vLLM's outputs for greedy answers."""
        from vllm import SamplingParams

        greedy = SamplingParams(temperature=0, max_tokens=NEW, logprobs=0)
        return self.llm.chat(dialogues, greedy, use_tqdm=False, **options)

    def answers(self, dialogues: list[list[dict]], **options) -> list[list[int]]:
        """The ids of greedy answers, `</s>` left out."""
        outputs = self.chat(dialogues, **options)
        return [self.cut(output.outputs[0].token_ids) for output in outputs]

    def cut(self, ids) -> list[int]:
        ids = list(ids)
        return ids[: ids.index(self.eos)] if self.eos in ids else ids

    def forget(self) -> None:
        """Empties all caches."""
        self.llm.reset_prefix_cache()
        self.llm.reset_mm_cache()
        self.llm.llm_engine.reset_encoder_cache()
        self.llm.apply_model(lambda model: model.features._held.clear())


@pytest.fixture(scope="session")
def chat(exports) -> Engine:
    """Chat, its adapters merged."""
    return Engine(exports / "chat")


class Reference:
    """transformers, which keeps nothing between questions."""

    def __init__(self, folder: Path, name: str):
        import transformers

        self.model = getattr(transformers, name).from_pretrained(folder, dtype="float32").eval()
        self.images = transformers.models.blip.image_processing_pil_blip.BlipImageProcessorPil
        self.images = self.images.from_pretrained(folder)

    def answer(self, prompt: list[int], qformer: list[int], images: list[Image.Image]):
        """Ids and log-probabilities of the greedy answer."""
        ids = torch.tensor([prompt])
        options = dict(
            max_new_tokens=NEW,
            do_sample=False,
            # `generate` of the whole model does not hand this on to its language model.
            suppress_tokens=[self.model.config.image_token_index],
            output_scores=True,
            return_dict_in_generate=True,
        )
        given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        model = self.model
        if images:
            given |= self.images(images, return_tensors="pt")
            if qformer:
                read = torch.tensor([qformer] * len(images))
                given |= {
                    "qformer_input_ids": read,
                    "qformer_attention_mask": torch.ones_like(read),
                }
        else:
            model = model.language_model
            options["eos_token_id"] = self.model.generation_config.eos_token_id
        with torch.no_grad():
            found = model.generate(**given, **options)
        tokens = found.sequences[0][-len(found.scores) :].tolist()
        scores = [
            score[0].log_softmax(-1)[token].item()
            for score, token in zip(found.scores, tokens, strict=True)
        ]
        eos = self.model.generation_config.eos_token_id
        count = tokens.index(eos) if eos in tokens else len(tokens)
        return tokens[:count], scores[:count]


@pytest.fixture(scope="session")
def reference(exports) -> Reference:
    return Reference(exports / "chat", "InstructBlipForConditionalGeneration")


def processor(engine: Engine):
    """The plugin's processor in an engine."""
    from vllm.multimodal import MULTIMODAL_REGISTRY

    config = engine.llm.llm_engine.vllm_config.model_config
    return MULTIMODAL_REGISTRY.create_processor(config, tokenizer=engine.llm.get_tokenizer())
