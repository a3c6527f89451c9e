"""The density ratio p(x) / q(x) of data to fakes that a discriminator has learnt, and how far it can be believed.

The best discriminator under the cross-entropy is D = p / (p + q) (Goodfellow et al. 2014, proposition 1), so that exp(logit) is
the ratio. A trained one is neither best nor unpenalised: a Platt scaling of its logit on held-out examples against fresh
fakes (Platt 1999) corrects what a slope and an offset can, and the calibration error says what is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import expit

from ..data import Dataset
from ..errors import CapabilityError, DataError
from ..fitted import FittedModel
from ..game import one_hot
from .space import measured

BINS = 15


@dataclass(frozen=True)
class Calibration:
    """What held-out examples say of a discriminator's logit.

    Attributes
    ----------
    scale, bias : float
        The calibrated log-ratio is scale * logit + bias.
    before, after : float
        Expected calibration error of the logit and of the calibrated one, on the test split and as many fakes.
    fitted_on, tested_on : int
        Real examples of the val and the test split.
    """

    scale: float
    bias: float
    before: float
    after: float
    fitted_on: int
    tested_on: int

    def __call__(self, logit: np.ndarray) -> np.ndarray:
        return self.scale * logit + self.bias


def log_ratio(fitted: FittedModel, values: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
    """The discriminator's logit of stored values, float64 ``(N,)``: log p(x) / q(x), or log p(x|y) / q(x|y) where told classes.

    Raises
    ------
    CapabilityError
        Where the logit is no log-ratio, with the reason.
    DataError
        Where a model that is told classes is not.
    """
    reason = _no_ratio(fitted)
    if reason:
        raise CapabilityError(f"{fitted.name} gives no density ratio: {reason}.")
    model: Any = fitted.model
    if not model.classes:
        return measured(fitted, values, model.logit).astype(np.float64)
    if labels is None:
        raise DataError(f"{fitted.name} compares examples of one class: it has to be told the labels.")
    logit = np.empty(len(values))
    for index in np.unique(labels):
        y = one_hot(torch.tensor([index], device=fitted.device), model.classes)
        rows = labels == index
        logit[rows] = measured(fitted, values[rows], lambda x, y=y: model.logit(x, y.expand(len(x), -1)))  # type: ignore[misc]
    return logit


def _no_ratio(fitted: FittedModel) -> str | None:
    """Why exp(logit) is not p(x) / q(x), or None."""
    model: Any = fitted.model
    loss, config = getattr(model, "adversarial", None), model.config
    if loss is None:
        return "it has no discriminator"
    if not loss.density_ratio:
        name = getattr(config, "loss", "its own")
        return f"its loss is {name}, and only under a cross-entropy (non-saturating, minimax) is exp(logit) the ratio"
    if getattr(config, "packing", 1) > 1:
        return "its discriminator judges packs, not single examples"
    if getattr(config, "label_smoothing", 0):
        return "label_smoothing keeps its discriminator from the ratio"
    if getattr(config, "fakes", "prior") != "prior":
        return (
            f"fakes={config.fakes}, so that its discriminator learnt from reconstructions too (train with fakes=prior)"
        )
    return None


def density_ratio(
    fitted: FittedModel,
    values: np.ndarray,
    labels: np.ndarray | None = None,
    calibration: Calibration | None = None,
) -> np.ndarray:
    """p(x) / q(x) of stored values, float64 ``(N,)``: above 1 where the data have more than the model makes.

    Parameters
    ----------
    fitted : FittedModel
    values : numpy.ndarray
    labels : numpy.ndarray, optional
        Class indices ``(N,)``, which a model that is told classes needs.
    calibration : Calibration, optional
        From `calibrate`.
    """
    logit = log_ratio(fitted, values, labels)
    return np.exp(calibration(logit) if calibration else logit)


def calibrate(fitted: FittedModel, dataset: Dataset, seed: int = 0) -> Calibration:
    """Fit scale and bias of the logit on the val split, and measure the calibration error on the test split.

    Raises
    ------
    CapabilityError
        Where the logit is no log-ratio.
    DataError
        Where a split is empty.
    """
    dataset = fitted.labelled(dataset)
    pairs = [_real_and_fake(fitted, dataset, split, seed + i) for i, split in enumerate(("val", "test"))]
    (logit, real), (tested, truth) = pairs
    scale, bias = platt(logit, real)
    before = expected_calibration_error(tested, truth)
    after = expected_calibration_error(scale * tested + bias, truth)
    return Calibration(scale, bias, before, after, int(real.sum()), int(truth.sum()))


def _real_and_fake(fitted: FittedModel, dataset: Dataset, split: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a split and of as many fresh fakes, and which are real."""
    values, labels = dataset.values(split), dataset.labels(split)
    if not len(values):
        raise DataError(f"'{dataset.name}' has no {split} examples to calibrate with.")
    real = log_ratio(fitted, values, labels)
    z = fitted.latents(len(values), seed)
    drawn = z[:, -fitted.model.classes :].argmax(1) if fitted.model.classes else None
    fake = log_ratio(fitted, fitted.decode(z), drawn)
    return np.concatenate([real, fake]), np.repeat([True, False], len(values))


def platt(logit: np.ndarray, real: np.ndarray) -> tuple[float, float]:
    """Scale and bias that minimise the cross-entropy, with Platt's targets, which keep them finite where classes separate."""
    positive, negative = real.sum(), (~real).sum()
    target = np.where(real, (positive + 1) / (positive + 2), 1 / (negative + 2))
    centre, spread = logit.mean(), logit.std() or 1.0
    standard = (logit - centre) / spread

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        score = parameters[0] * standard + parameters[1]
        error = expit(score) - target
        return float(np.mean(np.logaddexp(0, score) - target * score)), np.array(
            [np.mean(error * standard), error.mean()]
        )

    slope, offset = minimize(loss, np.array([1.0, 0.0]), jac=True, method="BFGS").x
    return float(slope / spread), float(offset - slope * centre / spread)


def expected_calibration_error(logit: np.ndarray, real: np.ndarray, bins: int = BINS) -> float:
    """Mean distance of confidence and frequency over bins of equal width (Guo et al. 2017, eq. 3), weighted by their counts."""
    probability = expit(logit)
    index = np.minimum((probability * bins).astype(int), bins - 1)
    gaps = np.bincount(index, probability - real, minlength=bins)
    return float(np.abs(gaps).sum() / len(logit))
