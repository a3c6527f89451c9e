"""Whether a verdict would last, from planted scores and curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from genarena.comparison.convergence import Convergence, convergence, trend
from genarena.comparison.recommend import decide
from genarena.metrics import PANEL, Score
from genarena.uses import USES

SPACES = ("classifier", "random-conv")
PASSED = {f"{name}/{space}": {"usable": True, "why": None} for name in PANEL for space in SPACES}
PASSED |= {name: {"usable": True, "why": None} for name in PANEL}
Curve = Callable[[float], float | None]  # of the share of the budget
BUDGET = 10_000


def points(curve: Curve) -> list[dict[str, Any]]:
    return [{"images": BUDGET * tenth // 10, "value": curve(tenth / 10) if tenth else 9.0} for tenth in range(11)]


def judged(
    use: str, values: Mapping[str, Mapping[str, Sequence[float]]], curves: Mapping[tuple[str, str], Sequence[Curve]],
    baselines: Sequence[str] = (),
) -> Convergence:  # fmt: skip
    """By values of each metric, contender and seed, and curves of each contender, metric and seed."""
    scores = {
        key: {name: {seed: Score(value, 100) for seed, value in enumerate(row)} for name, row in by_name.items()}
        for key, by_name in values.items()
    }
    written = [
        {"contender": name, "metric": metric, "seed": seed, "points": points(curve)}
        for (name, metric), by_seed in curves.items()
        for seed, curve in enumerate(by_seed)
    ]
    found = decide(USES[use], scores, SPACES, PASSED, baselines)
    return convergence(USES[use], found, scores, PASSED, written, SPACES, baselines)


def falls(by: float, to: float = 1.0) -> Curve:
    """A distance that falls by this factor with each tenfold of the images."""
    return lambda share: to * by ** -math.log10(share)


def rises(by: float, to: float = 0.9) -> Curve:
    return lambda share: to + by * math.log10(share)


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_a_trend_is_the_factor_or_the_sum_of_a_tenfold(factor: float) -> None:
    assert trend(points(falls(factor)), logarithmic=True) == pytest.approx(abs(math.log(factor)))
    assert trend(points(rises(factor)), logarithmic=False) == pytest.approx(factor)


def test_a_curve_that_has_just_begun_to_move_is_not_at_rest() -> None:
    begun = trend(points(lambda share: 2.0 if share < 0.5 else 2.0 - math.log10(share / 0.5)), logarithmic=False)
    assert begun is not None and begun > 0.8  # and 0.5 over the whole tenfold


def test_only_the_last_tenfold_counts_however_long_the_run() -> None:
    late = [{"images": images, "value": 1.0 if images >= 10_000 else 50.0} for images in range(1000, 101_000, 1000)]
    assert trend(late, logarithmic=True) == pytest.approx(0, abs=1e-9)
    assert trend(late[:50], logarithmic=True) > 1


@pytest.mark.parametrize("odd", [None, math.inf, math.nan, 0.0, -1.0])
def test_a_curve_without_a_number_has_no_trend(odd: float | None) -> None:
    curve = points(falls(1.0))
    curve[7]["value"] = odd
    assert trend(curve, logarithmic=True) is None
    assert trend(points(falls(1.0))[-3:], logarithmic=True) is None  # nor one of three looks
    assert trend([], logarithmic=True) is None


FD = {"fd_inf/classifier": {"gan": [1.0, 1.02, 0.99], "vae": [4.0, 4.1, 3.9]}}  # a lead by a factor of four


@pytest.mark.parametrize(
    ("gan", "vae", "moving"),
    [
        ([1.2, 1.2, 1.2], [1.1, 1.1, 1.1], ()),
        ([1.2, 1.2, 1.2], [1.1, 1.1, 5.0], ("vae",)),  # one seed of three
        ([1.2, 1.2, 0.2], [1.1, 1.1, 1.1], ("gan",)),  # that gets worse
        ([3.0, 1 / 3, 1.0], [3.0, 1 / 3, 1.0], ("gan", "vae")),  # and opposite signs do not make up for each other
        ([1.6, 1.6, 1.6], [1.0, 1.0, 1.0], ()),  # it moves, by less than what decides
    ],
)
def test_any_seed_that_moves_by_what_decides_is_told(gan: list, vae: list, moving: tuple) -> None:
    curves = {("gan", "fd/classifier"): [falls(f) for f in gan], ("vae", "fd/classifier"): [falls(f) for f in vae]}
    found = judged("generate-fidelity", FD, curves)
    assert (found.converged, found.moving) == (not moving, moving)
    assert all(name in found.reason for name in moving)


def test_what_grows_with_the_budget_stays_in_order() -> None:
    seconds = {"vae": [1.0, 1.01, 1.0], "gan": [2.0, 2.02, 2.0]}
    assert judged("cost", {"cpu_seconds": seconds}, {}).converged is True
    assert judged("cost", {"cpu_seconds": seconds | {"pca": [0.1] * 3}}, {}, ["pca"]).converged is True
    assert judged("cost", {"cpu_seconds": seconds | {"pca": [5.0] * 3}}, {}, ["pca"]).converged is None


@pytest.mark.parametrize("use", sorted(set(USES) - {"cost"}))
def test_what_has_no_curve_is_unknown_and_never_converged(use: str) -> None:
    sign = 1 if USES[use].better == "high" else -1
    values = {USES[use].metrics(SPACES)[0]: {"gan": [0.5] * 3, "vae": [0.5 - 0.3 * sign] * 3}}
    values |= {key: {"gan": [0.95] * 3, "vae": [0.95] * 3} for g in USES[use].gates for key in g.metrics(SPACES)}
    found = judged(use, values, {})
    assert found.converged is None and found.reason and not found.moving


def test_a_gate_without_a_curve_leaves_it_unknown_and_one_that_moves_is_told() -> None:
    values = {
        "label_agreement": {"cgan": [0.99, 0.98, 0.99], "cvae": [0.80, 0.81, 0.82]},
        "class_variety": {"cgan": [0.9, 0.91, 0.9], "cvae": [0.95, 0.95, 0.95]},
    }
    still = {(name, "label_agreement"): [rises(0.0)] * 3 for name in ("cgan", "cvae")}
    assert judged("condition", values, still).converged is None
    steady = {(name, "class_variety"): [rises(0.0)] * 3 for name in ("cgan", "cvae")}
    assert judged("condition", values, still | steady).converged is True
    collapsing = judged("condition", values, still | steady | {("cgan", "class_variety"): [rises(-0.3)] * 3})
    assert (collapsing.converged, collapsing.moving) == (False, ("cgan",))


def test_closed_forms_are_at_rest_and_their_rivals_may_not_be() -> None:
    values = {"mse": {"pca": [0.01] * 3, "vae": [0.02, 0.021, 0.02]}}
    for factor, converged in ((1.2, True), (3.0, False)):
        found = judged("reconstruct", values, {("vae", "mse"): [falls(factor)] * 3}, ["pca"])
        assert found.converged is converged and found.moving == (() if converged else ("vae",))


def test_without_a_winner_what_matters_is_the_smallest_effect_of_interest() -> None:
    close = {"probe_accuracy": {"vae": [0.900, 0.901, 0.900], "gan": [0.899, 0.900, 0.8995]}}
    for move, converged in ((0.002, True), (0.02, False)):
        curves = {(name, "probe_accuracy"): [rises(move)] * 3 for name in ("vae", "gan")}
        assert judged("reduce", close, curves).converged is converged


def test_distances_near_zero_are_no_lead_by_a_large_factor() -> None:
    values = {"fd_inf/classifier": {"gan": [0.001, -0.2, 0.2], "vae": [4.0, 4.1, 3.9]}}
    moving = {("gan", "fd/classifier"): [falls(1.0)] * 3, ("vae", "fd/classifier"): [falls(100.0)] * 3}
    assert judged("generate-fidelity", values, moving).converged is False
