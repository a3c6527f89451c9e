"""What `inspect_dataset` reports."""

from __future__ import annotations

import json

import numpy as np

from genarena.data import Dataset, Quarantined, inspect_dataset, open_dataset


def test_digits():
    report = inspect_dataset(open_dataset("digits"))
    assert json.loads(json.dumps(report, allow_nan=False))["fields"]["label"]["classes"] == list("0123456789")
    assert sum(report["splits"].values()) == 1797
    (mean,) = report["fields"]["image"].pop("mean")
    assert abs(mean - 0.305) < 0.01
    assert json.loads(json.dumps(report["fields"]["image"])) == {
        "spec": "image", "role": "target", "channels": 1, "height": 8, "width": 8, "levels": 17,
        "value_range": [0, 16], "container": "uint8", "background": "", "resized": False,
    }  # fmt: skip
    assert sum(sum(counts.values()) for counts in report["classes"].values()) == 1797
    assert report["values"]["minimum"] == 0 and report["values"]["maximum"] == 16
    # The three pixels of the bundled digits that are never set.
    assert report["values"]["constant_share"] == 3 / 64


def test_duplicates_within_and_across_splits():
    rows = np.random.default_rng(0).normal(size=(20, 3))
    rows[1] = rows[0]  # within train
    rows[18] = rows[2]  # test copies train
    data = open_dataset(rows)
    splits = {"train": np.arange(12), "val": np.arange(12, 16), "test": np.arange(16, 20)}
    data = Dataset(data.name, data.fields, splits, quarantined=(Quarantined("a.png", "broken"),))
    report = inspect_dataset(data)
    assert report["duplicates"] == {
        "within train": 1, "val also in train": 0, "test also in train": 1, "test also in val": 0,
    }  # fmt: skip
    assert report["quarantined"] == [{"path": "a.png", "reason": "broken"}]
    assert report["classes"] is None and report["values"]["levels"] is None


def test_range_is_of_train_over_several_parts():
    rows = np.arange(10_000.0)[:, None]
    data = open_dataset(np.hstack([rows, np.full_like(rows, 7)]))
    report = inspect_dataset(data)
    train = data.values("train")[:, 0]
    assert report["values"]["minimum"] == min(7, train.min()) and report["values"]["maximum"] == train.max()
    assert report["values"]["constant_share"] == 0.5
