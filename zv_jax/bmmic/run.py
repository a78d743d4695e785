"""A run: its prompt packs, its client, and all steps one after the other."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from zv_jax.bmmic.config import Config
from zv_jax.bmmic.prompts import pack as pack_lib
from zv_jax.bmmic.prompts.pack import Pack
from zv_jax.bmmic.steps import export, generate, rewrite, symbols, translate
from zv_jax.bmmic.steps import filter as filter_step
from zv_jax.errors import ConfigError
from zv_jax.llm.client import Client
from zv_jax.llm.endpoint import endpoint_of
from zv_jax.llm.ledger import Ledger
from zv_jax.llm.prices import Budget, Estimate, Prices, estimate

PREFIX = "ZV_BMMIC"
ASKING = {"generate": generate, "rewrite": rewrite, "translate": translate}
Say = Callable[[str], None]
Asking = Callable[[Sequence[str], Config, Path, Say], None]


def packs(config: Config) -> dict[str, Pack]:
    """The prompt packs by name: those of the package, and those of the recipe in their place."""
    found = {name: pack_lib.load(name) for name in pack_lib.names()}
    own = [pack_lib.load(path) for path in config.packs]
    return found | {pack.name: pack for pack in own}


@contextlib.contextmanager
def client(config: Config, workdir: Path, part: tuple[int, int] = (0, 1)) -> Iterator[Client]:
    """The client of a run, with its ledger in the workdir: one for each worker.

    Raises:
      ConfigError: address or model are missing, or a budget without prices.
    """
    server = config.server
    endpoint = endpoint_of(
        PREFIX,
        url=server.url,
        model=server.model,
        concurrency=server.concurrency,
        per_minute=server.per_minute,
        tokens_per_minute=server.tokens_per_minute,
        timeout=server.timeout,
        tries=server.tries,
    )
    name = "ledger.jsonl" if part[1] == 1 else f"ledger-{part[0]}-of-{part[1]}.jsonl"
    budget = Budget(server.budget or None, prices(config))
    with Ledger(workdir / name, "bmmic") as ledger, Client(endpoint, ledger, budget) as made:
        yield made


def prices(config: Config) -> Prices | None:
    """The prices of a recipe; None where it names none."""
    server = config.server
    if not server.price_in and not server.price_out:
        return None
    return Prices(server.price_in, server.price_out)


def asked(
    step: str, config: Config, workdir: Path, part: tuple[int, int], say: Say, dry_run: bool = False
) -> Estimate:
    """One of the steps that ask: says what it will cost, then asks; or only says it.

    Returns:
      What was expected.
    """
    module, own = ASKING[step], packs(config)
    model = model_of(config)
    module.begin(config, own, model, workdir)
    plans = module.plans(config, own, model, workdir, part)
    expected = estimate((job.request for _, jobs in plans for job in jobs), prices(config))
    say(f"{step}: {expected}")
    if not dry_run:
        ask(step, config, workdir, part, say)
    return expected


def ask(step: str, config: Config, workdir: Path, part: tuple[int, int], say: Say) -> None:
    """Asks what a step still has to ask, for one part of the work."""
    with client(config, workdir, part) as made:
        found = ASKING[step].run(config, packs(config), made, model_of(config), workdir, part)
        answered, failed = found
        say(f"{step}: {answered:,} answered, {failed:,} without a reply; "
            f"${made.budget.spent:.6f} spent so far")  # fmt: skip


def ask_here(steps: Sequence[str], config: Config, workdir: Path, say: Say) -> None:
    """Asks through this process: each step says before its first request what it will cost."""
    for step in steps:
        asked(step, config, workdir, (0, 1), say)


def model_of(config: Config) -> str:
    """The name of the model that the endpoint of a recipe is asked for."""
    return endpoint_of(PREFIX, url=config.server.url, model=config.server.model).model


def run(config: Config, workdir: Path, say: Say = print, asking: Asking = ask_here) -> list[Path]:
    """Every step for which the recipe names something; returns what was exported.

    Started again, it goes on where it was.

    Args:
      asking: runs the steps that ask, in order: this process, or `on_beam.OnBeam`.

    Raises:
      ConfigError: the recipe names neither images nor records to begin with.
    """
    if not config.symbols.sources and not config.translate.sources:
        raise ConfigError(
            "there is nothing to begin with",
            where="symbols.sources, translate.sources",
            expected="images with annotations, or records to translate",
            fix="see configs/bmmic/paper.py",
        )
    steps: list[str] = []
    if config.symbols.sources:
        say(f"symbols: {symbols.told(symbols.run(config, workdir))}")
        steps.append("generate")
        if config.rewrite.schemes and config.rewrite.share:
            steps.append("rewrite")
    if config.translate.sources:
        steps.append("translate")
    asking(steps, config, workdir, say)
    report = filter_step.run(config, workdir)
    say("\n".join(filter_step.table(report)))
    return export.run(config, workdir)
