"""The fastest setting of a recipe that fits: microbatches x recomputation x share of the memory.

Every candidate that is proposed was compiled for the machine, and its bytes counted by the
compiler; on the machine at hand the best ones also ran. Neither field changes what is learned: a
loss that compares rows compares those of the whole batch with any number of microbatches, and
recomputation repeats the same operations. Only dropout draws other random numbers.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from zv_jax.config import Config
from zv_jax.errors import ConfigError
from zv_jax.parallel.hardware import Topology
from zv_jax.plan import candidates, search
from zv_jax.plan.compiled import TooLarge
from zv_jax.plan.processes import Process
from zv_jax.plan.report import KEPT_FREE, recipe
from zv_jax.plan.search import Outcome, Setting
from zv_jax.stages import stage_model, stage_of
from zv_jax.training.losses.kind import loss_of

DEFAULT_SHARE = 0.75  # of a GPU's memory, that jax takes unless it is set
SHARES = {
    "gpu": (DEFAULT_SHARE, 0.9, 0.95),
    "tpu": (1 - KEPT_FREE,),
    "cpu": (0.9,),  # the compiler, the data and other programs have the rest
}
# Policies of recomputation, from the one that keeps most.
KEEPING = ("none", "dots", "dots_no_batch", "names", "offload", "full")
WANTED = 3  # fitting settings that are timed
STEPS = 2  # of each, after one that compiles

Measured = Mapping[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Grid:
    """What is searched; the recipe's own setting is always a part of it.

    Attributes:
        microbatches: each at least 1.
        remat: names in `KEEPING`.
        shares: of the memory of a device; empty for those of its kind in `SHARES`.
    """

    microbatches: tuple[int, ...] = (1, 2, 4, 8)
    remat: tuple[str, ...] = ("none", "dots", "names", "full")
    shares: tuple[float, ...] = ()

    def settings(self, config: Config) -> list[Setting]:
        """All of them, in no order that matters."""
        parts = {*self.microbatches, config.train.microbatches}
        return [Setting(m, remat) for m in parts for remat in {*self.remat, config.model.remat}]


@dataclass
class Search:
    """A search under way.

    Attributes:
        order: the settings that divide the batch, the fastest by calculation first.
        shares: of `memory`, the smallest first.
        memory: bytes of one device.
        tried, measured: what was compiled, and what ran.
    """

    config: Config
    topology: Topology | None
    survey: candidates.Survey
    shares: tuple[float, ...]
    memory: float
    say: Say
    order: list[Setting] = field(init=False)
    tried: dict[Setting, Outcome] = field(default_factory=dict)
    measured: dict[Setting, Measured] = field(default_factory=dict)

    def __post_init__(self) -> None:
        calculated = self.survey.calculated
        # Where the calculation sees no difference: fewer parts, then less recomputation.
        self.order = sorted(
            calculated,
            key=lambda s: (calculated[s].seconds, s.microbatches, _keeps_less(s.remat)),
        )

    @property
    def limit(self) -> float:
        """Bytes that a program may take at most."""
        return self.shares[-1] * self.memory

    @property
    def held(self) -> float:
        """Bytes that every setting takes: state, weights, the batch and the one after it."""
        return self.survey.held + self.survey.batch

    def share(self, setting: Setting) -> float | None:
        """The smallest share of the memory that it fits into."""
        outcome = self.tried.get(setting)
        if outcome is None or not outcome.fits:
            return None
        return next(s for s in self.shares if _bytes(outcome) <= s * self.memory)

    def guessed_too_large(self, setting: Setting) -> bool:
        """By arithmetic alone."""
        return self.held + self.survey.calculated[setting].temporaries > self.limit

    def attempt(self, process: Process, setting: Setting) -> Outcome:
        """Compiles a setting; a failure is an outcome like others."""
        self.say(f"compiling {setting}; {len(self.tried)} of {len(self.order)} known")
        given = self.config, self.topology, setting
        try:
            found = process.call(candidates.compile_setting, *given)
        except TooLarge as error:
            return Outcome(None, too_large=True, why=error.what)
        except Exception as error:  # of any kind: one candidate less, the others go on
            return Outcome(None, why=f"cannot be compiled: {_first_line(error)}")
        # What the step does not read is not among its arguments, and stays on the device all the
        # same; the batch after this one is sent while it runs.
        need = max(found.arguments, self.survey.held) + found.temporaries + self.survey.batch
        return Outcome(need, too_large=need > self.limit, seconds=found.seconds)

    def run(self, setting: Setting) -> None:
        """Times a setting on this machine; one that fails no longer fits."""
        self.say(f"running {STEPS} steps of {setting}")
        share = self.share(setting) if self.survey.machine.kind == "gpu" else None
        try:
            with Process(runs_here=True, memory_fraction=share) as process:
                self.measured[setting] = process.call(
                    candidates.run_setting, self.config, setting, STEPS
                )
        except Exception as error:  # of any kind, as above
            why = f"does not run: {_first_line(error)}"
            self.tried[setting] = dataclasses.replace(self.tried[setting], why=why)

    def seconds(self, setting: Setting) -> float:
        """Of a step: measured, else by the compiled program, else calculated."""
        if setting in self.measured:
            return self.measured[setting]["median_seconds"]
        found = self.tried[setting].seconds
        return self.survey.calculated[setting].seconds if found is None else found


def fit(
    config: Config,
    topology: Topology | None,
    grid: Grid,
    memory: float = 0.0,
    timed: bool = True,
    say: Say = lambda line: None,
) -> dict[str, Any]:
    """Searches the grid for the fastest setting that fits.

    Args:
        topology: of TPUs that need not be here; None means the devices of this machine.
        memory: bytes of one device; 0 for what the machine has.
        timed: whether the best settings run on this machine, with random weights and rows.
        say: receives a line before each compilation and each run.

    Returns:
        Plain JSON types: the recipe, the machine, a row for each setting, and the chosen one under
        `chosen`, None where nothing fits.

    Raises:
        ConfigError: the recipe does not suit the machine, or the machine does not tell its memory.
        SetupError: no device, or no compiler for the topology.
    """
    here = topology is None
    with _compiler(here) as process:
        found = process.call(candidates.survey, config, topology, grid.settings(config))
        shares = tuple(sorted(grid.shares or SHARES.get(found.machine.kind, SHARES["gpu"])))
        state = Search(config, topology, found, shares, memory or _known(found.machine), say)
        best: list[Setting] = []
        # No setting makes this smaller, so that no compiler is needed to see it.
        while state.held <= state.limit:
            best = search.fitting(
                state.order,
                lambda setting: state.attempt(process, setting),
                state.guessed_too_large,
                state.tried,
                WANTED,
            )
            untimed = [s for s in best if s not in state.measured]
            if not (timed and here and untimed):
                break
            process.close()  # it holds a part of the device
            for setting in untimed:
                state.run(setting)
    return _result(state, min(best, key=state.seconds, default=None), best)


def _compiler(here: bool) -> Process:
    """The process that compiles. On a GPU it takes no memory beforehand and sees all there is; for
    a topology no device of this machine is touched."""
    if here:
        return Process(True, {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}, memory_fraction=1.0)
    return Process(False, {"JAX_PLATFORMS": "cpu"})


def _known(machine: candidates.Machine) -> float:
    if not machine.memory:
        raise ConfigError(
            f"{machine.name} does not tell how much memory it has",
            where="--memory",
            expected="the memory of one device",
            fix="add --memory=16GiB",
        )
    return machine.memory


def _result(state: Search, chosen: Setting | None, best: list[Setting]) -> dict[str, Any]:
    config, found = state.config, state.survey
    settings = [*state.order, *sorted(found.refused)]
    return {
        "recipe": recipe(config),
        "machine": {
            "name": found.machine.name,
            "kind": found.machine.kind,
            "mesh": dict(found.mesh),
            "memory": state.memory,
            "shares": list(state.shares),
            "figures_known": found.machine.known,
        },
        "held": state.held,
        "settings": [_row(state, setting) for setting in settings],
        "chosen": None if chosen is None else _row(state, chosen),
        "best": [str(setting) for setting in best],
        "compares_rows": loss_of(stage_of(config)).compares_rows,
        "draws_dropout": draws_dropout(config),
    }


def _row(state: Search, setting: Setting) -> dict[str, Any]:
    calculated = state.survey.calculated.get(setting)
    outcome = state.tried.get(setting)
    share = state.share(setting)
    measured = state.measured.get(setting, {})
    return {
        "microbatches": setting.microbatches,
        "remat": setting.remat,
        "fits": share is not None,
        "share": share,
        "bytes": None if outcome is None else outcome.need,
        "limit": (share or state.shares[-1]) * state.memory,
        "calculated_seconds": calculated and calculated.seconds,
        "compiled_seconds": outcome and outcome.seconds,
        "measured_seconds": measured.get("median_seconds"),
        "measured_bytes": measured.get("peak_bytes"),
        "why": "" if share is not None else _why(state, setting),
    }


def _why(state: Search, setting: Setting) -> str:
    """Why a setting is left out."""
    if setting in state.survey.refused:
        return state.survey.refused[setting]
    if state.held > state.limit:
        return "not compiled: weights, state and batches alone are too large"
    if setting in state.tried:
        return state.tried[setting].why or "too large"
    other = search.too_large_already(setting, state.tried)
    if other:
        return f"not compiled: {other.microbatches} microbatches are too large already"
    return f"not compiled: calculated to be no faster than {WANTED} that fit"


def draws_dropout(config: Config) -> bool:
    """Whether a step draws random numbers that depend on how the batch is cut."""
    stage, model = stage_of(config), stage_model(config)
    trains = {
        tower: any(re.fullmatch(pattern, f"params/{tower}/x") for pattern in stage.trainable)
        for tower in ("vision", "qformer")
    }
    return bool(
        (trains["qformer"] and model.qformer.dropout)
        or (trains["vision"] and model.vision.drop_path)
        or (stage.adapters and model.lora.dropout)
    )


def _bytes(outcome: Outcome) -> float:
    assert outcome.need is not None  # of one that fits
    return outcome.need


def _keeps_less(remat: str) -> int:
    """The place of a policy among those that keep less and less."""
    return KEEPING.index(remat)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
