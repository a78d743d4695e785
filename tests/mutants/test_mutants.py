"""The list stays true while code moves, and the runner says what it should of a tree of its own.

No mutant of the list is tried here: `make mutants` does that.
"""

import ast
import sys
from pathlib import Path

import pytest
import run as runner
from run import Mutant

MUTANTS = runner.load()
TREE = {
    "sums.py": "def add(a, b):\n    return a + b\n\n\ndef less(a, b):\n    return a - b\n",
    "pytest.ini": "[pytest]\naddopts = -m 'not parity'\nmarkers =\n    parity: another time\n",
    "test_sums.py": """
import pytest, sums

def test_add():
    assert sums.add(2, 3) == 5

@pytest.mark.parity
def test_less():
    assert sums.less(2, 3) == -1
""",
}
ADD, LESS = ("test_sums.py::test_add",), ("test_sums.py::test_less",)


def test_names_are_unique_and_each_mutant_has_a_reason_and_a_test_or_is_equivalent():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert all(mutant.why for mutant in MUTANTS)
    assert all(bool(mutant.default) != bool(mutant.equivalent) for mutant in MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_mutant_applies_once_and_is_python(mutant):
    text = (runner.ROOT / mutant.file).read_text("utf-8")
    assert ast.dump(ast.parse(mutant.applied(text))) != ast.dump(ast.parse(text))


def test_the_tests_named_are_there():
    for test in {test for mutant in MUTANTS for test in (*mutant.default, *mutant.parity)}:
        file, _, name = test.partition("::")
        text = (runner.ROOT / file).read_text("utf-8")
        assert not name or f"\ndef {name}(" in text, test


@pytest.fixture
def tree(tmp_path):
    """A small tree with one default test and one of parity."""
    for name, text in TREE.items():
        (tmp_path / name).write_text(text)
    yield tmp_path
    assert {name: (tmp_path / name).read_text() for name in TREE} == TREE, "it is never touched"


def mutant(name, old, new, default=ADD, parity=()):
    return Mutant(name, "sums.py", old, new, "why", default, parity)


def test_killed_by_either_suite_or_survived(tree, capsys):
    mutants = [
        mutant("sign", "a + b", "a - b"),
        mutant("order", "a + b", "b + a"),
        mutant("less", "a - b", "b - a", default=(), parity=LESS),
    ]
    assert runner.run(mutants, Path(sys.executable), whole=False, root=tree) == 1
    said = capsys.readouterr().out.splitlines()
    assert [line[:16].strip() for line in said[:3]] == ["killed", "survived", "killed by parity"]
    assert said[-2:] == [
        "default: 33.3% killed, 85% promised",
        "with parity: 66.7% killed, 95% promised",
    ]


def test_a_mistake_in_a_folder_that_is_linked_into_the_package_is_noticed(tree):
    """As `evaluation` is: imported by its place in the package, changed at its own."""
    (tree / "sums").mkdir()
    (tree / "sums" / "__init__.py").write_text(TREE["sums.py"])
    (tree / "package").mkdir()
    (tree / "package" / "sums").symlink_to("../sums", target_is_directory=True)
    (tree / "test_linked.py").write_text(
        "from package.sums import add\n\ndef test_add():\n    assert add(2, 3) == 5\n"
    )
    linked = Mutant("m", "sums/__init__.py", "a + b", "a - b", "why", ("test_linked.py::test_add",))
    assert runner.run([linked], None, whole=False, root=tree) == 0


def test_all_killed_without_the_second_environment(tree, capsys):
    assert runner.run([mutant("sign", "a + b", "a - b")], None, whole=True, root=tree) == 0
    assert "no environment .venv-parity" in capsys.readouterr().out


def test_those_that_are_equivalent_do_not_count():
    verdicts = {"killed": 6, "killed by parity": 1, "survived": 1, "equivalent": 2}
    assert runner.rates(verdicts, parity=True) == {"default": 6 / 8, "with parity": 7 / 8}


def test_an_old_text_must_stand_there_once():
    for old, count in (("a * b", 0), ("return", 2)):
        with pytest.raises(runner.CannotTell, match=f"has its old text {count} times"):
            mutant("m", old, "").applied(TREE["sums.py"])


def test_what_cannot_be_told_is_no_kill(tree, capsys):
    gone = mutant("gone", "a + b", "a - b", default=(), parity=("test_sums.py::test_gone",))
    assert runner.run([gone], Path(sys.executable), whole=False, root=tree) == 2
    assert "gone: pytest could not run its tests" in capsys.readouterr().out


def test_tests_that_fail_anyway_kill_nothing(tree):
    (tree / "sums.py").write_text(TREE["sums.py"].replace("+", "*"))
    with pytest.raises(runner.CannotTell, match="fails without any mutant"):
        runner.run([mutant("sign", "a * b", "a - b")], None, whole=False, root=tree)
    (tree / "sums.py").write_text(TREE["sums.py"])
