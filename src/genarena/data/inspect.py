"""What there is to know of a data set before training on it."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from .fields import Dataset, ImageSpec
from .splits import content_hashes


def inspect_dataset(dataset: Dataset) -> dict[str, Any]:
    """Describe a data set in plain values that JSON can hold.

    Returns
    -------
    dict
        ``name``, ``fingerprint``, ``summary`` (one phrase), ``fields`` (specs and roles), ``splits`` (counts), ``classes``
        (counts by split, or None), ``values`` (minimum and maximum as stored, constant share, levels), ``duplicates``
        (examples whose exact content occurred before in train, and those of one split that are in another too),
        ``quarantined`` and ``notes``.
    """
    return {
        "name": dataset.name,
        "fingerprint": dataset.fingerprint,
        "summary": summary(dataset),
        "fields": dataset.schema.to_json(),
        "splits": {name: len(rows) for name, rows in dataset.splits.items()},
        "classes": _classes(dataset),
        "values": _values(dataset),
        "duplicates": duplicates(dataset),
        "quarantined": [{"path": entry.path, "reason": entry.reason} for entry in dataset.quarantined],
        "notes": list(dataset.notes),
    }


def summary(dataset: Dataset) -> str:
    """One phrase about the data, for people."""
    spec, label = dataset.schema.target, dataset.schema.label
    count = sum(len(rows) for rows in dataset.splits.values())
    classes = f", {len(label.classes)} classes" if label else ", no labels"
    if isinstance(spec, ImageSpec):
        tone = "grey" if spec.channels == 1 else "colour"
        turned = " (height × width)" if spec.height != spec.width else ""
        return f"{count:,} {tone} images of {spec.height} × {spec.width} pixels{turned}, {spec.levels} levels{classes}"
    return f"{count:,} rows of {spec.shape[0]} numbers{classes}"


def _classes(dataset: Dataset) -> dict[str, dict[str, int]] | None:
    spec, name = dataset.schema.label, dataset.schema.label_name
    if spec is None or name is None:
        return None
    labels = {split: np.asarray(dataset.fields[name].values)[rows] for split, rows in dataset.splits.items()}
    counts = {split: np.bincount(own[own >= 0], minlength=len(spec.classes)) for split, own in labels.items()}
    return {name: {split: int(n[i]) for split, n in counts.items()} for i, name in enumerate(spec.classes)}


def _values(dataset: Dataset) -> dict[str, Any]:
    """Range of the train split, and the share of its pixels or columns that never change."""
    stored, rows, spec = _target(dataset), dataset.splits["train"], dataset.schema.target
    low = high = stored[rows[0]]
    for part in np.array_split(rows, -(-len(rows) // 4096)):  # in parts: the whole may not fit into memory
        values = stored[part]
        low, high = np.minimum(low, values.min(axis=0)), np.maximum(high, values.max(axis=0))
    return {
        "minimum": float(low.min()),
        "maximum": float(high.max()),
        "constant_share": float((low == high).mean()),
        "levels": spec.levels if isinstance(spec, ImageSpec) else None,
    }


def duplicates(dataset: Dataset) -> dict[str, int]:
    """Examples that are exact copies: how many occurred before within train, and how many of each split are in another."""
    every = content_hashes(_target(dataset))
    hashes = {split: every[rows] for split, rows in dataset.splits.items()}
    found = {"within train": len(hashes["train"]) - len(np.unique(hashes["train"]))}
    for first, second in combinations(hashes, 2):
        found[f"{second} also in {first}"] = int(np.isin(hashes[second], hashes[first]).sum())
    return found


def _target(dataset: Dataset) -> np.ndarray:
    return dataset.fields[dataset.schema.target_name].values
