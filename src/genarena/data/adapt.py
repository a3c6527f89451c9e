"""Other data as a model's own: same shape, same range and grey levels, same classes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import DataError
from .fields import Dataset, ImageSpec, LabelSpec, Spec
from .sources import open_dataset


def open_like(source: Any, spec: Spec, **options: Any) -> Dataset:
    """Open data as those of a model of `spec`: in its shape, by its range of pixel values; see `open_dataset`."""
    return values_like(open_dataset(source, like=spec, **options), spec)


def values_like(dataset: Dataset, spec: Spec) -> Dataset:
    """The same examples as stored values of `spec`: on its range and grey levels, or standardised by its mean and scale.

    Raises
    ------
    DataError
        Where the data are of another kind or shape.
    """
    name, own = dataset.schema.target_name, dataset.schema.target
    if type(own) is not type(spec) or own.shape != spec.shape:
        raise DataError(f"the model takes examples of shape {spec.shape}; '{dataset.name}' has {own.shape}.")
    field = dataset.fields[name]
    values = np.asarray(field.values)
    if isinstance(own, ImageSpec) and isinstance(spec, ImageSpec):
        same_numbers = own.container == spec.container != "uint8"  # are the same greys
        if own == spec and not (same_numbers and own.value_range != spec.value_range):
            return dataset
        black, white = 0.0, 1.0  # of the data, on the model's range
        if same_numbers:
            low, high = spec.value_range
            black, white = ((end - low) / (high - low) for end in own.value_range)
        shade = black + values * ((white - black) / (own.levels - 1))
        values = np.rint(np.clip(shade, 0, 1) * (spec.levels - 1)).astype(np.uint8)
    elif own == spec:
        return dataset
    return replace(dataset, fields={**dataset.fields, name: replace(field, spec=spec, values=values)})


def labelled_like(dataset: Dataset, spec: LabelSpec | None) -> Dataset:
    """The same examples with class indices of `spec`, found by the classes' names; as they are where either has no labels.

    Raises
    ------
    DataError
        Where examples are of a class that `spec` does not have.
    """
    own, name = dataset.schema.label, dataset.schema.label_name
    if spec is None or own is None or name is None or own.classes == spec.classes:
        return dataset
    field = dataset.fields[name]
    places = np.array([spec.classes.index(word) if word in spec.classes else -1 for word in own.classes], np.int64)
    given = np.asarray(field.values)  # -1 where an example has no label
    values = np.where(given < 0, -1, places[given])
    strange = given[(values < 0) & (given >= 0)]
    if len(strange):
        known = ", ".join(spec.classes[:10]) + (", …" if len(spec.classes) > 10 else "")
        raise DataError(
            f"'{dataset.name}' has examples of class '{own.classes[strange[0]]}', and the model was told of {known}."
        )
    label = replace(field, spec=LabelSpec.of(spec.classes, values[dataset.splits["train"]]), values=values)
    return replace(dataset, fields={**dataset.fields, name: label})
