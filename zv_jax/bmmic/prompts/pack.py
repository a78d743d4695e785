"""Prompt packs: a YAML file for each kind of request, in both languages, addressed by a hash."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from zv_jax import yaml_input
from zv_jax.errors import ConfigError, unknown_name

Message = dict[str, str]
_FIELDS = {"name", "version", "boxes", "system", "user", "shown"}


@dataclass(frozen=True)
class Pack:
    """The words of one kind of request.

    Attributes:
      name, version: as in the file; `hash` is of its bytes, so that no change stays unseen.
      boxes: whether boxes go with the captions.
      system: the system message by language, that of the reply.
      user: the frame of a user message, with fields in braces.
      shown: exchanges that go before the query, by language; empty where the 50 examples serve.
    """

    name: str
    version: int
    hash: str
    boxes: bool
    system: Mapping[str, str]
    user: Mapping[str, str]
    shown: Mapping[str, tuple[Message, ...]]

    @property
    def label(self) -> str:
        """`name@version:hash`, as outputs and receipts name it."""
        return f"{self.name}@{self.version}:{self.hash[:12]}"

    def ask(self, lang: str, **fields: str) -> Message:
        """The user message with its fields filled in."""
        text = self.user[lang]
        for name, value in fields.items():
            text = text.replace("{" + name + "}", value)
        return {"role": "user", "content": text}


def names() -> list[str]:
    """The packs that come with the package."""
    folder = resources.files(f"{__package__}.packs")
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir()
                  if file.name.endswith(".yaml"))  # fmt: skip


@functools.cache
def load(name: str) -> Pack:
    """A pack by its name, or by the path of a YAML file of one's own.

    Raises:
      ConfigError: there is none, or the file is not a pack.
    """
    if name in names():
        data = resources.files(f"{__package__}.packs").joinpath(f"{name}.yaml").read_bytes()
        return _read(data, f"{name}.yaml")
    if name.endswith((".yaml", ".yml")) and Path(name).is_file():
        return _read(Path(name).read_bytes(), name)
    raise unknown_name("prompt pack", name, names(), "zv bmmic", fix="or give a .yaml file")


def _read(data: bytes, where: str) -> Pack:
    try:
        found = yaml_input.loads(data)
        if not isinstance(found, dict) or set(found) - _FIELDS:
            raise ValueError("unknown fields")
        shown = {
            lang: tuple(
                {"role": role, "content": str(one[role])}
                for one in exchanges
                for role in ("user", "assistant")
            )
            for lang, exchanges in found.get("shown", {}).items()
        }
        pack = Pack(
            name=str(found["name"]),
            version=int(found["version"]),
            hash=hashlib.sha256(data).hexdigest(),
            boxes=bool(found["boxes"]),
            system={lang: str(found["system"][lang]) for lang in ("en", "zh")},
            user={lang: str(found["user"][lang]) for lang in ("en", "zh")},
            shown=shown,
        )
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"no prompt pack: {type(error).__name__}: {str(error)[:200]}",
            where=where,
            expected="name, version, boxes, system: {en, zh}, user: {en, zh}, perhaps shown",
            fix="copy zv_jax/bmmic/prompts/packs/detail.yaml and change its words",
        ) from None
    return pack
