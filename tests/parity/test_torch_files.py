"""PyTorch files that hold less than they say, or more than their size."""

import zipfile

import numpy as np
import pytest

from zv_jax.convert.sources import open_file
from zv_jax.errors import ConversionError

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")


def test_a_tensor_stretched_over_one_number(tmp_path):
    """Written out, the 10^12 elements of these 1.5 KB would fill every disk."""
    torch.save({"w": torch.zeros(1).expand(10**12)}, tmp_path / "x.bin")
    with pytest.raises(ConversionError, match="of which 4 are stored"):
        open_file(tmp_path / "x.bin")


def test_views_of_one_storage_are_read(tmp_path):
    table = torch.arange(12.0)
    torch.save({"a": table[:6].view(2, 3), "b": table.view(3, 4).T, 5: table}, tmp_path / "x.bin")
    source = open_file(tmp_path / "x.bin")
    assert source.specs.keys() == {"a", "b"}
    np.testing.assert_array_equal(source.read("b"), np.arange(12.0).reshape(3, 4).T)


def test_a_compressed_archive_is_not_unpacked(tmp_path):
    torch.save({"w": torch.zeros(1 << 20)}, tmp_path / "plain.bin")
    with (
        zipfile.ZipFile(tmp_path / "plain.bin") as plain,
        zipfile.ZipFile(tmp_path / "x.bin", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for item in plain.infolist():
            packed.writestr(item.filename, plain.read(item))
    assert (tmp_path / "x.bin").stat().st_size < 1 << 14
    with pytest.raises(ConversionError, match="cannot be read as a PyTorch state dictionary"):
        open_file(tmp_path / "x.bin").read("w")


def test_a_file_from_before_archives_is_read(tmp_path):
    torch.save({"w": torch.ones(3)}, tmp_path / "x.bin", _use_new_zipfile_serialization=False)
    np.testing.assert_array_equal(open_file(tmp_path / "x.bin").read("w"), np.ones(3))
