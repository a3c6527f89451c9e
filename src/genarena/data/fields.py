"""What an example is: named fields, each with a spec and a role.

A spec holds what a network's input, an output layer and a likelihood need to know (shape, number of levels,
categories), and nothing of where the data came from. Models and metrics are built from specs alone.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from torch import Tensor

from ..errors import DataError

Role = Literal["target", "condition", "label"]

CONTAINERS = ("uint8", "uint16", "int", "float")
"""What pixel values come in; ``int`` is any other type of whole numbers."""


@dataclass(frozen=True)
class ImageSpec:
    """Images of one size, stored as integer codes.

    Attributes
    ----------
    channels, height, width : int
        1 (grey) or 3 (RGB) channels; height and width in pixels.
    levels : int
        The true number of grey levels: codes run from 0 to ``levels - 1`` (17 for the 8x8 digits, 2 for binary
        images). Likelihoods in bits per dimension depend on it.
    mean : tuple of float
        Mean grey value of each channel over the train split, from 0 to 1; empty where unknown.
    value_range : (float, float)
        The numbers that black and white (codes 0 and ``levels - 1``) had in the source; see `data.ranges`.
    container : str
        What these numbers came in, one of `CONTAINERS`.
    resized : bool
        Whether images were cropped or resized to this shape.
    background : {"", "white", "black"}
        What transparency was laid on; empty where there was none.

    The last five say nothing of the codes themselves, and specs that differ only there are equal.
    """

    channels: int
    height: int
    width: int
    levels: int = 256
    mean: tuple[float, ...] = field(default=(), compare=False)
    value_range: tuple[float, float] = field(default=(0.0, 255.0), compare=False)
    container: str = field(default="uint8", compare=False)
    resized: bool = field(default=False, compare=False)
    background: str = field(default="", compare=False)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.channels, self.height, self.width)


@dataclass(frozen=True)
class VectorSpec:
    """Rows of real numbers.

    Attributes
    ----------
    dim : int
        Number of columns.
    mean, scale : tuple of float
        Per column, in the data's units, of the train split; networks see ``(x - mean) / scale``.
    names : tuple of str
        Column names, or empty.
    """

    dim: int
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    names: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.dim,)


@dataclass(frozen=True)
class LabelSpec:
    """One class out of several; values are indices into ``classes``.

    Attributes
    ----------
    classes : tuple of str
    frequencies : tuple of float
        Share of each class in the train split: the distribution that labels of new examples are drawn from.
    """

    classes: tuple[str, ...]
    frequencies: tuple[float, ...]

    @classmethod
    def of(cls, classes: tuple[str, ...], labels: np.ndarray) -> LabelSpec:
        """The spec of labels whose train split holds these indices ``(N,)``."""
        return cls(classes, tuple((np.bincount(labels, minlength=len(classes)) / len(labels)).tolist()))

    @property
    def shape(self) -> tuple[int, ...]:
        return ()


Spec = ImageSpec | VectorSpec | LabelSpec
_SPECS: dict[str, type] = {"image": ImageSpec, "vector": VectorSpec, "label": LabelSpec}


_STORAGE = ("value_range", "container", "resized", "background")  # how images came, which is no part of what they are
_LARGEST = {"channels": 3, "height": 65536, "width": 65536, "levels": 65536, "dim": 2**24}


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _check(spec: Spec) -> None:
    """Raise ValueError or TypeError for what no data have in a stored spec."""
    for name, largest in _LARGEST.items():
        size = getattr(spec, name, 2)
        if type(size) is not int or not (2 if name == "levels" else 1) <= size <= largest:
            raise ValueError(f"{name}={size!r:.40}")
    names = getattr(spec, "classes", ()) or getattr(spec, "names", ())
    numbers = [*getattr(spec, "mean", ()), *getattr(spec, "scale", ()), *getattr(spec, "frequencies", ())]
    if not all(isinstance(name, str) for name in names):
        raise ValueError("a name is no text")
    if not all(type(number) in (int, float) and math.isfinite(number) for number in numbers):
        raise ValueError("a mean, scale or frequency is no finite number")
    if isinstance(spec, ImageSpec) and not all(0 <= value <= 1 for value in spec.mean):
        raise ValueError("the mean grey value is not between 0 and 1")
    if isinstance(spec, ImageSpec) and len(spec.mean) not in (0, spec.channels):
        raise ValueError("mean does not have one number a channel")
    if isinstance(spec, ImageSpec):
        low, high = spec.value_range
        if not -1e300 < low < high < 1e300 or spec.container not in CONTAINERS or type(spec.resized) is not bool:
            raise ValueError(f"value_range={spec.value_range!r:.40}, container={spec.container!r:.40}")
        if spec.background not in ("", "white", "black"):
            raise ValueError(f"background={spec.background!r:.40}")
    if isinstance(spec, VectorSpec) and not len(spec.mean) == len(spec.scale) == spec.dim:
        raise ValueError("mean and scale do not have one number a column")
    if isinstance(spec, VectorSpec) and not all(scale > 0 for scale in spec.scale):
        raise ValueError("a scale is not positive")
    if isinstance(spec, VectorSpec) and (len(spec.names) not in (0, spec.dim) or not all(map(_is_text, spec.names))):
        raise ValueError("names are not one text a column")
    if isinstance(spec, LabelSpec):
        if len(spec.frequencies) != len(spec.classes):
            raise ValueError("frequencies do not have one number a class")
        if not all(0 <= share <= 1 for share in spec.frequencies) or abs(sum(spec.frequencies) - 1) > 1e-6:
            raise ValueError("frequencies do not sum to one")


@dataclass(frozen=True)
class Schema:
    """The specs and roles of a data set's fields, by name: all that a model may know of its data."""

    specs: Mapping[str, Spec]
    roles: Mapping[str, Role]

    def _named(self, role: Role) -> str | None:
        return next((name for name, r in self.roles.items() if r == role), None)

    @property
    def target_name(self) -> str:
        return self._named("target") or ""

    @property
    def label_name(self) -> str | None:
        return self._named("label")

    @property
    def target(self) -> Spec:
        """The spec of what is to be generated."""
        return self.specs[self.target_name]

    @property
    def label(self) -> LabelSpec | None:
        """The label's spec, or None where the data have no labels."""
        name = self.label_name
        spec = self.specs[name] if name else None
        return spec if isinstance(spec, LabelSpec) else None

    def to_json(self) -> dict[str, Any]:
        kinds = {cls: word for word, cls in _SPECS.items()}
        return {
            name: {"spec": kinds[type(spec)], "role": self.roles[name], **asdict(spec)}
            for name, spec in self.specs.items()
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Schema:
        """Rebuild a schema; raises `DataError` on a record that no genarena wrote."""
        if not isinstance(record, Mapping):
            raise DataError("the stored schema is not a mapping of fields.")
        specs: dict[str, Spec] = {}
        roles: dict[str, Role] = {}
        for name, entry in record.items():
            try:
                values = dict(entry)
                roles[name] = values.pop("role")
                if roles[name] not in get_args(Role):
                    raise ValueError(f"role {roles[name]!r:.40}")
                kind = _SPECS[values.pop("spec")]
                specs[name] = kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
                _check(specs[name])
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(f"field '{name}' of the stored schema cannot be read: {error}") from error
        targets = [name for name, role in roles.items() if role == "target"]
        if len(targets) != 1 or isinstance(specs[targets[0]], LabelSpec):
            raise DataError("the stored schema does not have one field to generate.")
        return cls(specs, roles)


@dataclass(frozen=True)
class Field:
    """One column of a data set.

    ``values`` holds, along its first axis, one entry an example: uint8 codes ``(N, C, H, W)`` for images, float64
    ``(N, D)`` in the data's own units for vectors, int64 ``(N,)`` for labels. It may be memory-mapped.
    """

    spec: Spec
    role: Role
    values: np.ndarray


@dataclass(frozen=True)
class Quarantined:
    """A file that could not be used, and why."""

    path: str
    reason: str


@dataclass(frozen=True, repr=False)
class Dataset:
    """Named fields of equal length with fixed splits.

    Attributes
    ----------
    name : str
        For people; nothing depends on it.
    fields : mapping of str to Field
    splits : mapping of str to numpy.ndarray
        ``train``, ``val`` and ``test``: sorted, disjoint int64 indices into the fields.
    notes : tuple of str
        What a reader should know of how the data were read (conversions, splits made).
    quarantined : tuple of Quarantined
    files : tuple of str
        The file of each example, as a path within the source; empty where examples have none. The data do not depend on it,
        and stored copies do without.
    """

    name: str
    fields: Mapping[str, Field]
    splits: Mapping[str, np.ndarray]
    notes: tuple[str, ...] = ()
    quarantined: tuple[Quarantined, ...] = field(default=(), repr=False)
    files: tuple[str, ...] = field(default=(), repr=False)

    def __repr__(self) -> str:
        """The size of every split and the specs, and no value."""
        splits = ", ".join(f"{name} {len(rows):,}" for name, rows in self.splits.items())
        specs = ", ".join(f"{name} {' x '.join(map(str, f.spec.shape))}".rstrip() for name, f in self.fields.items())
        return f"Dataset({self.name!r}: {specs}; {splits})"

    @cached_property
    def schema(self) -> Schema:
        return Schema({n: f.spec for n, f in self.fields.items()}, {n: f.role for n, f in self.fields.items()})

    def rows(self, split: str, most: int | None = None, seed: int = 0) -> np.ndarray:
        """Indices of a split, in order; at most so many, drawn at random, since data may come sorted by class."""
        rows = self.splits[split]
        if most is None or len(rows) <= most:
            return rows
        return rows[np.sort(np.random.default_rng(seed).permutation(len(rows))[:most])]

    def values(self, split: str, most: int | None = None, seed: int = 0) -> np.ndarray:
        """The target's stored values of `rows` (a copy)."""
        return np.asarray(self.fields[self.schema.target_name].values[self.rows(split, most, seed)])

    def labels(self, split: str, most: int | None = None, seed: int = 0) -> np.ndarray | None:
        """The class indices of `rows`, or None without labels."""
        name = self.schema.label_name
        return None if name is None else np.asarray(self.fields[name].values[self.rows(split, most, seed)])

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over specs, values and splits: equal data have equal fingerprints wherever and however they lie."""
        fields = {
            name: {k: v for k, v in entry.items() if k not in _STORAGE} for name, entry in self.schema.to_json().items()
        }
        digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode())
        for name in sorted(self.fields):
            digest.update(np.ascontiguousarray(self.fields[name].values).data)
        for name in sorted(self.splits):
            digest.update(name.encode() + np.ascontiguousarray(self.splits[name]).tobytes())
        return digest.hexdigest()

    def without_classes(self, indices: Sequence[int]) -> Dataset:
        """The same data with some classes hidden from ``train`` and ``val``; ``test`` keeps them.

        Raises
        ------
        DataError
            Without labels, or where nothing would be left to train on.
        """
        name, spec = self.schema.label_name, self.schema.label
        if name is None or spec is None:
            raise DataError(f"'{self.name}' has no labels, so no class can be left out.")
        label = self.fields[name]
        shown = ~np.isin(np.asarray(label.values), indices)
        kept = {k: rows[shown[rows]] if k != "test" else rows for k, rows in self.splits.items()}
        if not len(kept["train"]):
            raise DataError(f"'{self.name}' has nothing to train on without the hidden classes.")
        seen = LabelSpec.of(spec.classes, label.values[kept["train"]])
        return replace(self, splits=kept, fields={**self.fields, name: replace(label, spec=seen)})

    def of_trained_classes(self) -> Dataset:
        """The same data without the val and test examples of classes that ``train`` has none of: what a model can know."""
        name, spec = self.schema.label_name, self.schema.label
        if name is None or spec is None or all(spec.frequencies):
            return self
        trained = np.array(spec.frequencies) > 0
        values = np.asarray(self.fields[name].values)
        return replace(self, splits={split: rows[trained[values[rows]]] for split, rows in self.splits.items()})


class Batch:
    """The fields of some examples as tensors, normalised for networks, on the training device."""

    def __init__(self, tensors: Mapping[str, Tensor], schema: Schema):
        self.tensors = dict(tensors)
        self.schema = schema

    @property
    def x(self) -> Tensor:
        """The target, normalised: images in [-1, 1], ``(N, C, H, W)``; vectors standardised, ``(N, D)``."""
        return self.tensors[self.schema.target_name]

    @property
    def label(self) -> Tensor | None:
        """int64 class indices ``(N,)``, or None."""
        name = self.schema.label_name
        return self.tensors.get(name) if name else None

    def __len__(self) -> int:
        return len(self.x)
