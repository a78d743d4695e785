"""Requests of tests."""

import base64
import io

import httpx2
from PIL import Image

NAME = "tiny"


def uri(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def png(pixels, form="PNG") -> bytes:
    """A file of uint8 pixels."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def user(text: str, *images: bytes) -> dict:
    """A message with images."""
    if not images:
        return {"role": "user", "content": text}
    parts = [{"type": "image_url", "image_url": {"url": uri(data)}} for data in images]
    return {"role": "user", "content": [*parts, {"type": "text", "text": text}]}


def assistant(text: str) -> dict:
    return {"role": "assistant", "content": text}


def chat(url: str, messages, **fields) -> httpx2.Response:
    body = {"model": NAME, "messages": messages, "max_tokens": 8} | fields
    return post(url, json=body)


def post(url: str, path: str = "/v1/chat/completions", **request) -> httpx2.Response:
    return httpx2.post(url + path, timeout=60, **request)
