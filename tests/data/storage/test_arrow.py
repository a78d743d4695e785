"""Arrow stream files of others: what they say of themselves may lead anywhere."""

import struct

import pytest

from tests.data.readers import layouts
from zv_jax.data.images import addresses
from zv_jax.data.public import catalogue
from zv_jax.data.records.record import ImageRef
from zv_jax.data.storage import arrow
from zv_jax.errors import DataError

pa = pytest.importorskip("pyarrow")


def saved(folder, values, **options):
    """A data set of `datasets` with one column."""
    path, table = folder / "data-0.arrow", pa.table({"text": values})
    with pa.ipc.new_stream(path, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as sink:
        sink.write_table(table)
    layouts.dump(folder / "state.json", {"_data_files": [{"filename": path.name}]})
    return path


def refused(path, words):
    with pytest.raises(ValueError, match=words):
        arrow.Table(path)
    with pytest.raises(DataError, match=words):
        list(catalogue.read("hf_disk", path.parent))
    with pytest.raises(DataError, match=words):
        addresses.read(path.parent, ImageRef(shard_key=f"{path.name}#0:text"))


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_a_compressed_file_is_refused_before_it_is_read(tmp_path, codec):
    path = saved(tmp_path, ["a" * 2**20] * 8, compression=codec)
    assert path.stat().st_size < 2**17
    refused(path, "compressed")
    words = pa.DictionaryArray.from_arrays([0], ["a" * 2**20])
    refused(saved(tmp_path, words, compression=codec), "compressed")


@pytest.mark.parametrize("end", [2**30, -4])
def test_an_offset_that_leads_out_of_the_file_is_an_error_and_no_end_of_the_process(tmp_path, end):
    path = saved(tmp_path, ["abcd", "efgh", "ijkl"])
    data, offsets = path.read_bytes(), struct.pack("<4i", 0, 4, 8, 12)
    assert data.count(offsets) == 1
    path.write_bytes(data.replace(offsets, struct.pack("<4i", 0, end, 8, 12)))
    refused(path, "ffset")


def test_numbers_of_a_dictionary_lead_into_it(tmp_path):
    words = pa.DictionaryArray.from_arrays(pa.array([0, 1, 1, 0], pa.int32()), ["dog", "cat"])
    path = saved(tmp_path, words)
    indices = struct.pack("<4i", 0, 1, 1, 0)
    path.write_bytes(path.read_bytes().replace(indices, struct.pack("<4i", 0, 1, 10**6, 0)))
    refused(path, "out of bounds")


def test_values_without_bytes_are_counted(tmp_path, monkeypatch):
    """Nothing takes no room, so that a file may name any number of it."""
    monkeypatch.setattr(arrow, "COUNT", 1000)
    refused(saved(tmp_path, pa.nulls(10**6)), "names 2,000,000 values")
    lists = pa.ListArray.from_arrays([0, 10**6], pa.nulls(10**6))
    refused(saved(tmp_path, lists), "names 1,000,002 values")
    refused(saved(tmp_path, pa.FixedSizeListArray.from_arrays(pa.nulls(10**6), 10**6)), "values")
    saved(tmp_path, ["a dog", "a cat"])
    assert len(list(arrow.Table(tmp_path / "data-0.arrow").batches())) == 1


@pytest.mark.parametrize(
    "values",
    [
        pa.array(["a" * 100], pa.string_view()),
        pa.array([[1]], pa.list_view(pa.int8())),
        pa.RunEndEncodedArray.from_arrays([5], ["a"]),
        pa.ListArray.from_arrays([0, 2], pa.DictionaryArray.from_arrays([0, 0], ["a"])),
        pa.StructArray.from_arrays([pa.DictionaryArray.from_arrays([0, 0], ["a"])], ["inner"]),
    ],
    ids=lambda values: str(values.type)[:20],
)
def test_types_of_which_a_row_may_hold_the_same_bytes_many_times_are_refused(tmp_path, values):
    refused(saved(tmp_path, values), "'text' is of type")


def test_rows_that_share_a_long_value_come_a_few_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(arrow, "ONCE", 2**12)
    words = pa.DictionaryArray.from_arrays([0] * 100, ["a" * 1000])
    table = arrow.Table(saved(tmp_path, words))
    assert [batch.num_rows for batch in table.batches()] == [4] * 25
