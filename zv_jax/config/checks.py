"""Fields of a configuration that must fit each other, which no single field can tell."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import TYPE_CHECKING

from zv_jax import patterns
from zv_jax.errors import ConfigError
from zv_jax.models.prompt import OWN, Format
from zv_jax.stages import STAGES

if TYPE_CHECKING:
    from zv_jax.config.schema import Config, DataConfig
    from zv_jax.models.presets import ModelConfig
    from zv_jax.models.prompt import PromptConfig

MAX_SIZE = 2**31 - 1  # of a width or a table: ids and indices have 32 bits
MAX_LAYERS = 1000  # of a tower; the deepest language models have an eighth of that
MAX_REPETITIONS = 5  # `*`, `+` and `{` in a pattern of layers; each multiplies the time of a search
MAX_WAYS = 2**23  # in which a pattern may try to match a path; a million take some 0.1 s
MAX_PATTERN = 10_000  # characters; all paths of a model have a tenth of that
MAX_SIDE = 4096  # pixels of the images that a model reads; and its queries, for one bound
_MOST = {"layers": MAX_LAYERS, "image_size": MAX_SIDE, "num_queries": MAX_SIDE}
_MARKS = ("<image>", "<s>", "</s>")  # of rows, no words
_PATH = 40  # characters of the longest path of a layer
_MAY_BE_ZERO = ("head_dim", "pre_proj_dim")  # 0: as another field says


def check(config: Config) -> None:
    """Checks a configuration whose fields are valid one by one.

    Raises:
        ConfigError: two of them contradict each other.
    """
    _check_sources(config.data)
    _check_augment(config)
    _check_sizes(config.model)
    _check_model(config.model)
    _check_prompt(config.model.prompt)
    _check_texts(config)


def _check_sources(data: DataConfig) -> None:
    for number, source in enumerate(data.sources):
        for name in ("max_length", "max_images"):
            own, most = getattr(source, name), getattr(data, name)
            if not 0 <= own <= most:
                raise ConfigError(
                    f"{own!r} is not valid",
                    where=f"data.sources[{number}].{name}",
                    expected=f"at most data.{name} ({most}), or 0 for as much",
                    fix=f"raise --config.data.{name}, or lower the source's",
                )


def _check_augment(config: Config) -> None:
    warms_up = not STAGES[config.stage.name, config.stage.variant].use
    if config.data.augment and warms_up:
        raise ConfigError(
            f"stage {config.stage.name} shows images as they are",
            where="data.augment",
            expected="false, or a stage of pairs or dialogues",
            fix="leave --config.data.augment out",
        )
    if config.data.augment and config.data.cache_images:
        raise ConfigError(
            "a view that is drawn anew each time is no use in memory",
            where="data.cache_images",
            expected="false where data.augment is true",
            fix="set --config.data.cache_images=false, or data.augment=false",
        )


def _check_texts(config: Config) -> None:
    """Texts of the Q-Former must have a position for each token; past the table, features are NaN.

    Queries have no positions, and a stage that feeds the Q-Former no text needs none.
    """
    field = STAGES[config.stage.name, config.stage.variant].qformer_text
    if not field:
        return
    length, positions = getattr(config.data, field), config.model.qformer.max_positions
    if length > positions:
        raise ConfigError(
            f"{length} tokens do not fit the {positions} positions of the Q-Former",
            where=f"data.{field}",
            expected=f"at most {positions}, which is model.qformer.max_positions",
            fix=f"set --config.data.{field}={positions}",
        )


def _check_prompt(prompt: PromptConfig) -> None:
    if prompt.system and not prompt.words.system_before:
        raise ConfigError(
            f"{prompt.system!r} would be used for nothing",
            where="model.prompt.system",
            expected=f"nothing: the format {prompt.format!r} has no words for it",
            fix="leave it out, or set --config.model.prompt.format=chatml",
        )
    if prompt.format == OWN:
        _check_own_words(prompt)
        return
    for name, default in Format()._asdict().items():
        if getattr(prompt, name) != default:
            raise ConfigError(
                f"{getattr(prompt, name)!r} would be used for nothing",
                where=f"model.prompt.{name}",
                expected=f"nothing, since model.prompt.format is {prompt.format!r}",
                fix=f"set --config.model.prompt.format={OWN}, and all words of the format",
            )


def _check_sizes(model: ModelConfig) -> None:
    """Numbers of the towers that no model can have: a table without rows, 10^9 layers, an infinite
    epsilon. Foreign configurations come through here."""
    for name in ("vision", "qformer", "llm"):
        tower = getattr(model, name)
        for field in dataclasses.fields(tower):
            value = getattr(tower, field.name)
            if type(value) is int:
                least = 0 if field.name in _MAY_BE_ZERO else 1
                most = _MOST.get(field.name, MAX_SIZE)
                right, expected = least <= value <= most, f"a whole number, {least} to {most}"
            elif type(value) is float:
                right, expected = 0 <= value < math.inf, "a number, 0 or above"
            else:
                continue
            if not right:
                raise ConfigError(
                    f"{value!r} is not valid",
                    where=f"model.{name}.{field.name}",
                    expected=expected,
                    fix=f"set --config.model.{name}.{field.name}=...",
                )


def _check_own_words(prompt: PromptConfig) -> None:
    for name, value in prompt.words._asdict().items():
        mark = next((m for m in _MARKS if isinstance(value, str) and m in value), None)
        if mark:
            raise ConfigError(
                f"{value!r} holds {mark}, which the program puts where it belongs",
                where=f"model.prompt.{name}",
                expected="words without " + ", ".join(_MARKS),
                fix=f"leave {mark} out; model.prompt.every_bos begins each turn with <s>",
            )
    if prompt.stop and not prompt.stop.strip(" \t"):
        raise ConfigError(
            f"{prompt.stop!r} would end an answer at its first blank",
            where="model.prompt.stop",
            expected="words that begin another turn, or nothing",
            fix="set --config.model.prompt.stop to the words before a question, or leave it out",
        )
    words = "".join(text for text in prompt.words if isinstance(text, str))
    unused = next((name for name in prompt.tokens if not name or name not in words), None)
    if unused is not None:
        raise ConfigError(
            f"no word of the format names the token {unused!r}",
            where="model.prompt.tokens",
            expected="special tokens that the words around questions and answers name",
            fix="leave it out, or write it where it belongs",
        )
    if prompt.words == Format():
        raise ConfigError(
            "no word of the format is given",
            where="model.prompt",
            expected="at least one of " + ", ".join(Format._fields),
            fix="set them, or --config.model.prompt.format=plain for prompts without words",
        )


def _check_targets(targets: str) -> None:
    """The pattern comes with checkpoints of others and meets every layer: it must end in time."""
    reason = ""
    found = patterns.shape(targets[:MAX_PATTERN])
    if len(targets) > MAX_PATTERN:
        reason = f"has more than {MAX_PATTERN:,} characters"
    elif found.hidden:
        reason = "is a pattern with comments, which may hide what it repeats"
    elif found.repeats_group or found.repeated > MAX_REPETITIONS:
        reason = "may take for ever to match: it repeats a group, or repeats too often"
    elif found.choices * math.comb(_PATH + found.repeated, found.repeated) > MAX_WAYS:
        reason = "may take for ever to match: too much in it is optional or one of several"
    else:
        try:
            re.compile(targets)
        except (re.error, RecursionError, OverflowError) as error:
            reason = f"is no regular expression: {error}"
    if reason:
        raise ConfigError(
            f"{targets[:200]!r} {reason}",
            where="model.lora.targets",
            expected="a pattern of paths of layers, as llm/layers/attn/(q|v)",
            fix="set --config.model.lora.targets=...",
        )


def _check_model(model: ModelConfig) -> None:
    for name, tower in (("vision", model.vision), ("qformer", model.qformer), ("llm", model.llm)):
        # An LLM may name the width of its heads; `key_dim` below then decides.
        if tower.width % tower.heads and not getattr(tower, "head_dim", 0):
            raise ConfigError(
                f"width {tower.width} is not divisible by {tower.heads} heads",
                where=f"model.{name}.heads",
                expected="a divisor of the width",
                fix=f"change --config.model.{name}.heads",
            )
    if model.llm.heads % model.llm.kv_heads:
        raise ConfigError(
            f"{model.llm.heads} heads cannot share {model.llm.kv_heads} key heads",
            where="model.llm.kv_heads",
            expected="a divisor of model.llm.heads",
            fix="change --config.model.llm.kv_heads",
        )
    if model.llm.key_dim % 2:
        raise ConfigError(
            f"heads of {model.llm.key_dim} values",
            where="model.llm.head_dim",
            expected="an even number: the rotary embedding turns pairs",
            fix="change --config.model.llm.head_dim, or the width and the number of heads",
        )
    scaling = model.llm.rope_scaling
    if scaling.kind == "llama3" and not 0 < scaling.low_freq_factor < scaling.high_freq_factor:
        raise ConfigError(
            f"low_freq_factor {scaling.low_freq_factor} and "
            f"high_freq_factor {scaling.high_freq_factor}",
            where="model.llm.rope_scaling",
            expected="0 < low_freq_factor < high_freq_factor",
            fix="take both from the checkpoint's config.json",
        )
    _check_targets(model.lora.targets)
    if model.qformer.layers % 2:
        raise ConfigError(
            f"{model.qformer.layers} layers",
            where="model.qformer.layers",
            expected="an even number: every second layer has cross-attention",
            fix="change --config.model.qformer.layers",
        )
    if model.vision.image_size % model.vision.patch_size:
        raise ConfigError(
            f"image size {model.vision.image_size} is no multiple of the patch size",
            where="model.vision.image_size",
            expected=f"a multiple of {model.vision.patch_size}",
            fix="change --config.model.vision.image_size",
        )
