"""An installed zv_jax is one top-level name, with all it needs below it, whatever lies beside."""

import ast
import fnmatch
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from setuptools import find_namespace_packages

import zv_jax

ROOT = Path(__file__).resolve().parent.parent
INSIDE = ("evaluation", "configs")


def setup_arguments() -> dict[str, ast.expr]:
    """What setup.py gives to `setup`."""
    calls = [n for n in ast.walk(ast.parse((ROOT / "setup.py").read_text())) if hasattr(n, "func")]
    (call,) = [c for c in calls if getattr(c.func, "id", "") == "setup"]
    return {keyword.arg: keyword.value for keyword in call.keywords}


def package_names() -> set[str]:
    """Every folder with Python files, by the name it has once installed."""
    found = set()
    for top in ("zv_jax", *INSIDE):
        for file in (ROOT / top).rglob("*.py"):
            parts = file.parent.relative_to(ROOT).parts
            if not set(INSIDE) & set(parts[1:2]):
                found.add(".".join(parts if top == "zv_jax" else ("zv_jax", *parts)))
    return found


def data_files() -> set[str]:
    """Every file that is no Python, by its path below zv_jax once installed."""
    found = set()
    for top in ("zv_jax", *INSIDE):
        for file in (ROOT / top).rglob("*.*"):
            parts = file.relative_to(ROOT / "zv_jax" if top == "zv_jax" else ROOT).parts
            code = file.suffix in (".py", ".pyc") or file.is_dir()
            if not code and not (top == "zv_jax" and parts[0] in INSIDE):
                found.add("/".join(parts))
    return found


def test_the_version_is_one():
    cited = (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"\nversion: {zv_jax.__version__}\n" in cited


def test_packages_are_found_below_one_name_only():
    include = ast.literal_eval(setup_arguments()["packages"].keywords[0].value)
    found = set(find_namespace_packages(str(ROOT), include=include))
    assert {name.split(".")[0] for name in found} == {"zv_jax"}
    assert package_names() <= found
    assert {"zv_jax.evaluation.report", "zv_jax.configs.eval", "zv_jax.configs.sweeps"} <= found


def test_every_file_beside_the_code_is_installed():
    patterns = ast.literal_eval(setup_arguments()["package_data"])["zv_jax"]
    assert {"evaluation/report/style.css", "html/language.js", "py.typed"} <= data_files()
    for path in data_files():
        kinds = [pattern.removeprefix("**/") for pattern in patterns]
        assert any(fnmatch.fnmatch(path.rpartition("/")[2], kind) for kind in kinds), path


@pytest.fixture
def project(tmp_path) -> Path:
    """Somebody's working folder, with packages of their own that have the names of ours."""
    for name in INSIDE:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('not of zv_jax')\n")
    (tmp_path / "configs" / "__init__.py").write_text("STEPS = 7\n")
    (tmp_path / "configs" / "mine.py").write_text(
        "from configs import STEPS\n"
        "from zv_jax.config import recipe\n"
        "def get_config(arg=''):\n"
        "    return recipe('tiny_chat', train={'steps': STEPS})\n"
    )
    return tmp_path


RECIPES = (
    "configs/stage1.py:chat",
    "stage1:chat",
    "quickstart.py:stage0",
    "configs/paper.py:stage0_base",
    "eval/ziya",
    "configs/eval/quickstart.py:language",
)


def shows_recipes(run) -> None:
    """`run(*arguments)` starts `python` in somebody's folder: ours are found, and theirs too."""
    shown = ["from zv_jax.cli.main import main"]
    shown += [f"assert main(['config', 'show', '--config={recipe}']) == 0" for recipe in RECIPES]
    shown.append("assert main(['config', 'show', '--config=configs/mine.py']) == 0")
    shown.append("import configs, zv_jax.configs; assert configs.STEPS == 7")
    shown.append("import zv_jax.evaluation.report.page")
    done = run("-c", "\n".join(shown))
    assert done.returncode == 0, done.stderr
    assert "train.steps" in done.stdout


def test_own_packages_of_the_same_names_break_nothing(project, fresh_python):
    shows_recipes(lambda *arguments: fresh_python(*arguments, cwd=project))


def source(folder: Path) -> Path:
    """A copy of what setup.py reads, links as links, so that nothing is built in this tree."""
    folder.mkdir()
    skip = shutil.ignore_patterns("__pycache__")
    for name in ("zv_jax", *INSIDE):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=skip)
    for name in ("setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", *arguments, "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*command, "--no-index", "-q"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_wheel_holds_everything_below_one_name(project, fresh_python, tmp_path):
    pip("wheel", str(source(tmp_path / "source")), "-w", str(tmp_path / "wheel"))
    (wheel,) = (tmp_path / "wheel").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"zv_jax"}
    assert {f"zv_jax/{path}" for path in data_files()} <= set(names)
    assert {"zv_jax/configs/stage1.py", "zv_jax/evaluation/report/page.py"} <= set(names)
    site = tmp_path / "site"
    pip("install", str(wheel), "--target", str(site))
    shows_recipes(lambda *a: fresh_python(*a, cwd=project, PYTHONPATH=f"{site}:{project}"))


@pytest.mark.slow
def test_the_archive_of_the_sources_holds_what_tests_and_launches_it(tmp_path):
    skip = shutil.ignore_patterns(".git", ".venv*", "__pycache__", "runs", "*.egg-info", "site")
    copy = shutil.copytree(ROOT, tmp_path / "source", symlinks=True, ignore=skip)
    command = [sys.executable, "setup.py", "-q", "sdist", "--formats=tar", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.glob("*.tar")
    names = {name.partition("/")[2] for name in tarfile.open(archive).getnames()}
    wanted = [
        file.relative_to(copy).as_posix()
        for folder in ("tests", "docs", "launch", "configs", "evaluation")
        for file in (copy / folder).rglob("*")
        if file.is_file()
    ]
    wanted += [file.name for file in copy.glob("requirements-*.lock")]
    assert not set(wanted) - names
    assert {"README_zh.md", "Makefile", "Dockerfile", "mkdocs.yml", "pytest.ini"} <= names


@pytest.mark.slow
def test_an_editable_installation_has_one_name(project, fresh_python, tmp_path):
    clone = source(tmp_path / "clone")
    pip("install", "-e", str(clone), "--prefix", str(tmp_path / "env"), "--ignore-installed")
    (link,) = (tmp_path / "env").rglob("__editable__*.pth")
    start = f"""
import site, sys
installed = [name for name in sys.modules if name.startswith("__editable___zv_jax")]
sys.meta_path[:] = [f for f in sys.meta_path if getattr(f, "__module__", "") not in installed]
for name in installed:  # the environment that runs this test may be one, too
    del sys.modules[name]
sys.path.insert(0, {str(link.parent)!r})
site.addsitedir({str(link.parent)!r})
"""
    show = lambda flag, code: fresh_python(flag, start + code, cwd=project, PYTHONPATH=str(project))
    shows_recipes(show)
    where = show("-c", "import zv_jax.evaluation; print(zv_jax.evaluation.__file__)").stdout
    assert where.startswith(str(clone))
