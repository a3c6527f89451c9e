"""Fixtures every test may use: tiny real-looking data, and one thread so that results do not depend on the machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch

from genarena.checkpoint import RunFolder, read_tensors
from genarena.data import Dataset, open_dataset
from genarena.files import read_json

torch.set_num_threads(1)
torch.set_warn_always(True)  # else a warning fails only the first test that meets it
os.environ["OMP_NUM_THREADS"] = "1"  # processes that tests start


@pytest.fixture(scope="session")
def bars() -> tuple[np.ndarray, np.ndarray]:
    """200 grey images of 8x8 pixels with labels, as arrays; enough of them for an evaluator."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    values = rng.integers(0, 40, (200, 8, 8))
    for value, label in zip(values, labels, strict=True):
        value[2 * label + 1 : 2 * label + 3, 1:7] += 200
    return values.astype(np.uint8), labels


@pytest.fixture(scope="session")
def images() -> Dataset:
    """96 grey images of 8x8 pixels: a bright bar at one of three heights (the class), plus noise."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 96)
    values = rng.integers(0, 40, (96, 8, 8))
    for value, label in zip(values, labels, strict=True):
        value[2 * label + 1 : 2 * label + 3, 1:7] += 200
    return open_dataset((values.astype(np.uint8), labels))


@pytest.fixture(scope="session")
def vectors() -> Dataset:
    """120 rows of 4 correlated columns with scales from 1 to 100, in two classes."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 120)
    rows = rng.normal(size=(120, 4)) @ rng.normal(size=(4, 4)) + 3.0 * labels[:, None]
    return open_dataset(((rows * [1, 3, 10, 100]).astype(np.float32), labels))


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return open_dataset("digits")


@pytest.fixture(scope="session")
def sixteen(images: Dataset, vectors: Dataset) -> Mapping[str, Dataset]:
    """The same sets with only sixteen examples to learn."""
    return {
        kind: replace(data, splits={**data.splits, "train": data.splits["train"][:16]})
        for kind, data in (("images", images), ("vectors", vectors))
    }


@pytest.fixture(scope="session")
def trained_state() -> Callable[[RunFolder], tuple[dict, dict]]:
    """Reads what training left: every tensor by ``file:name``, and the state without its times.

    Nor the milestone, whose cadence is that of a run's first budget.
    """

    def read(run: RunFolder) -> tuple[dict, dict]:
        folder = run.checkpoints / str(run.steps()[0])
        paths = [run.model, *sorted(folder.glob("*.safetensors"))]
        tensors = {f"{path.name}:{name}": t for path in paths for name, t in read_tensors(path).items()}
        state = read_json(folder / "state.json")
        return tensors, {k: v for k, v in state.items() if "seconds" not in k and k != "milestone"}

    return read


@pytest.fixture(scope="session")
def assert_same_training(trained_state: Callable) -> Callable[[RunFolder, RunFolder], None]:
    """Asserts that two finished runs hold the same weights, averages, optimizers and state, bit for bit."""

    def check(one: RunFolder, other: RunFolder) -> None:
        (tensors, state), (others, other_state) = trained_state(one), trained_state(other)
        assert state == other_state
        assert tensors.keys() == others.keys()
        different = [name for name, tensor in tensors.items() if not torch.equal(tensor, others[name])]
        assert not different

    return check
