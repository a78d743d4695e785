"""What a compiled program does in one call on one chip, read from its text.

The compiler's own cost analysis counts the body of a loop once, and our layers are loops: here
every instruction counts as often as the loops around it turn.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

COLLECTIVES = (
    "all-gather",
    "all-reduce",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
    "ragged-all-to-all",
)
_BITS = {"pred": 8, "bf16": 16, "token": 0, "opaque": 0}
_SHAPE = re.compile(r"\b(pred|token|opaque|bf16|[a-z]\d+\w*)\[([\d,<=]*)\]")
_CALLED = re.compile(
    r"(?:to_apply|calls|body|condition|branch_computations)=\{?(%[\w.\-]+(?:, ?%[\w.\-]+)*)"
)


@dataclass(frozen=True)
class Instruction:
    """One line of a computation."""

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    inside: str  # of the parentheses
    rest: str  # attributes


@dataclass
class Traffic:
    """One kind of collective over groups of one size.

    Attributes:
        count: calls in a step.
        payload: bytes of the whole arrays, summed over the calls.
        wire: bytes that leave a chip, by the ring algorithms.
        spans_slices: whether a group has chips of several slices.
    """

    kind: str
    group: int
    spans_slices: bool = False
    count: int = 0
    payload: float = 0.0
    wire: float = 0.0


@dataclass
class Work:
    """Of one call on one chip: operations of matrix products, and traffic between chips."""

    flops: float = 0.0
    traffic: list[Traffic] = field(default_factory=list)


def parse(text: str) -> tuple[dict[str, dict[str, Instruction]], str]:
    """Computations by name, each its instructions by name; and the name of the entry."""
    computations: dict[str, dict[str, Instruction]] = {}
    current: dict[str, Instruction] = {}
    entry = ""
    for line in text.splitlines():
        head = re.match(r"\s*(ENTRY )?(%[\w.\-]+) \(.*\) -> .* \{", line)
        if head:
            current = computations.setdefault(head.group(2), {})
            entry = head.group(2) if head.group(1) else entry
            continue
        found = re.match(r"\s*(?:ROOT )?(%[\w.\-]+) = (.*)", line)
        if found:
            shape, rest = _balanced(found.group(2), first=True)
            opcode = re.match(r"\s*([\w\-]+)\(", rest)
            if opcode:
                inside, attributes = _balanced(rest[opcode.end() - 1 :])
                names = tuple(re.findall(r"%[\w.\-]+", inside))
                current[found.group(1)] = Instruction(
                    found.group(1), shape, opcode.group(1), names, inside, attributes
                )
    return computations, entry


def _balanced(text: str, first: bool = False) -> tuple[str, str]:
    """A leading parenthesis with all that is in it, and what follows; else the first word."""
    if first and not text.startswith("("):
        word, _, rest = text.partition(" ")
        return word, rest
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return text[: place + 1], text[place + 1 :]
    return text, ""


def work(text: str, chips_per_slice: int = 0) -> Work:
    """The work of a compiled program.

    Args:
        text: `compiled.as_text()`.
        chips_per_slice: above 0, groups are checked for whether they span slices.
    """
    computations, entry = parse(text)
    turns, homes = _turns(computations, entry)
    total = Work()
    kinds: dict[tuple, Traffic] = {}
    seen: set[tuple[str, str]] = set()
    for name, instructions in computations.items():
        for instruction in instructions.values():
            times = turns[name]
            if not times:
                continue
            if instruction.opcode in ("dot", "convolution") or _cublas(instruction):
                total.flops += times * product_flops(instruction, instructions)
            kind = instruction.opcode.removesuffix("-start")
            channel = re.search(r"channel_id=(\d+)", instruction.rest)
            if kind in COLLECTIVES:
                # One transfer that runs beside several products appears in each of their fusions.
                once = (homes[name], channel.group(1) if channel else instruction.name)
                if once in seen:
                    continue
                seen.add(once)
                _add(kinds, kind, instruction, instructions, times, chips_per_slice)
    total.traffic = sorted(kinds.values(), key=lambda t: -t.wire)
    return total


def _turns(
    computations: dict[str, dict[str, Instruction]], entry: str
) -> tuple[dict[str, int], dict[str, str]]:
    """How often each computation runs in one call of the entry, and the loop body it belongs to."""
    turns: dict[str, int] = defaultdict(int)
    homes: dict[str, str] = {}

    def visit(name: str, times: int, home: str) -> None:
        turns[name] += times
        homes[name] = home
        for instruction in computations.get(name, {}).values():
            inner = times
            if instruction.opcode == "while":
                inner = times * trip_count(instruction, computations)
            for group in _CALLED.findall(instruction.rest):
                for called in re.findall(r"%[\w.\-]+", group):
                    visit(called, inner, called if instruction.opcode == "while" else home)

    visit(entry, 1, entry)
    return turns, homes


def trip_count(loop: Instruction, computations: dict[str, dict[str, Instruction]]) -> int:
    """How often the body of a `while` runs: as noted by the compiler, else from its condition.

    Raises:
        ValueError: neither tells.
    """
    noted = re.search(r'known_trip_count"?:\s*\{"?n"?:\s*"?(\d+)', loop.rest)
    if noted:
        return int(noted.group(1))
    condition = re.search(r"condition=(%[\w.\-]+)", loop.rest)
    inside = computations[condition.group(1)].values()
    limits = {
        int(i.inside[1:-1]) for i in inside if i.opcode == "constant" and i.inside[1:-1].isdigit()
    }
    if len(limits) != 1:
        raise ValueError(f"the trip count of {loop.name} is not known")
    return limits.pop()


def dims(shape: str) -> list[tuple[int, ...]]:
    """Sizes of every array in a shape, `f32[4,8]{1,0}` or a tuple of such."""
    return [
        tuple(int(re.sub(r"\D", "", size)) for size in found.split(",") if size)
        for _, found in _SHAPE.findall(shape)
    ]


def sizes_in_bytes(shape: str) -> list[float]:
    """Bytes of every array in a shape."""
    found = []
    for (kind, _), size in zip(_SHAPE.findall(shape), dims(shape), strict=True):
        bits = _BITS.get(kind) or int(re.search(r"\d+", kind).group()) if kind not in (
            "token", "opaque") else 0  # fmt: skip
        found.append(math.prod(size) * bits / 8)
    return found


def _cublas(instruction: Instruction) -> bool:
    """Whether it is a product that a GPU's program leaves to cuBLAS."""
    return 'custom_call_target="__cublas$' in instruction.rest


def product_flops(instruction: Instruction, beside: dict[str, Instruction]) -> float:
    """Operations, two for each multiplication and addition, of a `dot`, a `convolution` or a call
    of cuBLAS."""
    out = math.prod(dims(instruction.shape)[0])
    left, right = (dims(beside[name].shape)[0] for name in instruction.operands[:2])
    if _cublas(instruction):
        listed = re.search(r'"lhs_contracting_dimensions":\[([^\]]*)\]', instruction.rest).group(1)
        return 2.0 * out * math.prod(left[int(d)] for d in re.findall(r"\d+", listed))
    if instruction.opcode == "dot":
        contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", instruction.rest).group(1)
        return 2.0 * out * math.prod(left[int(d)] for d in contracted.split(",") if d)
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", instruction.rest)
    kernel, output = labels.group(2), labels.group(3)
    # TPU programs write batched products as convolutions whose windows are mostly empty.
    taps = 1.0
    window = _window(instruction.rest)
    for letter in (c for c in kernel if c.isdigit()):
        place = int(letter)
        taps *= _valid_taps(
            left[labels.group(1).index(letter)],
            right[kernel.index(letter)],
            dims(instruction.shape)[0][output.index(letter)],
            {name: values[place] for name, values in window.items()},
        )
    spatial = math.prod(dims(instruction.shape)[0][output.index(c)] for c in output if c.isdigit())
    return 2.0 * out / spatial * taps * right[kernel.index("i")]


def _window(rest: str) -> dict[str, list]:
    """Fields of `window={size=2x2 pad=0_0x0_1 ...}`, one value for each spatial axis."""
    found = re.search(r"window=\{([^}]*)\}", rest)
    fields = dict(item.split("=") for item in found.group(1).split()) if found else {}
    return {name: value.split("x") for name, value in fields.items()}


def _valid_taps(size: int, taps: int, out: int, window: dict[str, str]) -> float:
    """Pairs of an output place and a kernel tap that meet a real input, along one axis."""
    stride, spread = int(window.get("stride", 1)), int(window.get("lhs_dilate", 1))
    reach = int(window.get("rhs_dilate", 1))
    low = int(window.get("pad", "0_0").split("_")[0])
    place = np.arange(out)[:, None] * stride + np.arange(taps)[None] * reach - low
    return float(((place >= 0) & (place <= (size - 1) * spread) & (place % spread == 0)).sum())


def groups_of(rest: str) -> list[list[int]]:
    """The chips that talk to each other; `[[...]]` of one group for source-target pairs."""
    listed = re.search(r"replica_groups=\{(\{.*?\})\}", rest)
    if listed:
        return [
            [int(n) for n in group.split(",") if n]
            for group in re.findall(r"\{([\d,]*)\}", listed.group(1))
        ]
    short = re.search(r"replica_groups=\[(\d+),(\d+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", rest)
    if short:
        grid = np.arange(int(short.group(1)) * int(short.group(2)))
        grid = grid.reshape([int(n) for n in short.group(3).split(",")])
        if short.group(4):
            grid = grid.transpose([int(n) for n in short.group(4).split(",")])
        return grid.reshape(int(short.group(1)), -1).tolist()
    named = re.search(
        r"replica_groups=mesh\[(.*?)\]"
        r"(?:, device_ids=\(\[([\d,]+)\](?:T\(([\d,]+)\))?\))? \{(.*?)\}",
        rest,
    )
    if named:
        axes = dict(re.findall(r"'(\w+)'=(\d+)", named.group(1)))
        over = [list(axes).index(name) for name in re.findall(r"'(\w+)'", named.group(4))]
        chips = np.arange(math.prod(map(int, axes.values())))
        if named.group(2):  # the chips of the mesh are not in order
            chips = chips.reshape([int(n) for n in named.group(2).split(",")])
            if named.group(3):
                chips = chips.transpose([int(n) for n in named.group(3).split(",")])
        grid = chips.reshape([int(n) for n in axes.values()])
        size = math.prod(grid.shape[axis] for axis in over)
        return np.moveaxis(grid, over, range(-len(over), 0)).reshape(-1, size).tolist()
    pairs = re.search(r"source_target_pairs=\{(.*?)\}\}", rest)
    if pairs:
        return [[int(n) for n in pair] for pair in re.findall(r"(\d+),(\d+)", pairs.group(1))]
    return []


def _add(
    kinds: dict[tuple, Traffic],
    kind: str,
    instruction: Instruction,
    beside: dict[str, Instruction],
    times: int,
    chips_per_slice: int,
) -> None:
    groups = groups_of(instruction.rest)
    size = max((len(group) for group in groups), default=1)
    if size < 2:
        return
    into = sum(sum(sizes_in_bytes(beside[n].shape)) for n in instruction.operands if n in beside)
    payload = into * size if kind == "all-gather" else into
    share = (size - 1) / size
    wire = {
        "all-gather": share * payload,
        "all-reduce": 2 * share * payload,
        "reduce-scatter": share * payload,
        "all-to-all": share * payload,
        "ragged-all-to-all": share * payload,
        "collective-permute": payload,
    }[kind]
    spans = bool(chips_per_slice) and any(
        len({chip // chips_per_slice for chip in group}) > 1 for group in groups
    )
    found = kinds.setdefault((kind, size, spans), Traffic(kind, size, spans))
    found.count += times
    found.payload += times * payload
    found.wire += times * wire
