"""What the documentation tells people to type is understood, and what it names is there.

Here commands are read by the program itself, up to the point where they would begin to work:
command, flags, recipe, overrides. `test_commands.py` lets them run on small data.
"""

import dataclasses
import functools
import importlib
import re
from pathlib import Path

import pages
import pytest
from pages import ENGLISH, PAGES, ROOT

import zv_jax
from zv_jax.bmmic import config as bmmic
from zv_jax.cli import commands
from zv_jax.cli import main as cli
from zv_jax.config import build
from zv_jax.config import schema as config_lib
from zv_jax.evaluation import config as suite

EXAMPLES = {"COMMAND": "train", "GRID": "v5e:16x16", "P": "1.2"}
RECIPES = {
    "train": "configs/quickstart.py:stage0",
    "plan": "configs/quickstart.py:stage0",
    "config": "configs/quickstart.py:stage0",
    "data": "configs/quickstart.py:stage1_chat",
    "eval": "configs/eval/quickstart.py:retrieval",
    "sweep": "configs/sweeps/learning_rate.py",
    "bmmic": "configs/bmmic/quickstart.py",
}
COMMANDS = sorted(
    {line for page in PAGES for line in pages.commands(page)}
    | {line for lines in pages.shown_by_the_program().values() for line in lines}
)
ZV = [line for line in COMMANDS if line.startswith("zv ")]


def concrete(line: str) -> list[str]:
    """The words of a command, usage syntax resolved: `[--optional]` given, `FILE` a real recipe."""
    line = re.sub(r"\[:ARG\]|\[--\S+\.field=value \.\.\.\]|--\S+\.field=value", "", line)
    line = re.sub(r"(?<=\w)(\|\w+)+", "", line)  # en|zh
    words = pages.words(re.sub(r"\[(--[^\]]+)\]", r"\1", line))[1:]
    out = [
        EXAMPLES.get(word, word)
        for before, word in zip(["", *words], words, strict=False)
        if not re.fullmatch(r"\[?(FILE|NAME)\]|\||\[NAME", word)
        and (word != "..." or before == "--prompt")
    ]
    recipe = RECIPES.get(out[0]) if out else None
    return [recipe if re.fullmatch(r"FILE(:ARG)?", word) and recipe else word for word in out]


@pytest.mark.parametrize("line", ZV)
def test_the_program_understands_every_command_of_the_documentation(line, monkeypatch, capsys):
    words = concrete(line)
    if not words:
        return
    if words[0] in commands.COMMANDS and len(words) == 1:
        return  # `zv data` in a sentence
    seen = []
    if not {"help", *commands.HELP, "--version"} & set(words):
        command, _ = commands.find(words)
        monkeypatch.setattr(command.module, "run", lambda values, rest: seen.append(values))
    assert cli.main(words) == 0, capsys.readouterr().err
    if seen and command.recipe_flag and seen[0].config is not None:
        checked(seen[0].config)


def checked(recipe) -> None:
    """The whole recipe with its overrides is right, not only the names of its fields."""
    if "model" in recipe:
        build.validate(recipe)
    elif "symbols" in recipe:
        bmmic.validate(recipe)
    else:
        suite.validate(recipe)


@functools.cache
def flags_of_all_commands() -> set[str]:
    names = {"config", "suite", "debug", "help", "version"}
    return names.union(*(command.flags() for command in commands.every()))


def test_the_check_itself_sees_mistakes(monkeypatch):
    module = importlib.import_module("zv_jax.cli.train")
    monkeypatch.setattr(module, "run", lambda values, rest: None)
    for wrong in (
        "zv trian --config configs/stage1.py",
        "zv train --confg configs/stage1.py",
        "zv train --config configs/stage9.py",
        "zv train --config configs/stage1.py:chat --config.optimiser.lr=1",
        "zv data prepaer coco_caption",
    ):
        if wrong.startswith("zv trian"):
            assert cli.main(concrete(wrong)[:1]) == 2
        else:
            assert cli.main(concrete(wrong)) == 2, wrong
    assert pages.commands("README.md") and pages.commands("README_zh.md")


@pytest.mark.parametrize("page", ENGLISH)
def test_both_languages_give_the_same_commands(page):
    """But for the language that a command names, and words in it that are translated."""

    def plain(page: str) -> list[str]:
        found = []
        for line in pages.commands(page):
            line = re.sub(r"[^\x00-\x7f]+", "X", line)
            line = re.sub(r"=[A-Z]+\b", "=X", line)
            line = re.sub(r"--lang \S+ |\b(en|zh)\b|_(en|zh)\b", "", line)
            found.append(re.sub(r"\s+", " ", re.sub(r'"[^"]*"', '""', line)).strip())
        return found

    assert plain(pages.chinese(page)) == plain(page)


PATH = re.compile(
    r"^(?:zv_jax|configs|evaluation|launch|tests|docs|benchmarks|integrations|\.ci)/[\w./*-]*$"
    r"|^(?:Makefile|setup\.py|LICENSE|requirements[\w.-]+|README\w*\.md)$"
)


@pytest.mark.parametrize("page", PAGES)
def test_every_path_of_the_repository_that_a_page_names_is_there(page):
    named = {word for span in pages.spans(page) for word in span.split() if PATH.match(word)}
    for block in pages.blocks(page, "", "sh", "bash"):
        named |= {word for line in pages.lines(block) for word in line.split() if PATH.match(word)}
    missing = [path for path in sorted(named) if not list(ROOT.glob(path.rstrip("/")))]
    assert not missing


def test_the_site_links_only_to_pages_it_has_and_the_index_to_all_of_them():
    """MkDocs serves `docs` alone: a link out of it is a broken one there."""
    for folder in (ROOT / "docs", ROOT / "docs/zh"):
        linked = set()
        for page in folder.glob("*.md"):
            targets = re.findall(r"\]\(([^)\s#]+)", page.read_text("utf-8"))
            inside = [(folder / t).resolve() for t in targets if not re.match(r"[a-z]+:", t)]
            assert all(path.is_relative_to(ROOT / "docs") for path in inside), page.name
            if page.name == "index.md":
                linked = {path.name for path in inside}
        assert {page.name for page in folder.glob("*.md")} <= linked | {"index.md"}


@pytest.mark.parametrize("page", [page for page in ENGLISH if page.startswith("docs/")])
def test_every_page_of_the_site_links_its_twin_and_is_in_the_navigation(page):
    name = Path(page).name
    head = "\n".join(pages.text(page).splitlines()[:4])
    assert f"[中文](zh/{name})" in head
    assert f"[English](../{name})" in "\n".join(pages.text(pages.chinese(page)).splitlines()[:4])
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8")
    assert f" {name}\n" in navigation and f" zh/{name}\n" in navigation


def test_the_api_page_names_every_public_name():
    """`zv_jax.NAME` or the place it comes from, in both languages."""
    for page in ("docs/api.md", "docs/zh/api.md"):
        shown = re.findall(r"^::: (\S+)$", pages.text(page), re.MULTILINE)
        objects = {id(found) for dotted in shown if (found := named(dotted))}
        missing = [name for name in zv_jax.__all__ if id(getattr(zv_jax, name)) not in objects]
        assert not missing


def named(dotted: str) -> object:
    """The object of a dotted name."""
    try:
        return importlib.import_module(dotted)
    except ImportError:
        home, _, name = dotted.rpartition(".")
        return getattr(importlib.import_module(home), name)


@pytest.mark.parametrize("page", ["README.md", "README_zh.md"])
def test_the_readme_is_short(page):
    assert len(pages.text(page).splitlines()) < 150


def anchors(page: Path) -> set[str]:
    """As GitHub and MkDocs make them of headings."""
    heads = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_within_the_repository_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", pages.text(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_extra_and_script_exists(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    extras = set(re.findall(r'^    "([a-z-]+)": ', (ROOT / "setup.py").read_text(), re.MULTILINE))
    for line in pages.commands(page):
        words = pages.words(line)
        if words[0] == "make" and len(words) > 1:
            assert words[1] in targets, line
        for group in re.findall(r"(?:zv_jax|\.)\[([a-z,-]+)\]", line):
            assert set(group.split(",")) <= extras, line
        if words[0] == "python" and words[1].endswith(".py"):
            code = (ROOT / words[1]).read_text()
            for flag in re.findall(r"--([a-z_]+)", line):
                assert re.search(rf"[\"'](--)?{flag}[\"']", code), line


CONFIG_SECTIONS = {f.name for f in dataclasses.fields(config_lib.Config)} - {"seed"}


def exists(path: str, kind: type) -> bool:
    """Is `section.field` a field of the configuration?"""
    import typing

    for name in path.split("."):
        name = re.sub(r"\[\d+\]$", "", name)
        if typing.get_origin(kind) is tuple:
            kind = typing.get_args(kind)[0]
        if not dataclasses.is_dataclass(kind):
            return False
        hints = typing.get_type_hints(kind)
        if name not in hints:
            return False
        kind = hints[name]
    return True


@pytest.mark.parametrize("page", PAGES)
def test_every_field_and_flag_that_a_page_names_exists(page):
    names = set()
    for span in pages.spans(page):
        field = re.fullmatch(
            r"(?:--config\.|--noconfig\.)?([a-z_]+(?:\.[a-z_0-9]+)+)(?:=.*)?", span
        )
        if field and field[1].split(".")[0] in CONFIG_SECTIONS and not field[1].endswith(FILES):
            assert exists(field[1], config_lib.Config), span
        names |= set(re.findall(r"(?<!\S)--(?:no)?([a-z][a-z_-]*[a-z])(?![\w.-])", span))
    known = flags_of_all_commands() | OTHERS
    assert not {name for name in names if name.replace("-", "_") not in known}


FILES = (
    ".safetensors",
    ".bin",
    ".csv",
    ".tsv",
    ".py",
    ".md",
    ".json",
    ".jsonl",
    ".log",
    ".yaml",
    ".model",
    ".txt",
)
# Of pip, uv, SentencePiece, vLLM, the benchmarks and launch scripts (tests/launch checks those).
PIP = {"all", "exclude", "exclude_editable", "require_hashes", "generate_hashes", "no_deps",
       "no_annotate", "no_header", "python_version", "bos_id", "eos_id"}  # fmt: skip
VLLM = {
    "model",
    "limit_mm_per_prompt",
    "allowed_media_domains",
    "max_model_len",
    "media_io_kwargs",
    "mm_processor_cache_gb",
    "trust_request_mm_kwargs",
    "enable_tower_connector_lora",
}
OTHERS = {*PIP, *VLLM} | {
    name.replace("-", "_")
    for folder in ("benchmarks", "launch")
    for file in (ROOT / folder).iterdir()
    if file.is_file()
    for name in re.findall(r"(?:--|DEFINE_\w+\(\s*[\"'])([a-z][a-z_-]*[a-z])", file.read_text())
}


@functools.cache
def sources() -> str:
    """All code that writes or reads files, as one text."""
    files = [
        path for room in ("zv_jax", "evaluation", "launch") for path in (ROOT / room).rglob("*.*")
    ]
    return "\n".join(path.read_text() for path in files if path.suffix in (".py", ".sh", ".yaml"))


@pytest.mark.parametrize("page", [page for page in PAGES if "datasets" not in page])
def test_every_file_that_a_page_speaks_of_is_known_to_the_program(page):
    """Names of results and logs, unless a command of the page gives the name or makes the file."""
    typed = " ".join(pages.commands(page)) + pages.text("README.md")
    for span in pages.spans(page):
        name = re.fullmatch(r"(?:[\w<>./-]*/)?([\w.-]+\.(?:jsonl?|log|html|csv|npy))", span)
        if name and name[1] not in typed and not (ROOT / span).exists():
            stem = re.sub(r"-\d+(?=\.log)", "", name[1])
            assert stem in sources() or re.search(rf"[\"']{re.escape(span)}", sources()), span


@pytest.mark.parametrize("page", PAGES)
def test_python_on_a_page_compiles_and_imports_what_exists(page):
    for block in pages.blocks(page, "python"):
        code = compile(block, page, "exec")
        for line in re.findall(r"^(?:from|import) .*$", block, re.MULTILINE):
            if re.search(r"zv_jax|evaluation|configs", line):
                exec(line, {})  # noqa: S102
        for dotted in re.findall(r"\bzv_jax(?:\.\w+)+", block):
            assert resolves(dotted), dotted
        assert code
    for span in pages.spans(page):
        name = re.fullmatch(r"((?:zv_jax|evaluation)(?:\.[A-Za-z_]\w*)+)(?:\(.*\))?", span)
        if name:
            assert resolves(name[1]), span


def resolves(dotted: str) -> bool:
    """Is there such a module, class or function?"""
    head, *rest = dotted.split(".")
    found: object = importlib.import_module(head)
    for place, part in enumerate(rest, 1):
        if not hasattr(found, part):
            try:
                importlib.import_module(".".join([head, *rest[:place]]))
            except ImportError:
                return False
        found = getattr(found, part)
    return True
