"""Anomaly scores of rows: what is far from the training set scores higher, by every model that says it can."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score

from genarena.data import Dataset, open_dataset
from genarena.fit import fit, plan
from genarena.fitted import FittedModel, load_model
from genarena.models import MODELS
from genarena.nets.memory import FeatureMemory

IMAGES_ONLY = {"dcgan", "biggan", "stylegan"}


@pytest.fixture(scope="module")
def rows() -> Dataset:
    """Correlated rows around two middles, the classes."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 600)
    values = rng.normal(size=(600, 6)) @ rng.normal(size=(6, 6)) + 6.0 * labels[:, None]
    return open_dataset((values * [1, 3, 10, 100, 1e3, 1e-3], labels))


@pytest.fixture(scope="module")
def fitted_on(rows: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., FittedModel]:
    def make(model: str, folder: Path | None = None) -> FittedModel:
        small = {"batch_size": 32, "network": {"width": 32, "depth": 2}} if model != "pca" else {}
        decided = plan(model, rows, budget="1k images", settings=small, device="cpu")
        return fit(decided, folder or tmp_path_factory.mktemp(model), threads=1, pictures=False)

    return make


def far_from(fitted: FittedModel, normal: np.ndarray, distance: float) -> np.ndarray:
    """Rows in every direction, so many standard deviations away from the middle."""
    directions = np.random.default_rng(1).normal(size=normal.shape)
    directions *= distance / np.linalg.norm(directions, axis=1, keepdims=True)
    return directions * np.asarray(fitted.spec.scale) + np.asarray(fitted.spec.mean)


@pytest.mark.parametrize("name", sorted(set(MODELS) - IMAGES_ONLY))
def test_rows_far_from_the_training_set_score_higher(
    name: str, rows: Dataset, fitted_on: Callable[..., FittedModel]
) -> None:
    fitted, normal = fitted_on(name), rows.values("test")
    assert fitted.capabilities()["anomaly_score"] is None
    known = fitted.anomaly_score(normal)
    for distance in (20.0, 1e3):
        strange = fitted.anomaly_score(far_from(fitted, normal, distance))
        truth = np.repeat([0, 1], [len(known), len(strange)])
        assert roc_auc_score(truth, np.concatenate([known, strange])) > 0.98, distance


def test_distances_are_those_of_a_shrunk_covariance_layer_by_layer() -> None:
    rng = np.random.default_rng(0)
    train = [rng.normal(size=(50, size)) @ rng.normal(size=(size, size)) + 3 for size in (4, 7)]
    test = [rng.normal(size=(9, size)) for size in (4, 7)]
    memory = FeatureMemory([4, 7])
    assert not memory([torch.from_numpy(layer) for layer in test]).any()
    memory.remember([torch.from_numpy(layer[part]) for layer in train] for part in (slice(0, 20), slice(20, 50)))
    wanted = sum(LedoitWolf().fit(known).mahalanobis(new) for known, new in zip(train, test, strict=True))
    found = memory([torch.from_numpy(layer) for layer in test])
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_features_that_never_vary_say_nothing() -> None:
    memory = FeatureMemory([3])
    memory.remember([[torch.ones(20, 3)]])
    assert memory([torch.randn(5, 3)]).eq(0).all()


def test_what_is_remembered_is_kept_with_both_kinds_of_weights(
    rows: Dataset, fitted_on: Callable[..., FittedModel], tmp_path: Path
) -> None:
    """The last and the best weights each know the features of the training set that they give themselves."""
    small = {"batch_size": 32, "network": {"width": 32, "depth": 2}}
    falling = iter([9.0, 8.0, 7.0, *[50.0] * 20])
    decided = plan("gan", rows, budget="3k images", settings=small, device="cpu")
    last = fit(decided, tmp_path, threads=1, pictures=False, monitor=lambda *_: {"fd": next(falling)})
    for checkpoint in ("last", "best"):
        model: Any = load_model(tmp_path, checkpoint=checkpoint).model
        x = last.kind.normalise(last.kind.to_tensor(rows.values("train")), last.spec)
        again = FeatureMemory([32, 32])
        again.remember([model.hidden(x)])
        known = model.memory.state_dict()
        assert all(torch.allclose(tensor, known[name]) for name, tensor in again.state_dict().items()), checkpoint
    assert not torch.equal(last.model.memory.mean_0, model.memory.mean_0)
