"""`zv serve`: a model behind HTTP, in OpenAI's protocol."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from zv_jax.buckets import is_bucket, place
from zv_jax.cli.arguments import required
from zv_jax.errors import ConfigError
from zv_jax.parallel import runtime

if TYPE_CHECKING:
    from zv_jax.inference.model import Model
    from zv_jax.serving.engine import Engine
    from zv_jax.serving.follow import Current
    from zv_jax.serving.settings import Settings

USAGE = """
usage: zv serve --checkpoint PATH | --follow RUN_DIR [--port 8000]

  zv serve --checkpoint runs/quickstart/stage2_chat
  zv serve --checkpoint runs/quickstart/stage2_chat --host 0.0.0.0 --api_key_env ZV_KEY
  zv serve --follow runs/mine

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
    text("follow", None, "workdir of a run that trains: each new checkpoint is taken")
    text("host", "127.0.0.1", "address to listen on; 0.0.0.0 for all of this machine")
    count("port", 8000, "0 takes any that is free", 0)
    count("slots", 8, "answers computed at once", 1)
    count("max_new_tokens", 256, "longest answer; prompts leave room for it", 1)
    count("queue", 32, "requests that wait; more are refused with status 429", 0)
    flags.DEFINE_multi_integer(
        "beams", [], "num_beams that requests may have; may be repeated", 2, 64, flag_values=values
    )
    flags.DEFINE_float("timeout", 120.0, "seconds for one request", 0.1, flag_values=values)
    flags.DEFINE_bool(
        "remote_images", False, "fetch images from public addresses, too", flag_values=values
    )
    text("api_key_env", None, "environment variable with the key that clients must have")


def run(values: flags.FlagValues, words: list[str]) -> None:
    checkpoint = _checkpoint(values)
    key = _key(values.api_key_env)
    runtime.prepare()
    from zv_jax.inference.model import from_pretrained
    from zv_jax.serving.follow import Current, first_checkpoint
    from zv_jax.serving.settings import Settings

    settings = Settings(
        name=name_of(checkpoint),
        max_new_tokens=values.max_new_tokens,
        requests=values.slots + values.queue,
        timeout=values.timeout,
        remote_images=values.remote_images,
        key=key,
        follows=bool(values.follow),
    )
    if not key and values.host not in ("127.0.0.1", "::1", "localhost"):
        print("whoever reaches this address may ask: there is no --api_key_env", file=sys.stderr)
    if values.follow:
        first_checkpoint(checkpoint)
    current = Current(from_pretrained(checkpoint))
    if not current.model.has_llm:
        _serve(values, settings, current, None)
        return
    from zv_jax.serving.engine import Engine

    slots, longest = values.slots, values.max_new_tokens
    with Engine(current.model, slots=slots, max_new_tokens=longest, beams=values.beams) as engine:
        _serve(values, settings, current, engine)
        engine.drain()


def _serve(
    values: flags.FlagValues, settings: Settings, current: Current, engine: Engine | None
) -> None:
    """Serves until a signal, and follows a run if that is asked for."""
    from zv_jax.serving import server
    from zv_jax.serving.api import create_app
    from zv_jax.serving.follow import Follower

    def take(model: Model) -> None:
        current.model = model
        print(f"step {model.step} answers now", flush=True)

    def offer(model: Model) -> None:
        if engine is None:
            take(model)
        else:
            engine.offer(model, functools.partial(take, model))

    host, about = values.host, f"{settings.name} at http://{_shown(values.host)}"
    ready = lambda port: print(f"serving {about}:{port}/v1", flush=True)
    app = create_app(current, engine, settings)
    follower = Follower(place(values.follow), current.model, offer) if values.follow else None
    with follower or contextlib.nullcontext():
        server.run(app, host, values.port, values.timeout, ready)


def _checkpoint(values: flags.FlagValues) -> str | Path:
    if values.follow and values.checkpoint:
        raise ConfigError(
            "both --checkpoint and --follow",
            where="--follow",
            expected="one of them",
            fix="leave --checkpoint out: --follow begins with the latest",
        )
    if values.follow:
        return place(values.follow)
    return place(required(values, "checkpoint", "runs/quickstart/stage2_chat"))


def name_of(checkpoint: str | Path) -> str:
    """The name of a model: that of its workdir, or of its folder or file."""
    found = Path(checkpoint)
    parts = found.parts if is_bucket(checkpoint) else found.resolve().parts
    return [name for name in parts if name != "checkpoints" and not name.isdecimal()][-1]


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
