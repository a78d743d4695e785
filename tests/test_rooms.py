"""Which room may import which: the floors of the house, read from the imports of every file.

The table is that of docs/architecture.md. A name in one of the `STILL_...` sets is an exception
that is being mended: it fails here as soon as it is needed no longer, and no new one may be added.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
FACE = "zv_jax"

FLOORS = {
    9: ("configs", "__main__"),
    8: ("cli",),
    7: ("evaluation", "serving", "bmmic", "sweep", "plan"),
    6: ("inference", "convert", "training"),
    5: ("checkpoints", "data"),
    4: ("config", "stages"),
    3: ("models", "objectives", "warmup"),
    2: ("parallel", "llm", "html"),
    1: ("errors", "files", "tables", "trees", "json_input", "casts", "arrays", "buckets")
    + ("patterns", "progress", "yaml_input"),
}
FLOOR = {room: floor for floor, rooms in FLOORS.items() for room in rooms}

# (file, module that it imports from a higher floor)
STILL_UPWARD: set[tuple[str, str]] = set()
# Files outside models/ and warmup/ that import flax.
STILL_FLAX: set[str] = set()
# (file, private name of another package)
STILL_PRIVATE: set[tuple[str, str]] = set()

FLAX_ROOMS = ("models", "warmup")
# Documented in spite of the underscore: os, named tuples, and grain for classes that extend it.
DOCUMENTED = {"_exit", "_asdict", "_fields", "_replace", "_parent"}


class Import(NamedTuple):
    file: str
    line: int
    module: str


@cache
def files() -> dict[str, str]:
    """Path of every file of the package, and the module that it is."""
    found = {}
    for top in ("zv_jax", "evaluation", "configs"):
        for path in sorted((ROOT / top).rglob("*.py")):
            inside = path.relative_to(ROOT)
            if top == "zv_jax" and inside.parts[1] in ("evaluation", "configs"):
                continue  # links to the folders beside zv_jax
            parts = (() if top == "zv_jax" else ("zv_jax",)) + inside.with_suffix("").parts
            found[inside.as_posix()] = ".".join(p for p in parts if p != "__init__")
    return found


@cache
def tree(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text("utf-8"))


def imports(file: str, ours: Iterable[str]) -> Iterator[Import]:
    """Every import of a file, wherever in it; `from a import b` names `a.b` where b is a module.

    What only type checkers read is left out: a name in an annotation asks nothing of its room.
    """
    for node in at_run_time(tree(file)):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}:{node.lineno}: write the whole name of the module"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = sorted({name if name in ours else node.module for name in inner})
        else:
            continue
        yield from (Import(file, node.lineno, module) for module in modules)


def at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under `if TYPE_CHECKING`."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield from at_run_time(child)


@cache
def all_imports() -> tuple[Import, ...]:
    ours = set(files().values())
    return tuple(i for file in files() for i in imports(file, ours))


def room(module: str) -> str:
    """`config` of `zv_jax.config.build`; "" for the public face and for other packages."""
    first, *rest = module.split(".")
    return rest[0] if first == "zv_jax" and rest else ""


def home(found: Import) -> str:
    return room(files()[found.file])


def between_rooms() -> list[Import]:
    ends = [(i, home(i), room(i.module)) for i in all_imports()]
    return [i for i, start, end in ends if start and end and start != end]


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of nodes that reach each other (Tarjan)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        order[node] = low[node] = len(order)
        stack.append(node)
        for after in sorted(graph.get(node, ())):
            if after not in order:
                visit(after)
            if after in stack:
                low[node] = min(low[node], low[after])
        if low[node] == order[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(graph):
        if node not in order:
            visit(node)
    return found


def graph_of(edges: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    graph: dict[str, set[str]] = {}
    for start, end in edges:
        graph.setdefault(start, set()).add(end)
    return graph


def test_circles_are_found():
    assert circles(graph_of([("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")])) == [["b", "c"]]
    assert circles(graph_of([("a", "b"), ("a", "c"), ("b", "c")])) == []


def test_every_room_has_a_floor():
    assert {room(module) for module in files().values()} - {""} <= FLOOR.keys()


def test_no_room_imports_from_a_higher_floor():
    upward = {(i.file, i.module) for i in between_rooms() if FLOOR[room(i.module)] > FLOOR[home(i)]}
    assert upward == STILL_UPWARD


def on_one_floor() -> set[tuple[str, str]]:
    pairs = {(home(i), room(i.module)) for i in between_rooms()}
    return {(start, end) for start, end in pairs if FLOOR[start] == FLOOR[end]}


def test_no_circle_between_rooms_of_one_floor():
    assert circles(graph_of(on_one_floor())) == []


def test_rooms_of_the_seventh_floor_know_nothing_of_each_other():
    assert {pair for pair in on_one_floor() if FLOOR[pair[0]] == 7} <= {("sweep", "plan")}


def test_no_circle_between_files():
    ours = set(files().values())
    edges = ((files()[i.file], i.module) for i in all_imports() if i.module in ours - {FACE})
    assert circles(graph_of(edges)) == []


def test_below_the_commands_the_public_face_is_read_for_its_version_only():
    below = [i.file for i in all_imports() if i.module == FACE and home(i) != "cli"]
    for file in below:
        names = {
            node.attr
            for node in ast.walk(tree(file))
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == FACE
        }
        assert names == {"__version__"}, file


def test_data_never_imports_jax():
    foreign = {i.module.split(".")[0] for i in all_imports() if home(i) == "data"}
    assert not foreign & {"jax", "flax", "optax", "orbax"}


def test_flax_is_imported_by_models_and_warm_ups_only():
    users = {i.file for i in all_imports() if i.module.split(".")[0] == "flax"}
    assert {f for f in users if room(files()[f]) not in FLAX_ROOMS} == STILL_FLAX


def aligned_columns(file: str) -> Iterator[int]:
    """Lines that pad text to a width: `ljust`, `rjust`, or `f"{x:<8}"`."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Attribute) and node.attr in ("ljust", "rjust"):
            yield node.lineno
        if isinstance(node, ast.FormattedValue) and node.format_spec:
            first = node.format_spec.values[0]  # of "<8": a constant; of "{width}": a value
            if isinstance(first, ast.Constant) and re.match(r".?[<>^]", first.value):
                yield node.lineno


def test_one_module_aligns_columns():
    found = {file for file in files() if any(aligned_columns(file))}
    assert found <= {"zv_jax/errors.py"}  # the labels of an error are of one width


MARKUP = re.compile(
    r"<!doctype|</(body|div|figure|h[1-6]|html|p|pre|section|span|style|svg|t[dhr]|table)>"
)


def test_one_room_writes_html():
    found = {
        file
        for file in files()
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and MARKUP.search(node.value)
    }
    assert {file for file in found if room(files()[file]) != "html"} == set()


def test_no_private_name_of_another_package_is_used():
    assert set(private_names()) == STILL_PRIVATE


def private_names() -> Iterator[tuple[str, str]]:
    """Imports of a private module, and private attributes that no class of ours defines."""
    for found in all_imports():
        parts = found.module.split(".")
        private = [n for n, part in enumerate(parts) if part.startswith("_") and part[1:2] != "_"]
        if parts[0] != "zv_jax" and private:
            yield found.file, ".".join(parts[: private[0] + 1])
    own = {name for file in files() for name in defined(tree(file))}
    for file in files():
        for node in ast.walk(tree(file)):
            if not isinstance(node, ast.Attribute) or not node.attr.startswith("_"):
                continue
            if not node.attr.startswith("__") and node.attr not in own | DOCUMENTED:
                yield file, node.attr


def defined(module: ast.Module) -> Iterator[str]:
    """Names that a file defines: functions, classes, variables, fields and attributes it sets."""
    for node in ast.walk(module):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
