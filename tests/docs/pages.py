"""What the documentation tells people to type, read or open, taken from its pages and from the
texts that the program shows: usage, docstrings of recipes, cards of data sets."""

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENGLISH = [
    "README.md",
    "CONTRIBUTING.md",
    "benchmarks/README.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
]
FENCE = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")


def chinese(page: str) -> str:
    """The Chinese page of an English one."""
    if page.startswith("docs/"):
        return page.replace("docs/", "docs/zh/", 1)
    return page.replace(".md", "_zh.md")


PAGES = [page for one in ENGLISH for page in (one, chinese(one))]


@cache
def text(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def blocks(page: str, *languages: str) -> list[str]:
    """Fenced blocks of `page` in these languages; shell blocks bear none, `sh` or `bash`."""
    return [body for language, body in FENCE.findall(text(page)) if language in languages]


def spans(page: str) -> list[str]:
    """Code within the sentences of `page`."""
    prose = FENCE.sub("", text(page))
    return [re.sub(r"\s+", " ", span) for span in re.findall(r"`([^`]+)`", prose)]


def lines(shell: str) -> Iterator[str]:
    """Commands of a shell block: lines joined at a backslash, comments and columns cut off."""
    for line in re.sub(r"\\+\n\s*", "", shell).splitlines():
        line = line.strip().removeprefix("$ ")
        # `zv convert to-hf  CKPT OUT    what it does`: explanations stand in a column.
        line = re.split(r"\s{3,}(?=[a-z(])|\s{4,}(?!-)|\s+#\s", line)[0].strip()
        yield from line.split(" && ")


def commands(page: str) -> list[str]:
    """Everything on `page` that is typed in a shell."""
    typed = [line for block in blocks(page, "", "sh", "bash") for line in lines(block)]
    typed += spans(page)
    return [line for line in dict.fromkeys(typed) if words(line)]


def words(line: str) -> list[str]:
    """`zv train ... --a=b` as words; none where `line` is no command."""
    if not re.match(r"(zv|make|python|pip|bash|launch/\S+|source|export)(\s|$)", line):
        return []
    try:
        return shlex.split(line)
    except ValueError:
        return []


def shown_by_the_program() -> dict[str, list[str]]:
    """Commands in usage texts, docstrings of recipes and cards of data sets, by file."""
    found = {}
    places = [
        *ROOT.glob("zv_jax/cli/**/*.py"),
        *ROOT.glob("configs/**/*.py"),
        *ROOT.glob("zv_jax/data/readers/cards/*.yaml"),
        *ROOT.glob("evaluation/tasks/*.yaml"),
    ]
    for path in sorted(places):
        content = path.read_text("utf-8")
        if path.suffix == ".py":
            tree = ast.parse(content)
            values = [ast.get_docstring(tree) or ""]
            # A usage text may be put together from several.
            values += [
                text.value
                for node in tree.body
                if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "USAGE"
                for text in ast.walk(node.value)
                if isinstance(text, ast.Constant)
            ]
            typed = [line for value in values for line in lines(value)]
        else:
            typed = re.findall(r"zv [a-z][^#'\"`.,;，。；\n]*", content)
            typed = [re.split(r"[^\x00-\x7f]", line)[0].strip() for line in typed]
        typed = [re.sub(r"^usage: ", "", line) for line in typed]
        typed = [line for line in typed if line.startswith("zv ") and words(line)]
        if typed:
            found[path.relative_to(ROOT).as_posix()] = list(dict.fromkeys(typed))
    return found
