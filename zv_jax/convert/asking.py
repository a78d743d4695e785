"""How a model of others is asked: the format of the prompts that its weights were trained on."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from zv_jax.config import Config
from zv_jax.config.build import BEFORE, to_dict, validate
from zv_jax.convert import chat_template
from zv_jax.convert.architectures import BLIP2, INSTRUCT_BLIP, LLAMA, Architecture
from zv_jax.errors import ConversionError, ZvError, unknown_name
from zv_jax.models.prompt import FORMATS, ZIYA, PromptConfig
from zv_jax.stages import stage_of

Json = Mapping[str, Any]
FIELD = "zv_jax"  # of `config.json`, in our exports
# Of the data that it was trained on: lengths of the Q-Former's texts, the ground of images.
_DATA = ("max_text", "max_qformer_text", "transparency")
_TAG = "- zv_jax"  # of the model cards we write
# How the models of our exports were asked that state no format.
_BEFORE = PromptConfig("ziya", BEFORE["model.prompt.qformer_text"])
# Words of a chat template, or of a name, that tell a format.
_TEMPLATES = {
    "ziya": ("<human>",),
    "llama2": ("[INST]",),
    "vicuna": ("USER:", "ASSISTANT:"),
    "chatml": ("<|im_start|>", "<|im_end|>"),
}
_NAMES = {"ziya": ("ziya",), "vicuna": ("vicuna",), "llama2": ("llama-2", "chat")}


def asked(config: Config, prompt: PromptConfig, why: str) -> tuple[Config, tuple[str, ...]]:
    """`config` with prompts of that format, and a line that says so if it is ever asked."""
    config = replace(config, model=replace(config.model, prompt=prompt))
    speaks = stage_of(config).speaks
    system = f"; the system says {prompt.system!r}" if prompt.system else ""
    return config, (f"prompts: {prompt.format}, {why}{system}",) * speaks


def by_name(config: Config, name: str) -> tuple[Config, tuple[str, ...]]:
    """`config` asked in the format that `--prompt_format` names, and a line that says so.

    Raises:
        ConversionError: there is no such format.
    """
    if name not in FORMATS:
        raise unknown_name(
            "format",
            name,
            FORMATS,
            "--prompt_format",
            fix="for another, train with --config.model.prompt.format=own and the words it takes",
            error=ConversionError,
        )
    return asked(config, PromptConfig(name, "turn"), "as --prompt_format says")


def of_directory(
    config: Config, raw: Json, architecture: Architecture, src: Path
) -> tuple[Config, tuple[str, ...]]:
    """`config` asked as a directory of transformers is to be, and a line that says why.

    Args:
        raw: its `config.json`, which names `architecture`.

    Raises:
        ConversionError: the format that it states is none.
    """
    if FIELD in raw:
        return _stated(config, raw[FIELD], str(src / "config.json"))
    if _ours(src):
        return asked(config, _BEFORE, "as zv_jax exported it before prompts had a format")
    if architecture in (INSTRUCT_BLIP, BLIP2):
        return as_lavis(config)
    if architecture is LLAMA:
        names = (src.resolve().name, raw.get("_name_or_path"))
        return of_language_model(config, names, _chat_template(src))
    return asked(config, ZIYA, "as Ziya-Visual is asked")


def as_lavis(config: Config) -> tuple[Config, tuple[str, ...]]:
    """`config` asked as BLIP-2 and InstructBLIP are, without roles; and a line that says so."""
    return asked(config, PromptConfig("plain", "turn"), "as LAVIS asks its models")


def of_language_model(
    config: Config, names: tuple[object, ...], template: str
) -> tuple[Config, tuple[str, ...]]:
    """`config` asked as the chat template of a LLaMA says, else its name; and a line on that."""
    for known, words in _TEMPLATES.items():
        if all(word in template for word in words):
            prompt = PromptConfig(known, "turn", system=_system(known, template))
            return asked(config, prompt, "as its chat template says")
    for name in (name for name in names if isinstance(name, str)):
        for known, words in _NAMES.items():
            if all(word in name.lower() for word in words):
                return asked(config, PromptConfig(known, "turn"), f"as the name {name!r} says")
    other = "its chat template is none that is known here" if template else "nothing says another"
    return asked(config, ZIYA, f"since {other}")


def _system(known: str, template: str) -> str:
    """The system message that a chat template writes where a dialogue has none; empty for none."""
    words = FORMATS[known]
    if not words.system_before:
        return ""
    plain = template.replace("\\n", "\n")
    around = re.escape(words.system_before), re.escape(words.system_after.rstrip())
    found = re.search("([^'\"{}]*?)".join(around), plain)
    return found[1].strip() if found else ""


def written(config: Config) -> dict[str, Any]:
    """The field of `config.json` that `of_directory` reads back."""
    data = {name: getattr(config.data, name) for name in _DATA}
    prompt = config.model.prompt
    # The words are for readers that do not know our formats by name.
    about = {"prompt": asdict(prompt), "words": prompt.words._asdict(), "data": data}
    return {FIELD: about}


def _stated(config: Config, fields: Any, where: str) -> tuple[Config, tuple[str, ...]]:
    plain = to_dict(config)
    try:
        plain["model"]["prompt"] = fields["prompt"]
        plain["data"] |= {name: fields["data"][name] for name in _DATA}
        config = validate(plain)
    except (KeyError, TypeError) as error:
        raise ConversionError(
            f"{error} is missing or no section",
            where=f"{where} ({FIELD})",
            expected="prompt and data, as zv convert to-hf writes them",
            fix="export the model again, or remove the field and give --prompt_format",
        ) from None
    except ZvError as error:
        raise ConversionError(
            error.what, where=f"{where} ({FIELD}: {error.where})", expected=error.expected
        ) from None
    return asked(config, config.model.prompt, "as its config.json says")


def _ours(src: Path) -> bool:
    """Whether zv_jax wrote the directory: its model card says so."""
    try:
        return _TAG in (src / "README.md").read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return False


def _chat_template(folder: Path) -> str:
    """The chat template of a tokenizer; empty where there is none."""
    try:
        if (folder / chat_template.FILE).is_file():
            return (folder / chat_template.FILE).read_text("utf-8")
        about = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
        return str(about.get("chat_template") or "") if isinstance(about, dict) else ""
    except (OSError, ValueError, RecursionError):
        return ""
