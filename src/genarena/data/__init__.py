"""Data: specs and fields, every kind of source, fixed splits, and a loader whose order is a pure function."""

from .fields import Batch, Dataset, Field, ImageSpec, LabelSpec, Quarantined, Schema, Spec, VectorSpec
from .inspect import inspect_dataset
from .loader import Loader
from .sources import open_dataset

__all__ = [
    "Batch",
    "Dataset",
    "Field",
    "ImageSpec",
    "LabelSpec",
    "Loader",
    "Quarantined",
    "Schema",
    "Spec",
    "VectorSpec",
    "inspect_dataset",
    "open_dataset",
]
