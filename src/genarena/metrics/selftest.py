"""Does each metric behave on these data? Ladders of known damage, climbed when the evaluator is built.

Every fidelity and diversity metric fails some simple check somewhere (Räisä, van Breugel & van der Schaar 2025), so
none is trusted unseen: real examples are blurred, made noisy, robbed of a part of the distribution or replaced by
training examples step by step, and a metric that does not follow is marked unusable in that feature space; so is one
that a single outlier among the real examples and one among the samples can move. What a metric of samples gives for fewer
of them is kept beside the verdict: scores of different counts do not compare, and this says by how much.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.cluster import KMeans

from ..data.fields import ImageSpec
from .catalogue import PANEL
from .decoded import path_scores, reconstruction_scores
from .degrade import blur, jpeg, noise, stored
from .panel import Measured, Probe, evaluate
from .score import Score
from .spaces import TargetSpec

Values = dict[str, float | str]  # of metrics, or the reasons why they have none

_SIZE = 1000
_ROUNDS = 5  # at most, that small sets are tested in, on other examples each time
_STEADY = 300  # examples that one round is enough for
_FEW = 100  # examples below which a metric may fail by their number alone: a neighbourhood is a good part of the whole
_SLACK = 0.1  # of the whole climb: by so much one step may go the wrong way
_BLURS = (0.5, 1.0, 2.0)
_NOISES = (0.1, 0.2, 0.4)
_QUALITIES = (75, 30, 10)  # of JPEG
_COUNTS = (100, 200, 500)  # of the drift with the number of samples, beside the whole
_OUTLIER = 4.0  # strength of the noise that makes one
_MOVED = 0.05  # share of a metric's whole climb that one outlier on each side may move it
_PARTS = 4  # at least, of the data that a part is taken from
_PATHS, _STEPS = 100, 9
_DETOURS = (0.0, 0.05, 0.1, 0.2)  # noise on the way
_JUMPS = (1.0, 2.0, 8.0)  # speed half way, as a multiple of an even pace


@dataclass(frozen=True)
class Rule:
    """Along a ladder the metric rises (+1) or falls (-1) by ``least`` in all; without `must` it only may not go back so far."""

    metric: str
    ladder: str
    sign: int
    least: float
    must: bool = True


RULES = (
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
    Rule("path_length", "detours", 1, 0.05),
    Rule("max_jump", "jumps", 1, 0.05),
)


def definitions() -> dict[str, list[str]]:
    """The metrics that there are, and the rules that each has to keep: by these a score is what it is."""
    metrics = [f"{m.name} {m.better} {m.bounds} {m.tested_as}" for m in PANEL.values()]
    return {"metrics": metrics, "self_test": [str(rule) for rule in RULES]}


def self_test(
    probe: Probe, reference: np.ndarray, train: np.ndarray, labels: np.ndarray | None, seed: int
) -> dict[str, dict[str, Any]]:
    """Climb every ladder, on small sets several times with other examples, whose mean counts.

    Parameters
    ----------
    probe : Probe
    reference : numpy.ndarray
        Stored values of test examples.
    train : numpy.ndarray
        Stored values of training examples; damaged copies of them stand for models.
    labels : numpy.ndarray or None
        Their classes.
    seed : int

    Returns
    -------
    dict
        By key of the panel, of reconstruction scores and of paths: ``{"usable": bool, "why": str or None, "drift": {count:
        value}}``.
    """
    size = min(_SIZE, len(reference), len(train))
    rounds = min(_ROUNDS, -(-_STEADY // size))
    climbs: list[dict[str, list[Values]]] = []
    disturbed: list[Values] = []
    for number in range(rounds):
        rng = np.random.default_rng([seed, number])
        rows = rng.permutation(len(train)) if number else np.arange(len(train))
        known = None if labels is None else labels[rows]
        order = rng.permutation(len(reference)) if number else np.arange(len(reference))
        some = _Examples(reference[order], train[rows], known, size)
        real = probe(some.real)
        climbs.append(_climbs(probe, real, some, seed + number))
        odd = [_with_outlier(probe, values, rng) for values in (some.real, some.clean)]
        disturbed.append(evaluate(probe, probe(odd[0]), probe(odd[1]), seed + number))
    real, measured = probe(reference[:size]), probe(train[:size])
    drift = {
        n: evaluate(probe, real.take(np.arange(n)), measured.take(np.arange(n)), seed)
        for n in (*_COUNTS, size)
        if n <= size
    }
    verdicts = {}
    for name in dict.fromkeys(name for rungs in climbs[0].values() for values in rungs for name in values):
        shrunk = {str(n): values[name] for n, values in drift.items() if not isinstance(values.get(name, ""), str)}
        tested = tested_key(name)
        found = {ladder: [[r.get(tested, "") for r in c[ladder]] for c in climbs] for ladder in climbs[0]}
        verdicts[name] = {**_verdict(name, found, [d.get(tested, "") for d in disturbed], size), "drift": shrunk}
    return verdicts


def tested_key(key: str) -> str:
    """The key whose self-test speaks for a metric."""
    name, slash, space = key.partition("/")
    return (PANEL[name].tested_as or name) + slash + space


@dataclass(frozen=True)
class _Examples:
    """Test examples and training examples of one climb; of either `size` take part."""

    reference: np.ndarray
    train: np.ndarray
    labels: np.ndarray | None
    size: int

    @property
    def real(self) -> np.ndarray:
        return self.reference[: self.size]

    @property
    def clean(self) -> np.ndarray:
        return self.train[: self.size]


def _climbs(probe: Probe, real: Measured, some: _Examples, seed: int) -> dict[str, list[Values]]:
    """What every metric gives on the rungs of every ladder."""
    climbs = {
        name: [_values(probe, real, some.clean, rung, seed) for rung in rungs]
        for name, rungs in _ladders(probe, some, seed).items()
    }
    # Copying is judged against unseen examples: half of them stand for the reference, half for a model that does not copy.
    half = len(some.reference) // 2
    unseen, known = some.reference[half:][: some.size], some.clean[: min(some.size, len(some.reference) - half)]
    mixed = np.concatenate([unseen[: len(unseen) // 2], known[len(unseen) // 2 :]])
    judge = probe(some.reference[:half][: some.size])
    climbs["copies"] = [evaluate(probe, judge, probe(rung), seed) for rung in (unseen, mixed, known)]
    for name, rungs in _ways(probe.spec, some.clean, seed).items():
        climbs[name] = [_plain(path_scores(probe.spaces, points, seed)) for points in rungs]
    return climbs


def _values(probe: Probe, real: Measured, clean: np.ndarray, rung: np.ndarray, seed: int) -> Values:
    """The panel of a rung's examples as samples, and the scores of them as reconstructions of the undamaged ones."""
    values = evaluate(probe, real, probe(rung), seed)
    if len(rung) == len(clean):
        values |= _plain(reconstruction_scores(probe.spec, probe.spaces, clean, rung, seed))
    return values


def _plain(scores: Mapping[str, Score]) -> Values:
    """Values, or the reasons why there are none."""
    return {k: s.reason or "undefined" if s.value is None else s.value for k, s in scores.items()}


def _ladders(probe: Probe, some: _Examples, seed: int) -> dict[str, list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    spec, clean = probe.spec, some.clean
    ladders = {"noise": [clean, *(noise(spec, clean, s, rng) for s in _NOISES)]}
    if isinstance(spec, ImageSpec):
        ladders["blur"] = [clean, *(blur(spec, clean, s) for s in _BLURS)]
        ladders["jpeg"] = [clean, *(jpeg(spec, clean, quality) for quality in _QUALITIES)]
    # parts of the distribution: the classes, or regions of the data where there are none
    parts = _regions(probe, some.train, seed) if some.labels is None else some.labels
    present = np.unique(parts)
    kept = [present[: len(present) - round(len(present) * share)] for share in (0.0, 0.25, 0.5)]
    ladders["missing parts"] = [some.train[np.isin(parts, group)][: some.size] for group in kept]
    return ladders


def _regions(probe: Probe, train: np.ndarray, seed: int) -> np.ndarray:
    """Of each training example, a region of the data: the copying test's, where those are enough."""
    features = probe.spaces["pca"](train)
    if probe.training.cells.n_clusters >= _PARTS:
        return probe.training.cell(features)
    return KMeans(_PARTS, n_init=1, random_state=seed).fit_predict(features)


def _ways(spec: TargetSpec, clean: np.ndarray, seed: int) -> dict[str, list[np.ndarray]]:
    """Ways between pairs of examples, stored values ``(P, T, ...)``: with ever more noise on them, and ever more sudden."""
    half = min(_PATHS, len(clean) // 2)
    ends = clean[:half, None].astype(np.float64), clean[half : 2 * half, None].astype(np.float64)
    pace = np.linspace(-0.5, 0.5, _STEPS)

    def fade(speed: float) -> np.ndarray:
        at = (np.clip(speed * pace, -0.5, 0.5) + 0.5).reshape(1, -1, *[1] * (clean.ndim - 1))
        return (1 - at) * ends[0] + at * ends[1]

    even = fade(1.0).reshape(-1, *clean.shape[1:])
    rng = np.random.default_rng(seed)
    shape = (half, _STEPS, *clean.shape[1:])
    return {
        "detours": [noise(spec, even, strength, rng).reshape(shape) for strength in _DETOURS],
        "jumps": [stored(spec, fade(speed).reshape(-1, *clean.shape[1:])).reshape(shape) for speed in _JUMPS],
    }


def _with_outlier(probe: Probe, values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The examples with one of them drowned in noise."""
    return np.concatenate([values[:-1], noise(probe.spec, values[-1:], _OUTLIER, rng)])


def _verdict(
    name: str, climbs: Mapping[str, Sequence[Sequence[float | str]]], disturbed: Sequence[float | str], size: int
) -> dict[str, Any]:
    """Whether a metric followed its ladders: `climbs` has its values by ladder, round and rung."""
    climbed = False
    for rule in RULES:
        if rule.metric != tested_key(name).partition("/")[0] or rule.ladder not in climbs:
            continue
        missing = next((value for rungs in climbs[rule.ladder] for value in rungs if isinstance(value, str)), None)
        if missing is not None:
            return {"usable": False, "why": f"undefined on the self-test's {rule.ladder}: {missing}"}
        rounds = np.array(climbs[rule.ladder], float)
        numbers, steps = rounds.mean(0), rule.sign * np.diff(rounds)
        rise = steps.sum(1).mean()
        slack = _SLACK * rise if rule.must else max(_SLACK * rise, rule.least)
        if rise < (rule.least if rule.must else -slack) or (steps.mean(0) < -slack).any():
            word = "rise" if rule.sign > 0 else "fall"
            ladder = " → ".join(f"{number:.3g}" for number in numbers)
            why = f"does not {word} as it should with {rule.ladder} ({ladder})"
            return {"usable": False, "why": why + _enough(steps, max(slack, _SLACK * rule.least), size)}
        climbed |= rule.must
        # The copying ladder starts from unseen examples, and says nothing of what training examples score.
        odd = [value for value in disturbed if not isinstance(value, str)]
        if rule.must and rule.ladder != "copies" and odd:
            moved, most = abs(np.mean(odd) - numbers[0]), max(_MOVED * rise, rule.least)
            if moved > most:
                why = f"one outlier among {size} moves it from {numbers[0]:.3g} to {np.mean(odd):.3g}"
                return {"usable": False, "why": f"{why}; try {_about(size * moved / most)}"}
    return {"usable": True, "why": None} if climbed else {"usable": False, "why": "it has no self-test"}


def _enough(steps: np.ndarray, slack: float, size: int) -> str:
    """How many examples to try, where the noise of few may have made a step ``(R, T)`` go the wrong way."""
    noise_of_one = steps.std(0, ddof=1).max() if len(steps) > 1 else 0.0
    needed = max(size * (noise_of_one / slack) ** 2, _FEW)
    if needed <= size or size >= _SIZE:
        return ""
    return f"; {size} test examples are too few for it, try {_about(min(needed, _SIZE))}"


def _about(number: float) -> str:
    """Rounded up to one digit, since nobody knows it better."""
    unit = 10 ** math.floor(math.log10(number))
    return f"{math.ceil(number / unit) * unit:,}"
