"""`zv serve`: a model behind HTTP, in OpenAI's protocol."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from absl import flags

from zv_jax.buckets import place
from zv_jax.cli.arguments import required
from zv_jax.errors import ConfigError
from zv_jax.parallel import runtime

USAGE = """
usage: zv serve --checkpoint PATH [--port 8000]

  zv serve --checkpoint runs/quickstart/stage2_chat
  zv serve --checkpoint runs/quickstart/stage2_chat --host 0.0.0.0 --api_key_env ZV_KEY

Every client of OpenAI's API can ask it, at http://127.0.0.1:8000/v1. SIGTERM or Ctrl-C ends it once
what is under way has been answered. It needs the extra `serve`: pip install -e ".[serve]".
"""


def define(values: flags.FlagValues) -> None:
    text = lambda name, default, about: flags.DEFINE_string(
        name, default, about, flag_values=values
    )
    count = lambda name, default, about, least: flags.DEFINE_integer(
        name, default, about, least, flag_values=values
    )
    text("checkpoint", None, "workdir or checkpoint")
    text("host", "127.0.0.1", "address to listen on; 0.0.0.0 for all of this machine")
    count("port", 8000, "0 takes any that is free", 0)
    count("slots", 8, "answers computed at once", 1)
    count("max_new_tokens", 256, "longest answer; prompts leave room for it", 1)
    count("queue", 32, "requests that wait; more are refused with status 429", 0)
    flags.DEFINE_float("timeout", 120.0, "seconds for one request", 0.1, flag_values=values)
    flags.DEFINE_bool(
        "remote_images", False, "fetch images from public addresses, too", flag_values=values
    )
    text("api_key_env", None, "environment variable with the key that clients must have")


def run(values: flags.FlagValues, words: list[str]) -> None:
    checkpoint = place(required(values, "checkpoint", "runs/quickstart/stage2_chat"))
    key = _key(values.api_key_env)
    runtime.prepare()
    from zv_jax.inference.model import from_pretrained
    from zv_jax.serving import server
    from zv_jax.serving.api import create_app
    from zv_jax.serving.settings import Settings

    settings = Settings(
        name=name_of(checkpoint),
        max_new_tokens=values.max_new_tokens,
        requests=values.slots + values.queue,
        timeout=values.timeout,
        remote_images=values.remote_images,
        key=key,
    )
    host, about = values.host, f"{settings.name} at http://{_shown(values.host)}"
    ready = lambda port: print(f"serving {about}:{port}/v1", flush=True)
    if not key and host not in ("127.0.0.1", "::1", "localhost"):
        print("whoever reaches this address may ask: there is no --api_key_env", file=sys.stderr)
    model = from_pretrained(checkpoint)
    if not model.has_llm:
        server.run(create_app(model, None, settings), host, values.port, values.timeout, ready)
        return
    from zv_jax.serving.engine import Engine

    with Engine(model, slots=values.slots, max_new_tokens=values.max_new_tokens) as engine:
        app = create_app(model, engine, settings)
        server.run(app, host, values.port, values.timeout, ready)
        engine.drain()


def name_of(checkpoint: Path) -> str:
    """The name of a model: that of its workdir, or of its folder or file."""
    names = [n for n in checkpoint.resolve().parts if n != "checkpoints" and not n.isdecimal()]
    return names[-1]


def _key(variable: str | None) -> str:
    if not variable:
        return ""
    key = os.environ.get(variable, "")
    if not key:
        raise ConfigError(
            f"the environment variable {variable} is empty or missing",
            where="--api_key_env",
            expected="the name of a variable that holds the key",
            fix=f"export {variable}=...",
        )
    return key


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
