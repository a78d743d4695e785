"""Files damaged at random are read, or refused with an error of this program: `make fuzz`.

No other exception, no hang, no growth of memory, no end of the process. `ZV_FUZZ_MINUTES` says for
how long, `ZV_FUZZ_SEED` from where; the seed is printed, so that a failure comes again.
"""

import os
import time
from pathlib import Path

import pytest

CHILD = str(Path(__file__).with_name("child.py"))
GROUPS = ("published", "own", "records", "weights", "tokenizers", "answers", "runs")


@pytest.mark.fuzz
@pytest.mark.parametrize("group", GROUPS)
def test_damaged_files_are_read_or_refused(group, fresh_python, tmp_path):
    seconds = 60 * float(os.environ.get("ZV_FUZZ_MINUTES", "5")) / len(GROUPS)
    seed = os.environ.get("ZV_FUZZ_SEED") or str(time.time_ns() % 10**9)
    print(f"ZV_FUZZ_SEED={seed}")
    found = fresh_python(CHILD, group, str(seconds), str(tmp_path), seed, timeout=seconds + 600)
    print(found.stdout[-2000:])
    last = tmp_path / "last.txt"
    tried = last.read_text() if last.is_file() else "nothing was tried\n"
    assert found.returncode == 0, f"{tried}{found.stderr[-6000:]}"
