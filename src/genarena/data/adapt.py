"""Other data as a model's own stored values: same shape, same grey levels."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DataError
from .fields import Dataset, ImageSpec, Spec
from .sources import open_dataset


def open_like(source: Any, spec: Spec, **options: Any) -> Dataset:
    """Open data resized to the shape that a model of `spec` takes."""
    if isinstance(spec, ImageSpec) and not isinstance(source, Dataset):
        options = {"size": (spec.height, spec.width), "channels": spec.channels, **options}
    return open_dataset(source, **options)


def stored_like(dataset: Dataset, spec: Spec) -> np.ndarray:
    """Every example's stored values, in the data's order, on the grey levels of `spec`.

    Raises
    ------
    DataError
        Where the data are of another kind or shape.
    """
    own = dataset.schema.target
    values = np.asarray(dataset.fields[dataset.schema.target_name].values)
    if type(own) is not type(spec) or own.shape != spec.shape:
        raise DataError(f"the model takes examples of shape {spec.shape}; '{dataset.name}' has {own.shape}.")
    if isinstance(own, ImageSpec) and isinstance(spec, ImageSpec) and own.levels != spec.levels:
        values = np.rint(values * ((spec.levels - 1) / (own.levels - 1))).astype(np.uint8)
    return values
