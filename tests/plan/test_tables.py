"""The table of plans in the documentation."""

import json

import pytest

from zv_jax.config import flags as recipes
from zv_jax.parallel import hardware
from zv_jax.plan import tables

RECIPE = {"stage": "stage2", "variant": "chat", "batch_size": 64, "remat": "full"}
FOUND = {
    "recipe": {**RECIPE, "length": 9, "images": 3},
    "topology": {"name": "v5e:4x4"},
    "memory": {"arguments": 2**30, "temporaries": 2**31, "capacity": 2**34},
    "flops": {"ratio": 1.5},
    "traffic": [{"wire": 2e9}, {"wire": 1e9}],
    "step": {"seconds": 2.0, "rows_per_second": 32.0, "mfu": 0.4},
    "run": {"chip_hours": 1234.5},
    "source": "compiled",
}


@pytest.fixture
def docs(tmp_path, monkeypatch):
    for page in tables.HEADS:
        (tmp_path / page).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / page).write_text(f"before\n{tables.BEGIN}\nafter\n", "utf-8")
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    monkeypatch.setattr(tables, "PLANS", tmp_path)
    return tmp_path


def test_the_table_is_renewed_in_both_languages(docs):
    (docs / f"{tables.CASES[0][0]}.json").write_text(json.dumps(FOUND))
    for _ in range(2):
        tables.write()
    for page in tables.HEADS:
        text = (docs / page).read_text("utf-8")
        assert text.startswith("before") and text.rstrip().endswith("after")
        assert text.count("| v5e:4x4 | 64 | 9, 3 | full | 1.00 | 2.00 | 16.00 | 1.500 | 3.0 |") == 1
        head, rule, line = [x for x in text.splitlines() if x.startswith("|")]
        assert head.count("|") == rule.count("|") == line.count("|")


def test_a_calculated_plan_does_not_pass_for_a_compiled_one(docs):
    (docs / f"{tables.CASES[0][0]}.json").write_text(json.dumps({**FOUND, "source": "calculated"}))
    with pytest.raises(SystemExit, match="not compiled"):
        tables.write()


def test_every_case_names_a_recipe_and_a_machine():
    for _, recipe, machine, _ in tables.CASES:
        assert recipes.locate(recipe.partition(":")[0]).is_file()
        assert hardware.topology(machine).chip.compiled
