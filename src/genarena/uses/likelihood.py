"""Likelihood: how probable does a model find data it never saw? Only for models with an explicit density."""

from __future__ import annotations

import math

import numpy as np

from ..data import ImageSpec
from ..metrics import Metric, Score
from ..objectives.likelihoods import Bernoulli
from .base import Context, Look, Use, bootstrap_score

EXAMPLES = 500
SAMPLES = 100  # K of the importance-weighted bound


def measure(context: Context) -> dict[str, Score]:
    """Nats per test example of the ELBO and of the K-sample bound, and bits per dimension for images."""
    fitted = context.fitted
    likelihood = getattr(fitted.model, "likelihood", None)
    if isinstance(likelihood, Bernoulli) and fitted.spec.levels > 2:
        reason = "its likelihood is of binarised pixels, not of these grey levels"
        return {"log_likelihood": Score(None, 0, reason=reason)}
    values = context.evaluator.reference[:EXAMPLES]
    scores: dict[str, Score] = {}
    for key, samples in (("elbo", 1), ("log_likelihood", SAMPLES)):
        nats = fitted.log_prob(values, samples, context.seed).astype(np.float64)
        if not np.isfinite(nats).all():
            return {"log_likelihood": Score(None, len(nats), reason="some log-probabilities are not finite")}
        scores[key] = bootstrap_score(lambda rows, x=nats: float(x[rows].mean()), len(nats), context.evaluator.seed)
    if isinstance(fitted.spec, ImageSpec):
        factor = -1 / (math.log(2) * math.prod(fitted.spec.shape))
        nats_score = scores["log_likelihood"]
        replicates = tuple(r * factor for r in nats_score.replicates)
        scores["bits_per_dimension"] = Score((nats_score.value or 0.0) * factor, nats_score.n, replicates)
    return scores


def watch(look: Look) -> dict[str, float]:
    """The bound of one sample on validation examples, which takes a hundredth of the time."""
    return {"elbo": float(look.fitted.log_prob(look.values[:EXAMPLES], 1, 0).astype(np.float64).mean())}


LIKELIHOOD = Use(
    name="likelihood",
    title="Likelihood",
    aim="know how probable data are",
    question="Which one finds unseen data most probable?",
    needs=("log_prob",),
    metrics=lambda spaces: ["log_likelihood"],
    better="high",
    sesoi=1.0,
    relative=False,
    sesoi_text="one nat per example",
    measure=measure,
    command="genarena evaluate DIR DATA --for likelihood",
    catalogue=(
        Metric(
            "log_likelihood",
            "Log-likelihood",
            "nats",
            "high",
            "Burda et al. 2016",
            "Log-probability of a test example: exact, or the importance-weighted lower bound with 100 samples.",
            evident="the log-probability of unseen examples",
        ),
        Metric(
            "elbo",
            "ELBO",
            "nats",
            "high",
            "Kingma & Welling 2014",
            "The evidence lower bound on the log-likelihood.",
            evident="a bound on a log-probability",
        ),
        Metric(
            "bits_per_dimension",
            "Bits per dimension",
            "bits",
            "low",
            "Theis et al. 2016",
            "Bits an ideal coder built on the model would spend on each value of a test image.",
            evident="the log-likelihood in another unit",
        ),
    ),
    watch=watch,
)
