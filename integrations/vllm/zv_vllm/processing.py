"""Prompts and images on their way into the model.

For Chat, the question becomes part of what vLLM hashes an image by (`mm_processor_kwargs`), since
the visual tokens of an image depend on it: otherwise a second question about the same image would
get those of the first, from the cache of the encoder or of prefixes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from transformers import BatchFeature, Blip2Config, InstructBlipConfig, InstructBlipProcessor
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from vllm.model_executor.models.blip2 import Blip2DummyInputsBuilder, Blip2ProcessingInfo
from vllm.multimodal.inputs import MultiModalFieldConfig
from vllm.multimodal.parse import ImageProcessorItems
from vllm.multimodal.processing import BaseMultiModalProcessor, PromptReplacement

from zv_vllm.asking import Asking, last_turn
from zv_vllm.errors import Refused

IMAGE = "<image>"
TEXT = "qformer_text"  # of mm_processor_kwargs


class Info(Blip2ProcessingInfo):
    """What is known of a model from its directory."""

    def get_hf_config(self) -> Blip2Config | InstructBlipConfig:
        """Its `config.json`."""
        return self.ctx.get_hf_config((Blip2Config, InstructBlipConfig))

    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        """Images as many as fit; `--limit-mm-per-prompt` says how many a request may have."""
        return {"image": None}

    def get_mm_max_tokens_per_item(
        self, seq_len: int, mm_counts: Mapping[str, int]
    ) -> Mapping[str, int]:
        """Each image is as many tokens as there are queries."""
        return {"image": self.get_num_image_tokens()}

    def get_default_tok_params(self) -> Any:
        """Nothing is added to a prompt: its `<s>` is behind the images, where training has it."""
        return replace(super().get_default_tok_params(), add_special_tokens=False)

    @property
    def reads_text(self) -> bool:
        """Whether the Q-Former reads the question: that of Chat does."""
        return isinstance(self.get_hf_config(), InstructBlipConfig)

    @cached_property
    def asking(self) -> Asking:
        """How the model is asked.

        Raises:
            Refused: the export does not say it.
        """
        return Asking.stated(getattr(self.get_hf_config(), "zv_jax", None))

    @cached_property
    def image_processor(self) -> BlipImageProcessorPil:
        """PIL resizes, as in training; the class that uses torchvision rounds otherwise."""
        model = self.ctx.model_config
        return BlipImageProcessorPil.from_pretrained(model.model, revision=model.revision)

    @cached_property
    def longest_text(self) -> int:
        """The most ids that the Q-Former reads: as in training, else all its positions."""
        model = self.ctx.model_config
        about, _ = InstructBlipProcessor.get_processor_dict(model.model, revision=model.revision)
        return about.get(
            "max_qformer_text", self.get_hf_config().qformer_config.max_position_embeddings
        )

    def qformer_ids(self, text: str) -> list[int]:
        """`[CLS] text [SEP]`; of a text that is too long, the end stays."""
        tokenizer = self.get_hf_processor(InstructBlipProcessor).qformer_tokenizer
        ids = tokenizer.encode(text, add_special_tokens=False)
        room = self.longest_text - 2
        return [tokenizer.cls_token_id, *ids[max(0, len(ids) - room) :], tokenizer.sep_token_id]

    def get_hf_processor(self, typ: type = InstructBlipProcessor, **kwargs: object) -> Any:
        """The processor of transformers, whose tokenizer of the Q-Former is used."""
        return self.ctx.get_hf_processor(typ, **kwargs)


class Dummy(Blip2DummyInputsBuilder):
    """A prompt to measure memory with."""

    def get_dummy_text(self, mm_counts: Mapping[str, int]) -> str:
        """As many marks as images, and an empty question."""
        return IMAGE * mm_counts.get("image", 0) + self.info.asking.ask("")


class Processor(BaseMultiModalProcessor[Info]):
    """Images and the Q-Former's text as tensors, and each mark as one token a query."""

    def apply(self, inputs: Any, timing_ctx: Any) -> Any:
        """As vLLM's; for Chat the Q-Former's text enters the hash.

        Raises:
            Refused: marks and images differ in number, an image is none, an option is unknown, or
                the prompt is not asked as the model is.
        """
        self._check(inputs)
        if self.info.reads_text:
            options = inputs.hf_processor_mm_kwargs
            text = options.get(TEXT) if TEXT in options else self._instruction(inputs.prompt)
            inputs.hf_processor_mm_kwargs = {**options, TEXT: text}
        return super().apply(inputs, timing_ctx)

    def _check(self, inputs: Any) -> None:
        options = inputs.hf_processor_mm_kwargs
        allowed = {TEXT} if self.info.reads_text else set()
        wrong = [key for key in options if key not in allowed]
        if wrong or not isinstance(options.get(TEXT, ""), str):
            name = (wrong or [TEXT])[0]
            raise Refused(
                f"{name} is {options[name]!r}",
                where="mm_processor_kwargs",
                expected=f"{TEXT}: a text" if allowed else "none: Base reads no text with an image",
                fix="send the text that the Q-Former is to read" if allowed else "leave it out",
            )
        images = inputs.mm_data_items.get_items("image", object)
        if not isinstance(images, ImageProcessorItems):
            raise Refused(
                "an image is given as vectors",
                where="multi_modal_data",
                expected="images",
                fix="send the image itself",
            )
        marks = inputs.prompt.count(self.info.get_hf_config().image_token_index)
        if marks != len(images):
            raise Refused(
                f"{marks} marks {IMAGE} and {len(images)} images",
                where="prompt",
                expected="one mark for each image",
                fix="send messages, or put a mark where each image belongs",
            )

    def _instruction(self, prompt: Sequence[int]) -> str:
        tokenizer = self.info.get_tokenizer()
        # The mark is special in the tokenizer, but not among the ids that decoding leaves out.
        left_out = {self.info.get_hf_config().image_token_index, tokenizer.bos_token_id}
        turn = last_turn(prompt, tokenizer.eos_token_id, left_out)
        return self.info.asking.instruction(tokenizer.decode(turn))

    def _call_hf_processor(
        self, hf_data: Mapping[str, Any], hf_kwargs: Mapping[str, Any]
    ) -> BatchFeature:
        """In place of the processor of transformers, which vLLM would make anew for each text."""
        images = [_rgb(image) for image in _pil(hf_data["images"])]
        pixels = self.info.image_processor(images=images, return_tensors="pt")["pixel_values"]
        pixels = pixels.to(self.info.ctx.model_config.dtype)
        out: dict[str, Any] = {"pixel_values": pixels, "pixel_key": _keys(pixels)}
        if self.info.reads_text:
            ids = torch.tensor(self.info.qformer_ids(hf_kwargs[TEXT]))
            out["qformer_input_ids"] = ids.repeat(len(images), 1)
        return BatchFeature(out)

    def _get_mm_fields_config(
        self, hf_inputs: BatchFeature, hf_processor_mm_kwargs: Mapping[str, object]
    ) -> Mapping[str, MultiModalFieldConfig]:
        return {
            "pixel_values": MultiModalFieldConfig.batched("image"),
            "pixel_key": MultiModalFieldConfig.batched("image", keep_on_cpu=True),
            "qformer_input_ids": MultiModalFieldConfig.batched("image"),
        }

    def _get_prompt_updates(
        self, mm_items: Any, hf_processor_mm_kwargs: Mapping[str, object], out_mm_kwargs: Any
    ) -> Sequence[PromptReplacement]:
        mark = self.info.get_hf_config().image_token_index
        tokens = [mark] * self.info.get_num_image_tokens()
        return [PromptReplacement(modality="image", target=[mark], replacement=tokens)]


def _pil(images: Sequence[Any]) -> list[Image.Image]:
    """The images of a request: vLLM takes arrays, too."""
    return [image if isinstance(image, Image.Image) else Image.fromarray(image) for image in images]


def _rgb(image: Image.Image) -> Image.Image:
    """The image as RGB, where that loses nothing. Over HTTP vLLM has made it RGB before.

    Raises:
        Refused: something is transparent, or a value has more than 8 bits: how it is to look is a
            matter of how the model was trained.
    """
    if image.mode not in ("RGB", "L") or image.has_transparency_data:
        raise Refused(
            f"an image of mode {image.mode}",
            where="multi_modal_data",
            expected="RGB or grey, 8 bits, nothing transparent",
            fix="lay it on the colour that training used (white by default), and convert it",
        )
    return image.convert("RGB")


def _keys(pixels: torch.Tensor) -> torch.Tensor:
    """The SHA-256 of each image [N, 3, H, W] as bytes [N, 32]."""
    rows = [hashlib.sha256(row.contiguous().view(torch.uint8).numpy()).digest() for row in pixels]
    return torch.tensor([list(row) for row in rows], dtype=torch.uint8)
