"""Addresses inside shards: whatever they say, an image or one clear error, and at once."""

import json

import pyarrow
import pyarrow.parquet
import pytest

from zv_jax.data.images import addresses as image_store
from zv_jax.data.images.decode import ImageError
from zv_jax.data.records.record import ImageRef


@pytest.fixture
def shards(tmp_path):
    """A folder with the same five bytes in files of every kind that needs no other package."""
    for name in ("a.tar", "b#1.tar"):
        (tmp_path / name).write_bytes(b"bytes")
    table = pyarrow.table({"image": [b"bytes"]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pyarrow.ipc.new_stream(tmp_path / "a.arrow", table.schema) as stream:
        stream.write_table(table)
    (tmp_path / "a.jsonl").write_text(json.dumps({"image": "Ynl0ZXM=", "images": ["Ynl0ZXM="]}))
    return tmp_path


@pytest.mark.parametrize(
    "key",
    [
        "a.tar#0:5",
        "b#1.tar#0:5",
        "a.parquet#0:image",
        "a.arrow#0:image",
        "a.jsonl#0:0:image",
        "a.jsonl#0:0:images",
    ],
)
def test_an_address_is_a_place_in_a_file(shards, key):
    assert image_store.read(shards, ImageRef(shard_key=key)) == b"bytes"


@pytest.mark.parametrize(
    "key",
    [
        f"a.{kind}#{place}"
        for kind, places in {
            "tar": ("0:-1", "-1:5", "0:1000000000000000", f"{10**30}:5", "0", "0:5:5"),
            "parquet": ("-1:image", "1:image", f"{10**30}:image", "0:none", "0"),
            "arrow": ("-1:image", "1:image", f"{10**30}:image", "0:none", "0"),
            "jsonl": ("-1:0:image", "0:-1:images", "0:1:images", f"{10**30}:0:image", "0:0:none"),
        }.items()
        for place in places
    ],
)
def test_a_wrong_address_gives_no_other_image_and_takes_no_memory(shards, key):
    with pytest.raises(ImageError, match="no picture at this address") as caught:
        image_store.read(shards, ImageRef(shard_key=key))
    assert key in str(caught.value)
