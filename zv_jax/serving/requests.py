"""Bodies of requests: OpenAI's fields, and which values of them are possible here.

A field that changes the answer and that we do not have is refused unless its value is neutral. One
that changes nothing (`user`, `metadata`, ...) is read and ignored. An unknown field is refused, as
OpenAI does it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MOST_INPUTS = 64  # of a request for embeddings


class _Strict(BaseModel):
    # No infinite temperature, and no "3" for 3.
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


def _encodes(text: str) -> str:
    """JSON can spell halves of characters, which no tokenizer reads."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair is no text") from None
    return text


Text = Annotated[str, AfterValidator(_encodes)]


class ImageURL(_Strict):
    """A data URI or, where the server allows it, an address. All images have the model's size."""

    url: Text
    detail: Literal["auto", "low", "high", "original"] | None = None


class TextPart(_Strict):
    type: Literal["text"]
    text: Text


class ImagePart(_Strict):
    type: Literal["image_url"]
    image_url: ImageURL


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]
Nothing = Annotated[list[Any], Field(max_length=0)] | None


class Message(_Strict):
    """One message; the fields after `name` are those that an earlier answer brings back empty."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | list[Part]
    name: str | None = None
    refusal: None = None
    annotations: Nothing = None
    audio: None = None
    function_call: None = None
    tool_calls: Nothing = None


class StreamOptions(_Strict):
    include_usage: bool = False
    include_obfuscation: bool | None = None


class TextFormat(_Strict):
    type: Literal["text"]


Zero = Annotated[float, Field(ge=0, le=0)] | None
Words = Annotated[Text, Field(min_length=1)]


class _Ignored(_Strict):
    """Fields of OpenAI that change no answer."""

    user: str | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prediction: dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None


class _Neutral(_Strict):
    """Fields of OpenAI of which one value is possible: that which changes nothing."""

    frequency_penalty: Zero = None
    presence_penalty: Zero = None
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=0)] | None = None
    response_format: TextFormat | None = None
    modalities: list[Literal["text"]] | None = None
    tools: Nothing = None
    tool_choice: Literal["none", "auto"] | None = None
    functions: Nothing = None
    function_call: Literal["none", "auto"] | None = None
    audio: None = None
    web_search_options: None = None


class ChatRequest(_Ignored, _Neutral):
    """`POST /v1/chat/completions`. After `stop` come fields that OpenAI does not have."""

    model: Text
    messages: Annotated[list[Message], Field(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    seed: int | None = None
    logprobs: bool | None = None
    stop: Words | Annotated[list[Words], Field(max_length=16)] | None = None
    top_k: Annotated[int, Field(ge=0, lt=1 << 31)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    min_tokens: Annotated[int, Field(ge=0)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=100)] | None = None
    num_beams: Annotated[int, Field(ge=1, le=64)] | None = None
    length_penalty: Annotated[float, Field(ge=-10, le=10)] | None = None
    choices: Annotated[list[Words], Field(min_length=1, max_length=4096)] | None = None


class AttentionRequest(_Strict):
    """`POST /v1/attention`, which OpenAI does not have: a dialogue, as it is asked."""

    model: Text
    messages: Annotated[list[Message], Field(min_length=1)]


class EmbeddingRequest(_Strict):
    """`POST /v1/embeddings`: texts, and images as parts like those of messages."""

    model: Text
    input: Text | Part | Annotated[list[Text | Part], Field(min_length=1, max_length=MOST_INPUTS)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1)] | None = None
    user: str | None = None
