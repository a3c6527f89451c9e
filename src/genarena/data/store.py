"""A data set as a folder of plain arrays: how the runs of a comparison share what was decoded once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pydantic

from ..errors import DataError, RunError
from ..files import Record, Text, read_record, replacing, write_json
from .arrays import open_array
from .fields import Dataset, Field, ImageSpec, LabelSpec, Quarantined, Schema, VectorSpec

_SPLITS = ("train", "val", "test")


class _File(Record):
    path: Text
    reason: Text


class DatasetRecord(Record):
    """``dataset.json``."""

    name: Text
    fields: dict[str, Any] = pydantic.Field(alias="schema")
    notes: list[Text]
    quarantined: list[_File]
    fingerprint: str


def save_dataset(dataset: Dataset, folder: Path) -> None:
    """Write fields and splits as ``.npy`` and everything else as ``dataset.json``, which is written last."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {f"field-{name}.npy": field.values for name, field in dataset.fields.items()}
    for name, array in {**arrays, **{f"split-{name}.npy": rows for name, rows in dataset.splits.items()}}.items():
        with replacing(folder / name) as partial:
            np.save(partial, array, allow_pickle=False)
    record = {
        "name": dataset.name,
        "schema": dataset.schema.to_json(),
        "notes": dataset.notes,
        "quarantined": [asdict(q) for q in dataset.quarantined],
        "fingerprint": dataset.fingerprint,
    }
    write_json(folder / "dataset.json", record)


def load_dataset(folder: Path) -> Dataset:
    """Read what `save_dataset` wrote; large fields are memory-mapped.

    Raises
    ------
    RunError
        Where the folder is incomplete or its content has changed.
    """
    try:
        path = folder / "dataset.json"
        record = read_record(path, DatasetRecord)
        written = record["fingerprint"]
        schema = Schema.from_json(record["schema"])
        if not all(name.isidentifier() for name in schema.specs):
            raise RunError(f"'{path}' names fields that genarena does not write.")
        fields = {
            name: Field(spec, schema.roles[name], open_array(folder / f"field-{name}.npy"))
            for name, spec in schema.specs.items()
        }
        splits = {name: np.array(open_array(folder / f"split-{name}.npy")) for name in _SPLITS}
        _check(fields, splits)
        quarantined = tuple(Quarantined(entry["path"], entry["reason"]) for entry in record["quarantined"])
        dataset = Dataset(record["name"], fields, splits, tuple(record["notes"]), quarantined)
    except (OSError, DataError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RunError(f"'{folder}' is not a complete stored data set ({error}).") from None
    if dataset.fingerprint != written:
        raise RunError(f"'{folder}' was changed since it was written: its fingerprint differs.")
    return dataset


def _check(fields: Mapping[str, Field], splits: Mapping[str, np.ndarray]) -> None:
    """Raise ValueError unless the arrays are what their specs say, and the splits rows of them."""
    counts = {len(field.values) for field in fields.values() if field.values.ndim}
    if len(counts) != 1:
        raise ValueError("its fields are not of one length")
    (count,) = counts
    for name, field in fields.items():
        kinds = {ImageSpec: "|u1", VectorSpec: ("<f4", "<f8"), LabelSpec: "<i8"}[type(field.spec)]
        if field.values.shape[1:] != field.spec.shape or field.values.dtype.str not in kinds:
            raise ValueError(f"{name} holds {field.values.dtype} of shape {field.values.shape}")
        if isinstance(field.spec, VectorSpec):
            if not np.isfinite(field.values).all():
                raise ValueError(f"{name} holds values that are not finite")
            continue
        limit = field.spec.levels if isinstance(field.spec, ImageSpec) else len(field.spec.classes)
        low, high = int(field.values.min()), int(field.values.max())
        if low < 0 or high >= limit:
            raise ValueError(f"{name} holds {low} to {high} where there are {limit}")
    rows = list(splits.values())
    if any(split.ndim != 1 or split.dtype != np.int64 or not len(split) for split in rows):
        raise ValueError("a split is no list of rows")
    together = np.concatenate(rows)
    if together.min() < 0 or together.max() >= count or len(np.unique(together)) < len(together):
        raise ValueError("the splits name rows that are not there, or one twice")
    if any((np.diff(split) <= 0).any() for split in rows):
        raise ValueError("the rows of a split are not in order")
