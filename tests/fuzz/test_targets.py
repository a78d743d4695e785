"""What `make fuzz` damages is sound: each target makes its files, and they are read."""

import pytest

from tests.fuzz import targets
from zv_jax.errors import SetupError

TARGETS = [(group, name) for group, found in targets.groups().items() for name in found()]


@pytest.mark.parametrize("group, name", TARGETS)
def test_files_are_read_before_they_are_damaged(group, name, tmp_path):
    target = targets.groups()[group]()[name]
    target.make(tmp_path)
    assert any(path.is_file() for path in tmp_path.rglob("*"))
    targets.forget()
    try:
        target.read(tmp_path)
    except SetupError as missing:  # a package of the environment of `make fuzz`
        pytest.skip(missing.what)
