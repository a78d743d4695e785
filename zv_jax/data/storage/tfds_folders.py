"""Folders of TensorFlow Datasets that others made, opened without running anything they name.

TensorFlow Datasets imports the module of every feature type that `features.json` names, so a
folder could run any code that lies within reach. Here only types of its own are let through.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zv_jax import json_input
from zv_jax.errors import DataError

_OWN = "tensorflow_datasets.core.features."
_TYPES = ("type", "pythonClassName", "python_class_name")  # what holds a feature's class


def builder(folder: str | Path) -> Any:
    """The data set in a folder with `features.json` and `dataset_info.json`.

    Raises:
      DataError: a feature type is not one of TensorFlow Datasets itself, a file of the data set
        lies outside the folder, or the two files are not as it writes them.
    """
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import read_only_builder

    folder = Path(folder)
    _check_types(_json(folder / "features.json"), str(folder / "features.json"))
    _check_places(_json(folder / "dataset_info.json"), str(folder / "dataset_info.json"))
    try:
        about = tfds.core.dataset_info.read_proto_from_builder_dir(folder)
        about.ClearField("module_name")  # the module that made it; there is no need for it
        return read_only_builder.ReadOnlyBuilder(builder_dir=folder, info_proto=about)
    except Exception as error:  # the library raises nearly anything
        raise DataError(
            f"no data set of TensorFlow Datasets ({type(error).__name__}: {error})"[:300],
            where=str(folder),
            expected="a folder that TensorFlow Datasets 4 or newer wrote",
            fix="copy or prepare it again",
        ) from error


def _json(path: Path) -> Any:
    if not path.is_file():
        raise DataError(
            f"{path.name} is missing",
            where=str(path.parent),
            expected="features.json and dataset_info.json, as TensorFlow Datasets writes them",
            fix="give the folder that holds them, such as NAME/1.0.0",
        )
    return json_input.parse(path.read_bytes(), str(path))


def _check_types(value: Any, where: str) -> None:
    """Refuses types of others, however deep; a text may hold JSON that is read as such."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        value = json_input.parse(value, where)
    if isinstance(value, list):
        for item in value:
            _check_types(item, where)
    if isinstance(value, dict):
        for name, item in value.items():
            if name in _TYPES and isinstance(item, str) and not item.startswith(_OWN):
                raise DataError(
                    f"Feature type {item!r} is not one of TensorFlow Datasets itself",
                    where=where,
                    expected=f"types of {_OWN}*: to load another one would run its code",
                    fix="write the data set again with features of tfds.features, or as Parquet",
                )
            _check_types(item, where)


def _check_places(about: Any, where: str) -> None:
    """Refuses names of files that lead out of the folder."""
    splits = about.get("splits") if isinstance(about, dict) else None
    if not isinstance(splits, list) or not all(isinstance(split, dict) for split in splits):
        raise DataError("no list of splits", where=where, expected="what TensorFlow Datasets wrote")
    parts = ("name", "filepathTemplate", "filepath_template")
    for text in (entry.get(part) for entry in (about, *splits) for part in parts):
        if isinstance(text, str) and ("/" in text or "\\" in text):
            raise DataError(
                f"{text!r} leads out of the folder",
                where=where,
                expected="the files of the data set beside it",
                fix="copy the files into the folder, and name them without a path",
            )
