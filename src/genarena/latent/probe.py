"""Does training make the features of a network better for classification than the same network untrained?

A linear probe on frozen features: of a discriminator all its hidden maps, each pooled to 4 x 4 (Radford et al. 2016, section
5.1), of an encoder the posterior mean. Random networks have useful features too, so that a probe's accuracy alone says little.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..data import Dataset
from ..errors import CapabilityError, DataError, UsageError, whole
from ..fitted import FittedModel, build
from ..game import Game
from ..uses.reduce import LABELS, MOST, REPEATS, labelled_subset, probe_accuracy
from .space import measured

CELLS = 4
DRAWS = 1000  # of the bootstrap
_SETTLING = 50  # batches from which an untrained network takes its batch statistics


@dataclass(frozen=True)
class ProbeResult:
    """Accuracy of linear probes on trained and untrained features.

    Attributes
    ----------
    features : str
        "discriminator" or "encoder".
    labels : int
        How many training labels the probe had.
    trained, untrained : float
        Share of test examples classified right.
    difference, low, high : float
        Trained minus untrained, with its 95 % interval over test examples and draws of the labelled examples, paired.
    """

    features: str
    labels: int
    trained: float
    untrained: float
    difference: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        if self.low <= 0 <= self.high:
            return "no benefit"
        return "better than untrained" if self.low > 0 else "worse than untrained"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "verdict": self.verdict}


def probe(
    fitted: FittedModel, dataset: Dataset, labels: Sequence[int | None] | None = None, seed: int = 0
) -> list[ProbeResult]:
    """Probe every network of a model that has features, with few labels and many.

    Parameters
    ----------
    fitted : FittedModel
    dataset : Dataset
        Labelled, of the model's own shape.
    labels : sequence of int or None, optional
        Numbers of labels; None among them is all, at most 10,000. By default 50, 200 and all, as far as there are so many.
        Small subsets are drawn five times, with classes as even as can be.
    seed : int

    Raises
    ------
    DataError
        Where the data have no labels.
    UsageError
        Where a number of labels is smaller than the number of classes, or larger than the train split.
    CapabilityError
        Where the model has no features, or nothing in it was trained by gradient.
    """
    dataset = dataset.of_trained_classes()
    known, truth = dataset.labels("train"), dataset.labels("test")
    if known is None or truth is None:
        raise DataError(f"'{dataset.name}' has no labels: there is nothing to probe for.")
    seed = whole(seed, "seed")
    if len(np.unique(known)) < 2:
        raise DataError(f"the training labels of '{dataset.name}' are of one class: there is nothing to probe for.")
    rows = np.random.default_rng(seed).permutation(len(known))[:MOST]
    known = known[rows]
    least, most = len(np.unique(known)), len(known)
    counts = labels if labels is not None else [n for n in LABELS if n is None or least <= n < most]
    for count in counts:
        if count is not None and not max(2, least) <= count <= most:
            raise UsageError(f"labels={count}: give from {least} (one a class) to {most}, or all.")
    train, test = dataset.values("train")[rows], dataset.values("test")
    untrained = _untrained(fitted, train, seed)
    results = []
    for name, trained_features in _features(fitted).items():
        both = [[f(values) for values in (train, test)] for f in (trained_features, _features(untrained)[name])]
        for count in counts:
            hits = [_hits(codes, known, tested, truth, count, seed) for codes, tested in both]
            results.append(_compared(name, count or most, hits[0], hits[1], seed))
    return results


def _features(fitted: FittedModel) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Stored values -> features ``(N, F)``, by network."""
    model: Any = fitted.model
    found: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
    if callable(getattr(model, "hidden", None)) and getattr(model.config, "packing", 1) == 1:
        found["discriminator"] = lambda values: measured(
            fitted, values, lambda x: torch.cat([pooled(m) for m in model.hidden(x)], 1)
        )
    if fitted.capabilities()["encode"] is None:
        found["encoder"] = lambda values: fitted.encode(values)[:, slice(0, -model.classes or None)]
    if not found:
        raise CapabilityError(
            f"{fitted.name} has nothing to probe: no encoder, and no discriminator of single examples."
        )
    return found


def pooled(hidden: Tensor) -> Tensor:
    """A hidden map ``(N, C, H, W)`` max-pooled to at most 4 x 4, or a layer ``(N, F)``, as ``(N, F)``."""
    if hidden.ndim == 4:
        hidden = F.adaptive_max_pool2d(hidden, (min(CELLS, hidden.shape[2]), min(CELLS, hidden.shape[3])))
    return hidden.flatten(1)


def _untrained(fitted: FittedModel, train: np.ndarray, seed: int) -> FittedModel:
    """The same networks as they began, with the batch statistics that the data give them."""
    if not isinstance(fitted.model, Game):
        raise CapabilityError(f"{fitted.name} is fitted in closed form: there is no untrained network to compare with.")
    model = build(type(fitted.model), fitted.model.config, fitted.schema, fitted.record.get("seed", 0))
    fresh = FittedModel(model, fitted.record, fitted.device)
    rng = np.random.default_rng(seed)
    features = _features(fresh)
    for _ in range(_SETTLING):
        batch = train[rng.integers(0, len(train), min(64, len(train)))]
        model.train()
        for network in features.values():
            network(batch)
    model.eval()
    return fresh


def _hits(
    codes: np.ndarray, labels: np.ndarray, test: np.ndarray, truth: np.ndarray, count: int | None, seed: int
) -> np.ndarray:
    """Whether each probe classifies each test example right, ``(R, N_test)`` for R draws of the labelled examples."""
    draws = REPEATS if count is not None and count < len(labels) else 1
    chosen = [labelled_subset(labels, count, np.random.default_rng([seed, repeat])) for repeat in range(draws)]
    return np.stack([probe_accuracy(codes[rows], labels[rows], test, truth, seed) for rows in chosen])


def _compared(name: str, count: int, trained: np.ndarray, untrained: np.ndarray, seed: int) -> ProbeResult:
    """The paired difference of hits ``(R, N_test)``, and its interval over draws of labels and test examples.

    Examples are resampled. Draws of labels are too few for that, and get Student's t.
    """
    gain, rng = trained - untrained, np.random.default_rng(seed)
    repeats, examples = gain.shape
    by_example, by_draw = gain.mean(0), gain.mean(1)
    draws = np.array([by_example[rng.integers(0, examples, examples)].mean() for _ in range(DRAWS)])
    if repeats > 1:
        draws += rng.standard_t(repeats - 1, DRAWS) * by_draw.std(ddof=1) / np.sqrt(repeats)
    low, high = np.quantile(draws, [0.025, 0.975])
    means = (float(trained.mean()), float(untrained.mean()), float(gain.mean()))
    return ProbeResult(name, count, *means, float(low), float(high))
