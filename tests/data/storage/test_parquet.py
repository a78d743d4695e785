"""Parquet files: those of others may hold more than the memory of a machine."""

import pytest

from zv_jax.cli import main as cli
from zv_jax.data.storage import parquet

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def written(path, values, **options):
    pq.write_table(pa.table({"caption": values}), path, **options)
    return path


def test_a_table_is_read_in_batches_of_few_rows(tmp_path):
    path = written(tmp_path / "a.parquet", [f"一只猫 {i}" for i in range(600)])
    sizes = [batch.num_rows for batch in parquet.batches(parquet.open_file(path))]
    assert sum(sizes) == 600 and max(sizes) <= parquet.ROWS


@pytest.fixture
def small_bounds(monkeypatch):
    """Bounds as they are, for files that take no seconds to make."""
    monkeypatch.setattr(parquet, "FREE", 2**16)
    monkeypatch.setattr(parquet, "ONCE", 2**22)


def bomb(folder):
    """A megabyte of one letter in a thousandth of it."""
    options = {"compression": "zstd", "use_dictionary": False}
    return written(folder / "bomb.parquet", ["a" * 2**16] * 16, **options)


def test_a_column_that_swells_is_refused_before_it_is_read(tmp_path, small_bounds):
    with pytest.raises(ValueError, match="bytes in"):
        parquet.open_file(bomb(tmp_path))


def test_one_long_value_for_many_rows_comes_a_few_rows_at_a_time(tmp_path, small_bounds):
    """A dictionary stores it once; in memory it stands in every row."""
    value = pa.DictionaryArray.from_arrays(pa.array([0] * 256, pa.int32()), ["a" * 2**16])
    path = written(tmp_path / "shared.parquet", value, compression="none", store_schema=False)
    first = next(iter(parquet.batches(parquet.open_file(path))))
    assert first.column(0)[0].as_py() == "a" * 2**16
    assert path.stat().st_size < 2**17 and first.nbytes <= 2**23


def test_a_bomb_is_an_error_that_names_the_file(tmp_path, small_bounds, capsys):
    path = bomb(tmp_path)
    out = f"--out={tmp_path / 'out.jsonl'}"
    assert cli.main(["data", "convert", "parquet", f"--root={tmp_path}", out]) != 0
    assert str(path) in capsys.readouterr().err
