"""Does each metric behave on these data? Ladders of known damage, climbed when the evaluator is built.

Every fidelity and diversity metric fails some simple check somewhere (Räisä, van Breugel & van der Schaar 2025), so
none is trusted unseen: real examples are blurred, made noisy, robbed of a part of the distribution or replaced by
training examples step by step, and a metric that does not follow is marked unusable in that feature space; so is one
that a single outlier among the real examples and one among the samples can move. What a metric of samples gives for fewer
of them is kept beside the verdict: scores of different counts do not compare, and this says by how much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.fields import ImageSpec
from .decoded import reconstruction_scores
from .degrade import blur, jpeg, noise
from .panel import Measured, Probe, evaluate

_SIZE = 1000
_SLACK = 0.1  # of the whole climb: by so much one step may go the wrong way
_BLURS = (0.5, 1.0, 2.0)
_NOISES = (0.1, 0.2, 0.4)
_QUALITIES = (75, 30, 10)  # of JPEG
_COUNTS = (100, 200, 500)  # of the drift with the number of samples, beside the whole
_OUTLIER = 4.0  # strength of the noise that makes one
_MOVED = 0.05  # share of a metric's whole climb that one outlier on each side may move it


@dataclass(frozen=True)
class Rule:
    """Along a ladder the metric rises (+1) or falls (-1) by ``least`` in all; without `must` it only may not go back so far."""

    metric: str
    ladder: str
    sign: int
    least: float
    must: bool = True


_RULES = (
    Rule("fd_inf", "blur", 1, 0.05),
    Rule("fd_inf", "noise", 1, 0.05),
    Rule("fd_inf", "jpeg", 1, 0.05, must=False),
    Rule("kid", "blur", 1, 1e-3),
    Rule("kid", "noise", 1, 1e-3),
    Rule("kid", "jpeg", 1, 1e-3, must=False),
    Rule("c2st_knn", "noise", 1, 0.05),
    Rule("c2st_logistic", "noise", 1, 0.05),
    Rule("precision", "noise", -1, 0.05),
    Rule("density", "noise", -1, 0.05),
    Rule("recall", "missing parts", -1, 0.05),
    Rule("coverage", "missing parts", -1, 0.05),
    Rule("class_tv", "missing parts", 1, 0.05),
    Rule("lost_classes", "missing parts", 1, 0.05),
    Rule("sharpness", "blur", -1, 0.05),
    Rule("spectrum_error", "blur", 1, 0.5),
    Rule("spectrum_error", "noise", 1, 0.5),
    Rule("spectrum_error", "jpeg", 1, 0.5, must=False),
    Rule("inception_score", "missing parts", -1, 0.05),
    Rule("c_t", "copies", -1, 3.0),
    Rule("authenticity", "copies", -1, 0.1),
    Rule("mse", "noise", 1, 1e-4),
    Rule("ssim", "noise", -1, 0.01),
    Rule("feature_distance", "noise", 1, 0.01),
    Rule("feature_distance", "blur", 1, 0.01),
)


def self_test(
    probe: Probe, reference: np.ndarray, unseen: np.ndarray, train: np.ndarray, labels: np.ndarray | None, seed: int
) -> dict[str, dict[str, Any]]:
    """Climb every ladder.

    Parameters
    ----------
    probe : Probe
    reference, unseen : numpy.ndarray
        Stored values of two disjoint sets of test examples.
    train : numpy.ndarray
        Stored values of training examples; damaged copies of them stand for models.
    labels : numpy.ndarray or None
        Their classes.
    seed : int

    Returns
    -------
    dict
        By key of the panel and of reconstruction scores: ``{"usable": bool, "why": str or None, "drift": {count: value}}``.
    """
    size = min(_SIZE, len(reference), len(unseen), len(train))
    reference, unseen, clean = reference[:size], unseen[:size], train[:size]
    ladders = _ladders(probe, unseen, train, labels, size, seed)
    real = probe(reference)
    climbs = {name: [_values(probe, real, clean, rung, seed) for rung in rungs] for name, rungs in ladders.items()}
    rng = np.random.default_rng(seed)
    odd = [_with_outlier(probe, values, rng) for values in (reference, train[:size])]
    disturbed = evaluate(probe, probe(odd[0]), probe(odd[1]), seed)
    measured = probe(clean)
    drift = {
        n: evaluate(probe, real.take(np.arange(n)), measured.take(np.arange(n)), seed)
        for n in (*_COUNTS, size)
        if n <= size
    }
    verdicts = {}
    for name in climbs["noise"][0]:
        shrunk = {str(n): values[name] for n, values in drift.items() if not isinstance(values.get(name, ""), str)}
        verdicts[name] = {**_verdict(name, climbs, disturbed.get(name, "")), "drift": shrunk}
    return verdicts


def _values(probe: Probe, real: Measured, clean: np.ndarray, rung: np.ndarray, seed: int) -> dict[str, float | str]:
    """The panel of a rung's examples as samples, and the scores of them as reconstructions of the undamaged ones."""
    values = evaluate(probe, real, probe(rung), seed)
    if len(rung) == len(clean):
        scores = reconstruction_scores(probe.spec, probe.spaces, clean, rung, seed)
        values |= {
            name: score.reason or "undefined" if score.value is None else score.value for name, score in scores.items()
        }
    return values


def _ladders(
    probe: Probe, unseen: np.ndarray, train: np.ndarray, labels: np.ndarray | None, size: int, seed: int
) -> dict[str, list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    spec, clean = probe.spec, train[:size]
    ladders = {"noise": [clean, *(noise(spec, clean, s, rng) for s in _NOISES)]}
    if isinstance(spec, ImageSpec):
        ladders["blur"] = [clean, *(blur(spec, clean, s) for s in _BLURS)]
        ladders["jpeg"] = [clean, *(jpeg(spec, clean, quality) for quality in _QUALITIES)]
    # parts of the distribution: the classes, or regions of the data where there are none
    parts = probe.training.cell(probe.spaces["pca"](train)) if labels is None else labels
    present = np.unique(parts)
    kept = [present[: len(present) - round(len(present) * share)] for share in (0.0, 0.25, 0.5)]
    ladders["missing parts"] = [train[np.isin(parts, group)][:size] for group in kept]
    half = size // 2
    ladders["copies"] = [unseen, np.concatenate([unseen[:half], clean[half:]]), clean]
    return ladders


def _with_outlier(probe: Probe, values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The examples with one of them drowned in noise."""
    return np.concatenate([values[:-1], noise(probe.spec, values[-1:], _OUTLIER, rng)])


def _verdict(
    name: str, climbs: Mapping[str, Sequence[Mapping[str, float | str]]], disturbed: float | str
) -> dict[str, Any]:
    for rule in _RULES:
        if rule.metric != name.split("/")[0] or rule.ladder not in climbs:
            continue
        rungs = [values.get(name, "") for values in climbs[rule.ladder]]
        numbers = [rung for rung in rungs if not isinstance(rung, str)]
        if len(numbers) < len(rungs):
            why = next(rung for rung in rungs if isinstance(rung, str))
            return {"usable": False, "why": f"undefined on the self-test's {rule.ladder}: {why}"}
        steps = rule.sign * np.diff(numbers)
        slack = _SLACK * steps.sum() if rule.must else max(_SLACK * steps.sum(), rule.least)
        if steps.sum() < (rule.least if rule.must else -slack) or (steps < -slack).any():
            word = "rise" if rule.sign > 0 else "fall"
            ladder = " → ".join(f"{number:.3g}" for number in numbers)
            return {"usable": False, "why": f"does not {word} as it should with {rule.ladder} ({ladder})"}
        # The copying ladder starts from unseen examples, and says nothing of what training examples score.
        if rule.must and rule.ladder != "copies" and not isinstance(disturbed, str):
            moved = abs(disturbed - numbers[0])
            if moved > max(_MOVED * steps.sum(), rule.least):
                return {"usable": False, "why": f"one outlier moves it from {numbers[0]:.3g} to {disturbed:.3g}"}
    return {"usable": True, "why": None}
