"""A data set as a folder of plain arrays: how the runs of a comparison share what was decoded once."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np

from ..errors import DataError, RunError
from ..files import read_json, replacing, write_json
from .arrays import open_array
from .fields import Dataset, Field, Quarantined, Schema

_SPLITS = ("train", "val", "test")


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
        record = read_json(path)
        written = record["fingerprint"]
        schema = Schema.from_json(record["schema"])
        if not all(name.isidentifier() for name in schema.specs):
            raise RunError(f"'{path}' names fields that genarena does not write.")
        fields = {
            name: Field(spec, schema.roles[name], open_array(folder / f"field-{name}.npy"))
            for name, spec in schema.specs.items()
        }
        splits = {name: np.array(open_array(folder / f"split-{name}.npy")) for name in _SPLITS}
        quarantined = tuple(Quarantined(**entry) for entry in record["quarantined"])
        dataset = Dataset(record["name"], fields, splits, tuple(record["notes"]), quarantined)
    except (OSError, DataError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RunError(f"'{folder}' is not a complete stored data set ({error}).") from None
    if dataset.fingerprint != written:
        raise RunError(f"'{folder}' was changed since it was written: its fingerprint differs.")
    return dataset
