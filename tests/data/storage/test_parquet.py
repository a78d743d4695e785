"""Parquet files: those of others may hold more than the memory of a machine."""

import struct

import pytest

from tests.data.readers import layouts
from zv_jax.cli import main as cli
from zv_jax.data.images import addresses
from zv_jax.data.records.record import ImageRef
from zv_jax.data.storage import parquet, parquet_pages
from zv_jax.data.storage.thrift import I32, I64, Thrift
from zv_jax.errors import DataError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def written(path, values, **options):
    pq.write_table(pa.table({"caption": values}), path, **options)
    return path


def test_a_table_is_read_in_batches_of_few_rows(tmp_path):
    path = written(tmp_path / "a.parquet", [f"一只猫 {i}" for i in range(600)])
    sizes = [batch.num_rows for batch in parquet.Table(path).batches()]
    assert sum(sizes) == 600 and max(sizes) <= parquet.ROWS


def test_texts_of_one_large_row_group_come_in_full_batches(tmp_path):
    """Each call takes pyarrow as long as some hundreds of bytes of text."""
    texts = [f"{i} " + "a dog on the grass " * 60 for i in range(30_000)]
    table = parquet.Table(written(tmp_path / "a.parquet", texts, compression="none"))
    assert next(table.batches()).num_rows == parquet.ROWS


WRITERS = {
    "as usual": {},
    "the second version": {"data_page_version": "2.0"},
    "gzip": {"compression": "gzip"},
    "lz4": {"compression": "lz4"},
    "brotli": {"compression": "brotli"},
    "many row groups": {"compression": "zstd", "row_group_size": 100},
    "small pages": {"data_page_size": 1000, "compression": "none"},
    "by prefix": {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY"}},
}


@pytest.mark.parametrize("kind", WRITERS)
def test_pages_are_counted_as_the_footer_of_a_sound_file_counts_them(tmp_path, kind):
    table = pa.table({
        "text": [f"一只猫 {i % 7}" for i in range(1000)],
        "labels": [["dog", "a cat"] * (i % 5) for i in range(1000)],
        "image": [{"bytes": bytes([i % 256] * 300), "path": "a.jpg"} for i in range(1000)],
        "number": list(range(1000)),
        "nothing": [None] * 1000,
    })  # fmt: skip
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, **WRITERS[kind])
    metadata = pq.ParquetFile(path).metadata
    found = parquet_pages.chunks(path)
    assert len(found) == metadata.num_row_groups * metadata.num_columns
    for chunk in found:
        column = metadata.row_group(chunk.group).column(chunk.column)
        headers = column.total_compressed_size - chunk.stored
        assert 0 < headers < column.total_compressed_size
        assert chunk.holds + headers == column.total_uncompressed_size
        assert chunk.longest <= chunk.holds
    for group in range(metadata.num_row_groups):
        held = pq.ParquetFile(path).read_row_group(group).nbytes
        assert held <= sum(chunk.swells for chunk in found if chunk.group == group)
    assert pa.Table.from_batches(parquet.Table(path).batches()).equals(table)


def test_fields_of_another_type_are_passed_over_as_the_library_of_thrift_does():
    struct_ = bytes([0x15, 5, 0x15, 6, 0x06, 4, 0x80, 1, 0x18, 2, 65, 66, 0x19, 0x25, 2, 4, 0])
    assert Thrift(struct_).struct({1: I32, 2: I32}) == {1: -3, 2: 3}, "not 64, as an I64"
    assert Thrift(struct_).struct({4: [I32]}) == {4: [1, 2]}
    longer = b"\x15" + bytes([0x8B, 0x80, 0x80, 0x80, 0x10]) + b"\0"  # 2**32 + 11
    assert Thrift(longer).struct({1: I32}) == {1: -6}
    for broken in (struct_[:-1], b"\x18\x7fA", b"\x15" + b"\xff" * 12, b"\x1e"):
        with pytest.raises((IndexError, ValueError)):
            Thrift(broken).struct({1: I64})


@pytest.fixture
def small_bounds(monkeypatch):
    """Bounds as they are, for files that take no seconds to make."""
    monkeypatch.setattr(parquet, "FREE", 2**16)
    monkeypatch.setattr(parquet, "ONCE", 2**22)


def bomb(folder):
    """A megabyte of one letter in a thousandth of it."""
    options = {"compression": "zstd", "use_dictionary": False}
    return written(folder / "bomb.parquet", ["a" * 2**16] * 16, **options)


def shared(folder, rows, **options):
    """One value of 64 KB for many rows."""
    value = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), ["a" * 2**16])
    return written(folder / "shared.parquet", value, store_schema=False, **options)


def test_a_column_that_swells_is_refused_before_it_is_read(tmp_path, small_bounds):
    with pytest.raises(ValueError, match="bytes in"):
        parquet.Table(bomb(tmp_path))


def test_a_footer_that_names_small_sizes_is_not_believed(tmp_path, small_bounds):
    path = bomb(tmp_path)
    row_group = pq.ParquetFile(path).metadata.row_group(0)
    data = path.read_bytes()
    for size in {row_group.total_byte_size, row_group.column(0).total_uncompressed_size}:
        true = varint(2 * size)
        assert true in data
        data = data.replace(true, b"\x80" * (len(true) - 1) + b"\0")
    path.write_bytes(data)
    assert pq.ParquetFile(path).metadata.row_group(0).total_byte_size == 0
    with pytest.raises(ValueError, match="bytes in"):
        parquet.Table(path)


def varint(value):
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def test_one_long_value_for_many_rows_comes_a_few_rows_at_a_time(tmp_path, small_bounds):
    """A dictionary stores it once; in memory it stands in every row."""
    path = shared(tmp_path, 256, compression="none")
    first = next(parquet.Table(path).batches())
    assert first.column(0)[0].as_py() == "a" * 2**16
    assert path.stat().st_size < 2**17 and first.nbytes <= 2**23


def test_an_image_that_is_stored_once_for_very_many_rows_is_no_column_to_address(
    tmp_path, small_bounds
):
    shared(tmp_path, 256)
    with pytest.raises(DataError, match="bytes of memory"):
        addresses.read(tmp_path, ImageRef(shard_key="shared.parquet#0:caption"))


def test_lists_of_values_that_are_runs_are_refused_before_they_are_read(tmp_path, small_bounds):
    """A run of a million equal numbers takes some bytes, a long text of a dictionary as many."""
    for values in ([[0] * 10**6], [["a" * 2**14] * 2**12], [[None] * 10**6]):
        path = written(tmp_path / "lists.parquet", values)
        assert path.stat().st_size < 2**16
        with pytest.raises(ValueError, match="'caption.list.element' may take"):
            parquet.Table(path)
    written(path, [["a dog", "a cat"] * 10] * 1000)
    assert sum(batch.num_rows for batch in parquet.Table(path).batches()) == 1000


def test_rows_without_end_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "COUNT", 1000)
    path = written(tmp_path / "a.parquet", pa.nulls(10**6))
    with pytest.raises(ValueError, match="1,000,000 rows in"):
        parquet.Table(path)


def test_pages_that_lead_out_of_the_file_are_refused(tmp_path):
    path = written(tmp_path / "a.parquet", ["a dog"] * 50, compression="none", use_dictionary=False)
    data = path.read_bytes()
    page = pq.ParquetFile(path).metadata.row_group(0).column(0).data_page_offset
    size = Thrift(data, page).struct({3: I32})[3]
    true = varint(2 * size)
    at = data.index(true, data.index(true, page) + 1)  # before compression, and after
    for wrong in (2 * size - 1, 16382):  # a negative size, one beyond the end
        damaged = data[:at] + varint(wrong) + data[at + len(true) :]
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="beyond the file"):
            parquet_pages.chunks(path)
    for length in (0, 2**31):
        path.write_bytes(data[:-8] + struct.pack("<I", length) + b"PAR1")
        with pytest.raises((ValueError, IndexError)):
            parquet_pages.chunks(path)


def test_a_bomb_is_an_error_that_names_the_file(tmp_path, small_bounds, capsys):
    path = bomb(tmp_path)
    out = f"--out={tmp_path / 'out.jsonl'}"
    assert cli.main(["data", "convert", "parquet", f"--root={tmp_path}", out]) != 0
    assert str(path) in capsys.readouterr().err


def test_an_image_is_read_by_its_row_in_any_row_group(tmp_path):
    images = [layouts.jpeg(), b"second", b"third"]
    pq.write_table(
        pa.table({"image": [{"bytes": data, "path": ""} for data in images]}),
        tmp_path / "a.parquet",
        row_group_size=2,
    )
    for row, data in enumerate(images):
        ref = ImageRef(shard_key=f"a.parquet#{row}:image")
        assert addresses.read(tmp_path, ref) == data
    with pytest.raises(DataError, match="no picture at this address"):
        addresses.read(tmp_path, ImageRef(shard_key="a.parquet#3:image"))
