"""The feature spaces of a data set, fitted on its train split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA
from torch import nn

from ..data.fields import Dataset, ImageSpec, VectorSpec
from ..errors import DataError
from .classifier import SKILL, skill, train_classifier
from .own import USER, OwnNet
from .spaces import FeatureSpace, NetRecord, TargetSpec, network_features

_SEEDS = 3
_MAX_DIM = 64
_FIT_ROWS = 5000


def fit_spaces(
    dataset: Dataset,
    n: int,
    seed: int,
    features: Path | None,
    progress: Callable[[str], None],
    features_net: str | None = None,
) -> tuple[list[FeatureSpace], list[str]]:
    """Build every space that the data allow.

    Parameters
    ----------
    dataset : Dataset
    n : int
        Number of examples that will be compared; spaces have at most ``n / 10`` dimensions (and 64), or covariances and
        neighbour distances would be mostly noise.
    seed : int
    features : pathlib.Path or None
        A feature space of the user's own: a file that `FeatureSpace.save` wrote, or weights of `features_net`.
    progress : callable
        Called with a line before each long step.
    features_net : str, optional
        ``file.py:Class``, see `own`. Importing it runs the file.

    Returns
    -------
    spaces, notes : list of FeatureSpace, list of str
        ``notes`` says why a space is missing.

    Raises
    ------
    DataError
        Where the training examples do not vary.
    UsageError
        Where ``features`` is not a feature space for these data, or not the weights of ``features_net``.
    """
    spec = dataset.schema.target
    assert isinstance(spec, ImageSpec | VectorSpec)
    limit = max(2, min(_MAX_DIM, n // 10))
    train = dataset.values("train")
    rows = np.sort(np.random.default_rng(seed).permutation(len(train))[:_FIT_ROWS])
    sample = train[rows]
    if len(np.unique(sample.reshape(len(sample), -1), axis=0)) < 2:
        raise DataError(f"All training examples of '{dataset.name}' are alike; there is no distribution to compare.")
    given = None if features is None else _given(features, features_net, spec)  # refused before anything takes long
    progress("fitting the random and PCA feature spaces")
    spaces = [_random_space(spec, sample, limit, seed)]
    classifier, notes = _classifier_space(dataset, spec, train, sample, limit, seed, progress)
    spaces += classifier
    spaces.append(_pca_space(spec, sample, limit, seed))
    if given is not None:
        records, nets, trained_on, detail = given
        spaces.append(_projected(USER, spec, records, nets, sample, limit, seed, trained_on, detail))
    return spaces, notes


def _given(
    features: Path, features_net: str | None, spec: TargetSpec
) -> tuple[Sequence[NetRecord | OwnNet], Sequence[nn.Module], str, str]:
    """Networks of a user's own space, what they were trained on, and what a reader should know of them."""
    if features_net is None:
        given = FeatureSpace.load(features, spec)
        detail = f"the networks of {features.name} ({given.id}), projected anew"
        return given.records, given.nets, given.trained_on, detail
    net = OwnNet.of(features_net)
    return [net], [net.load(features, spec)], "data of the user's own", f"{net.class_name} with {features.name}"


def _random_space(spec: TargetSpec, sample: np.ndarray, limit: int, seed: int) -> FeatureSpace:
    records = [NetRecord.random(spec, _SEEDS * seed + i, 384) for i in range(_SEEDS)]
    nets = [record.build(spec) for record in records]
    return _projected(
        records[0].kind, spec, records, nets, sample, limit, seed, "nothing (random weights)", f"{_SEEDS} networks"
    )


def _classifier_space(
    dataset: Dataset,
    spec: TargetSpec,
    train: np.ndarray,
    sample: np.ndarray,
    limit: int,
    seed: int,
    progress: Callable[[str], None],
) -> tuple[list[FeatureSpace], list[str]]:
    labels, label_spec = dataset.labels("train"), dataset.schema.label
    if labels is None or label_spec is None:
        return [], ["no classifier space: the data have no labels"]
    if len(np.unique(labels)) < 2:
        return [], ["no classifier space: the training labels are of one class"]
    progress("training the evaluator's classifier on the train split")
    record, net, accuracy = train_classifier(spec, train, labels, len(label_spec.classes), seed)
    detail = f"held-out balanced accuracy {accuracy:.3f}"
    if skill(accuracy, len(np.unique(labels))) < SKILL:
        return [], [f"no classifier space: {detail} removes less than {SKILL:.0%} of the error of guessing"]
    return [_projected("classifier", spec, [record], [net], sample, limit, seed, "the train split", detail)], []


def _pca_space(spec: TargetSpec, sample: np.ndarray, limit: int, seed: int) -> FeatureSpace:
    record = NetRecord("pixels", {})
    net = record.build(spec)
    if isinstance(spec, VectorSpec) and spec.dim <= limit:
        mean, components, detail = np.zeros(spec.dim), np.eye(spec.dim), "standardised columns"
    else:
        mean, components = _projection(network_features([net], spec, sample), limit, seed, whiten=True)
        detail = "whitened principal components"
    return FeatureSpace("pca", spec, [record], [net], mean, components, trained_on="the train split", detail=detail)


def _projected(
    id: str,
    spec: TargetSpec,
    records: Sequence[NetRecord | OwnNet],
    nets: Sequence[nn.Module],
    sample: np.ndarray,
    limit: int,
    seed: int,
    trained_on: str,
    detail: str,
) -> FeatureSpace:
    mean, components = _projection(network_features(nets, spec, sample), limit, seed)
    return FeatureSpace(id, spec, records, nets, mean, components, trained_on=trained_on, detail=detail)


def _projection(features: np.ndarray, limit: int, seed: int, *, whiten: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Mean ``(F,)`` and components ``(F, d)`` of a PCA with ``d <= limit``, scaled to a mean variance of 1 a dimension.

    One common scale keeps the shape of the space and makes kernels and distances of different spaces commensurate;
    ``whiten`` gives each dimension a scale of its own.
    """
    pca = PCA(min(limit, *features.shape), random_state=seed).fit(features)
    kept = pca.explained_variance_ > 1e-10 * pca.explained_variance_[0]
    variance = pca.explained_variance_[kept]
    scale = np.sqrt(variance if whiten else np.full_like(variance, variance.mean()))
    return pca.mean_.astype(np.float64), np.ascontiguousarray(pca.components_[kept].T / scale, dtype=np.float64)
