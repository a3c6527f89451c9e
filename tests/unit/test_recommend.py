"""Every verdict, from planted scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from genarena.budget import Budget
from genarena.comparison.assemble import (
    Finished,
    _first_runs,
    _metric,
    _read_runs,
    _use,
    _valued,
    by_meaning,
)
from genarena.comparison.measure import write_scores
from genarena.comparison.plan import Cell, make_plan
from genarena.comparison.recommend import Verdict, decide
from genarena.data import Dataset
from genarena.files import read_json
from genarena.fit import fit
from genarena.fit import plan as run_plan
from genarena.metrics import PANEL, Score
from genarena.metrics.selftest import RULES
from genarena.uses import METRICS, USES

SPACES = ("classifier", "random-conv")
FD, OTHER_FD = (f"fd_inf/{space}" for space in SPACES)
PASSED = {f"{name}/{space}": {"usable": True, "why": None} for name in PANEL for space in (*SPACES, "pca")}
PASSED |= {name: {"usable": True, "why": None} for name in PANEL}


def planted(by_name: Mapping[str, Sequence[float]]) -> dict[str, dict[int, Score]]:
    return {name: {seed: Score(value, 100) for seed, value in enumerate(row)} for name, row in by_name.items()}


def verdict(use: str, scores: Mapping[str, Mapping[str, Sequence[float]]], **options: Any) -> Verdict:
    table = {key: planted(by_name) for key, by_name in scores.items()}
    self_test, baselines = PASSED | options.get("usable", {}), options.get("baselines", [])
    return decide(USES[use], table, SPACES, self_test, baselines, options.get("failed"))


def test_a_winner_beats_every_rival() -> None:
    fd = {"vae": [20.0, 21, 19], "gan": [10.0, 10.4, 9.7], "vaegan": [30.0, 31, 29]}
    found = verdict("generate-fidelity", {FD: fd, OTHER_FD: fd})
    assert (found.verdict, found.winner, found.leader, found.runner_up) == ("winner", "gan", "gan", "vae")
    assert found.metric == FD
    assert found.sesoi == pytest.approx(0.1 * found.cells["gan"].value)  # a share of the leader's own distance
    assert found.difference is not None
    assert found.difference.value == pytest.approx(9.967, abs=0.01)  # positive where the leader is better
    assert 0 < found.difference.low < found.difference.value < found.difference.high
    assert "gan beats vae" in found.reason
    assert set(found.cells) == {"vae", "gan", "vaegan"}


def test_higher_is_better_where_it_is() -> None:
    found = verdict("reduce", {"probe_accuracy": {"vae": [0.9, 0.91, 0.9], "pca": [0.8, 0.81, 0.8]}}, baselines=["pca"])
    assert (found.verdict, found.winner) == ("winner", "vae")
    assert found.difference is not None and found.difference.value == pytest.approx(0.1)


def test_too_close_to_call_where_the_lead_lies_within_what_matters() -> None:
    found = verdict("reduce", {"probe_accuracy": {"vae": [0.900, 0.901, 0.900], "gan": [0.899, 0.900, 0.8995]}})
    assert (found.verdict, found.winner, found.leader) == ("too close to call", None, "vae")
    assert "differ by less than one point of accuracy" in found.reason


def test_a_certain_lead_that_does_not_matter_is_no_win() -> None:
    # The interval excludes zero and reaches beyond the smallest effect of interest, but the lead itself does not.
    found = verdict("reduce", {"probe_accuracy": {"vae": [0.908, 0.910, 0.906], "gan": [0.900, 0.900, 0.900]}})
    assert found.difference is not None and found.difference.low > 0 and found.difference.high > 0.01
    assert (found.verdict, found.winner) == ("too close to call", None)
    assert "leads gan by less than" in found.reason


def test_undecided_where_the_interval_is_wide() -> None:
    found = verdict("generate-fidelity", {FD: {"vae": [10.0, 30, 14], "gan": [20.0, 12, 28]}})
    assert (found.verdict, found.winner, found.leader, found.more_seeds) == ("undecided", None, "vae", True)
    assert "3 seeds leave the difference unclear" in found.reason


def test_every_rival_counts_and_not_the_runner_up_alone() -> None:
    # vae is clearly behind on every seed; vaegan is further behind on average, but only by one wild seed.
    calm = {"gan": 0.9, "vae": 0.85, "autoencoder": 0.5, "dcgan": 0.4, "other": 0.3}
    accuracy = {**{name: [value, value, value] for name, value in calm.items()}, "vaegan": [0.87, 0.87, 0.77]}
    found = verdict("reduce", {"probe_accuracy": accuracy})
    assert (found.verdict, found.leader, found.runner_up) == ("undecided", "gan", "vae")
    assert "vaegan" in found.reason


def test_undecided_with_one_seed() -> None:
    found = verdict("generate-fidelity", {FD: {"vae": [10.0], "gan": [100.0]}})
    assert (found.verdict, found.leader, found.more_seeds) == ("undecided", "vae", True)
    assert "one seed" in found.reason
    assert found.difference is not None and found.difference.value == 90


def test_undecided_without_a_seed_in_common() -> None:
    scores = {FD: {"vae": {0: Score(10.0, 9)}, "gan": {1: Score(20.0, 9)}}}
    found = decide(USES["generate-fidelity"], scores, SPACES, PASSED, [])
    assert (found.verdict, found.leader, found.difference) == ("undecided", "vae", None)
    assert "no seed with gan" in found.reason


def test_undecided_where_another_space_contradicts() -> None:
    fd = {"vae": [10.0, 10.2, 9.9], "gan": [20.0, 20.3, 19.9]}
    against = {"vae": [40.0, 41, 40], "gan": [20.0, 20.3, 19.9]}
    found = verdict("generate-fidelity", {FD: fd, OTHER_FD: against})
    assert (found.verdict, found.leader, found.more_seeds) == ("undecided", "vae", False)
    assert "gan is clearly better by FD∞ (random-conv)" in found.reason
    slightly = {"vae": [20.5, 20.6, 20.4], "gan": [20.0, 20.1, 19.9]}  # below what matters
    assert verdict("generate-fidelity", {FD: fd, OTHER_FD: slightly}).verdict == "winner"


def test_only_a_clear_contradiction_counts() -> None:
    fd = {"vae": [10.0, 10.2, 9.9], "gan": [20.0, 20.3, 19.9]}
    unclear = {"vae": [30.0, 10.0, 29.0], "gan": [20.0, 20.3, 19.9]}  # gan is ahead by 15 %, give or take 70 %
    assert verdict("generate-fidelity", {FD: fd, OTHER_FD: unclear}).winner == "vae"
    assert verdict("generate-fidelity", {FD: fd, OTHER_FD: {"gan": [20.0, 20.3, 19.9]}}).winner == "vae"


def test_a_leader_that_is_behind_on_the_shared_seeds_is_not_close() -> None:
    accuracy = {"vae": [0.80, 0.81, 0.80, 0.99, 0.99], "gan": [0.85, 0.86, 0.85]}
    found = verdict("reduce", {"probe_accuracy": accuracy})
    assert found.difference is not None and found.difference.high < -0.01
    assert (found.verdict, found.leader) == ("undecided", "vae") and "unclear" in found.reason


def test_one_seed_counts_where_nothing_tells_how_seeds_spread_differences() -> None:
    accuracy = {"vae": [0.9, 0.91, 0.9], "pca": [0.8, 0.8, 0.8], "gan": [0.7]}
    found = verdict("reduce", {"probe_accuracy": accuracy}, baselines=["pca"])
    assert (found.verdict, found.leader, found.runner_up) == ("undecided", "vae", "pca") and "one seed" in found.reason
    known = verdict("reduce", {"probe_accuracy": accuracy | {"vaegan": [0.7, 0.7, 0.71]}}, baselines=["pca"])
    assert known.winner == "vae"


def test_equals_are_ranked_by_name() -> None:
    found = verdict("reduce", {"probe_accuracy": {name: [0.9, 0.9] for name in "ecabd"}})
    assert (found.leader, found.runner_up) == ("a", "b")


def test_cells_know_the_bounds_of_the_metric_and_the_closed_forms() -> None:
    accuracy = {"vae": [0.99, 1.0, 0.96], "gan": [0.9, 0.93, 0.91], "pca": [0.8, 0.8, 0.8]}
    cells = verdict("reduce", {"probe_accuracy": accuracy}, baselines=["pca"]).cells
    assert cells["vae"].high == 1
    assert (cells["pca"].low, cells["pca"].high) == pytest.approx((0.8, 0.8)) and cells["gan"].high > 0.92


def test_a_metric_that_failed_its_self_test_decides_nothing() -> None:
    fd = {"vae": [10.0, 10.2, 9.9], "gan": [20.0, 20.3, 19.9]}
    against = {"vae": [40.0, 41, 40], "gan": [20.0, 20.3, 19.9]}
    broken = {FD: {"usable": False, "why": "blind to blur"}}
    found = verdict("generate-fidelity", {FD: fd, OTHER_FD: against}, usable=broken)
    assert (found.verdict, found.winner, found.metric) == ("winner", "gan", OTHER_FD)
    nothing = verdict("generate-fidelity", {FD: fd}, usable=broken)
    assert (nothing.verdict, nothing.leader, nothing.winner) == ("undecided", "vae", None)
    assert nothing.provisional and nothing.reason.endswith("vae is ahead, provisionally.")
    assert "blind to blur" in nothing.reason
    assert nothing.cells  # shown, though they decide nothing


@pytest.mark.parametrize(
    ("use", "metric"), [("generate-fidelity", FD), ("reconstruct", "mse"), ("interpolate", "path_length/classifier")]
)
def test_a_metric_that_was_never_self_tested_decides_nothing(use: str, metric: str) -> None:
    table = {metric: planted({"vae": [1.0, 1.01, 1.02], "gan": [2.0, 2.01, 2.02]})}
    table["midpoint_precision/classifier"] = planted({"vae": [0.9, 0.9, 0.9], "gan": [0.9, 0.9, 0.9]})
    assert decide(USES[use], table, SPACES, PASSED, []).winner == "vae"
    untested = decide(USES[use], table, SPACES, {k: v for k, v in PASSED.items() if k != metric}, [])
    assert (untested.verdict, untested.leader) == ("undecided", "vae") and "never self-tested" in untested.reason
    without_precision = {k: v for k, v in PASSED.items() if not k.startswith("precision")}
    gated = decide(USES[use], table, SPACES, without_precision, [])
    assert (gated.verdict, gated.leader) == (("undecided" if use == "interpolate" else "winner"), "vae")


def test_every_metric_of_a_use_is_self_tested_or_says_why_it_needs_no_test() -> None:
    ruled = {rule.metric for rule in RULES if rule.must}
    for use in USES.values():
        deciding = {key.partition("/")[0] for key in use.metrics(SPACES)}
        deciding |= {key.partition("/")[0] for gate in use.gates for key in gate.metrics(SPACES)}
        for name in deciding:
            metric = METRICS[name]
            assert bool(metric.evident) != ((metric.tested_as or name) in ruled), name


def test_not_possible_where_nobody_can_be_measured() -> None:
    found = verdict("likelihood", {FD: {"gan": [1.0, 2.0]}})
    assert (found.verdict, found.leader, found.cells) == ("not possible", None, {})
    assert found.metric == "log_likelihood"


def test_the_only_contender_wins_and_says_so() -> None:
    found = verdict("likelihood", {"log_likelihood": {"vae": [-90.0, -91]}})
    assert (found.verdict, found.winner, found.runner_up) == ("winner", "vae", None)
    assert found.reason.startswith("Only vae has a result")


@pytest.mark.parametrize("use", sorted(USES))
def test_baselines_are_ranked_by_the_rule_of_all_others(use: str) -> None:
    """Whether somebody trains in closed form is no reason to be ranked or not, whatever the use."""
    better = [0.9, 0.91, 0.9] if USES[use].better == "high" else [0.1, 0.11, 0.1]
    metric = USES[use].metrics(SPACES)[0]
    gates = {key: {"vae": [0.9] * 3, "pca": [0.9] * 3} for gate in USES[use].gates for key in gate.metrics(SPACES)}
    table = {
        metric: {"vae": [5.0, 5.1, 5.0] if USES[use].better == "low" else [0.1, 0.11, 0.1], "pca": better},
        **gates,
    }
    if use == "likelihood":
        table[metric] = {"vae": [-90.0, -91, -90], "pca": [-80.0, -80.0, -80.0]}
    found = verdict(use, table, baselines=["pca"])
    assert (found.verdict, found.winner, found.excluded) == ("winner", "pca", {})


def test_a_short_way_through_unreal_examples_does_not_win() -> None:
    length = {"autoencoder": [1.0, 1.01, 1.02], "vae": [1.5, 1.52, 1.51], "gan": [1.8, 1.83, 1.82]}
    realism = {"autoencoder": [0.3, 0.3, 0.3], "vae": [0.85, 0.86, 0.85], "gan": [0.9, 0.91, 0.9]}
    scores = {"path_length/classifier": length, "midpoint_precision/classifier": realism}
    found = verdict("interpolate", scores)
    assert (found.verdict, found.winner, found.runner_up) == ("winner", "vae", "gan")
    assert set(found.cells) == set(length)
    realism["autoencoder"] = [0.8, 0.8, 0.8]  # within a fifth of the best
    assert verdict("interpolate", scores).winner == "autoencoder"


def test_the_middle_must_look_real_in_every_space() -> None:
    scores = {
        "path_length/classifier": {"pca": [1.0, 1.0, 1.0], "vae": [1.5, 1.52, 1.51]},
        "midpoint_precision/classifier": {"pca": [0.8, 0.8, 0.8], "vae": [0.85, 0.86, 0.85]},
        "midpoint_precision/random-conv": {"pca": [0.03, 0.03, 0.03], "vae": [0.7, 0.7, 0.7]},
    }
    assert verdict("interpolate", scores).winner == "vae"


def test_a_way_without_a_measured_middle_does_not_win() -> None:
    scores = {
        "path_length/classifier": {"vae": [1.0, 1.0], "gan": [1.5, 1.5]},
        "midpoint_precision/classifier": {"gan": [0.9, 0.9]},
    }
    assert verdict("interpolate", scores).winner == "gan"


def interpolating(
    length: Mapping[str, Sequence[float]], realism: Mapping[str, Sequence[float]], **options: Any
) -> Verdict:
    scores = {"path_length/classifier": length, "midpoint_precision/classifier": realism}
    return verdict("interpolate", scores, **options)


def test_a_winner_has_passed_a_gate_for_sure() -> None:
    length = {"vae": [1.0, 1.01, 0.99], "gan": [2.0, 2.01, 1.99]}
    assert interpolating(length, {"vae": [0.90, 0.89, 0.91], "gan": [1.0, 1.0, 1.0]}).winner == "vae"
    found = interpolating(length, {"vae": [0.90, 0.70, 0.95], "gan": [1.0, 1.0, 1.0]})  # it has to reach 0.8
    assert (found.verdict, found.leader, found.winner) == ("undecided", "vae", None)
    assert found.reason == "vae is ahead, but there are too few seeds to tell whether it looks less real half way."


def test_who_may_have_passed_a_gate_has_to_be_beaten() -> None:
    shorter, longer = [1.0, 1.01, 0.99], [2.0, 2.01, 1.99]
    unclear, sure = {"vae": [0.70, 0.90, 0.75], "gan": [1.0] * 3}, {"vae": [0.70, 0.71, 0.70], "gan": [1.0] * 3}
    found = interpolating({"vae": shorter, "gan": longer}, unclear)
    assert (found.verdict, found.leader, found.winner) == ("undecided", "gan", None)
    assert found.reason == (
        "gan is ahead, but there are too few seeds to tell whether vae looks less real half way. "
        "Not ranked: vae probably looks less real half way."
    )
    apart = {"vae": {3: 0.7, 4: 0.9}, "gan": {0: 1.0, 1: 1.0}}  # they share no seed
    table = {
        "path_length/classifier": {n: {s: Score(1.0, 9) for s in by_seed} for n, by_seed in apart.items()},
        "midpoint_precision/classifier": {n: {s: Score(v, 9) for s, v in by.items()} for n, by in apart.items()},
    }
    assert decide(USES["interpolate"], table, SPACES, {}, []).verdict == "undecided"
    assert interpolating({"vae": shorter, "gan": longer}, sure).winner == "gan"
    assert interpolating({"vae": longer, "gan": shorter}, unclear).winner == "gan"  # ahead of it in any case


def test_a_doubt_about_somebody_who_is_out_anyway_does_not_matter() -> None:
    length = {"pca": [1.0, 1.01, 0.99], "gan": [2.0, 2.01, 1.99], "vae": [3.0, 3.01, 2.99]}
    unclear = {"pca": [0.70, 0.90, 0.75], "gan": [1.0] * 3, "vae": [1.0] * 3}
    assert interpolating(length, unclear).winner is None
    scores = {
        "path_length/classifier": length,
        "midpoint_precision/classifier": unclear,
        "end_distance/classifier": {"pca": [0.01, 0.02, 0.01], "gan": [1.0, 1.01, 1.0], "vae": [1.0, 1.01, 1.0]},
    }
    assert verdict("interpolate", scores).winner == "gan"


def test_a_share_of_the_best_is_as_unclear_as_the_best() -> None:
    length = {"vae": [1.0, 1.01, 0.99], "gan": [2.0, 2.01, 1.99]}
    assert interpolating(length, {"vae": [0.75] * 3, "gan": [0.80, 0.95, 1.0]}).winner is None


def test_a_gate_is_judged_by_the_seeds_that_both_have() -> None:
    five, three = [1.0, 1.01, 0.99, 1.0, 1.01], [2.0, 2.01, 1.99]
    length, best = {"vae": five, "gan": three}, [0.99, 0.99, 1.0]
    missed = interpolating(length, {"vae": [0.70, 0.71, 0.70, 1.0, 1.0], "gan": best})  # by the three; 0.82 by all five
    passed = interpolating(length, {"vae": [0.90, 0.91, 0.90, 0.3, 0.3], "gan": best})
    assert (missed.winner, passed.winner) == (None, None)


def test_the_best_by_chance_has_not_passed_for_sure() -> None:
    length = {"vae": [1.0, 1.01, 0.99], "gan": [2.0, 2.01, 1.99]}
    found = interpolating(length, {"vae": [0.2, 1.0, 1.0], "gan": [0.72] * 3})
    assert found.reason == "vae is ahead, but there are too few seeds to tell whether it looks less real half way."


def test_one_seed_passes_and_misses_no_gate_for_sure() -> None:
    alone = {"label_agreement": {"cgan": [0.9]}, "class_variety": {"cgan": [0.71]}}
    assert verdict("condition", alone).winner is None
    both = interpolating({"pca": [1.0], "vae": [2.0]}, {"pca": [0.79], "vae": [1.0]}, baselines=["pca"])
    assert both.winner is None
    some = interpolating({"gan": [1.0], "vae": [2.0, 2.01, 1.99]}, {"gan": [0.79], "vae": [1.0] * 3})
    assert some.winner is None


def test_who_may_have_passed_has_to_be_beaten_by_what_matters() -> None:
    length = {"gan": [1.0] * 3, "vae": [1.001] * 3, "dcgan": [2.0] * 3}
    realism = {"gan": [1.0] * 3, "vae": [0.70, 0.90, 0.75], "dcgan": [1.0] * 3}
    assert interpolating(length, realism).winner is None
    assert interpolating({**length, "vae": [1.2] * 3}, realism).winner == "gan"


def test_a_doubt_about_the_leader_is_told_first() -> None:
    length = {"vae": [1.0, 1.01, 0.99], "ae": [0.9, 0.91, 0.9], "gan": [2.0, 2.01, 1.99]}
    realism = {"vae": [0.90, 0.70, 0.95], "ae": [0.70, 0.90, 0.75], "gan": [1.0] * 3}
    assert "to tell whether it looks less real" in interpolating(length, realism).reason


def test_a_value_that_has_to_be_reached_is_reached_for_sure() -> None:
    agreement = {"cgan": [0.99, 0.98, 0.99], "cvae": [0.90, 0.91, 0.90]}
    found = verdict(
        "condition",
        {"label_agreement": agreement, "class_variety": {"cgan": [0.6, 0.9, 0.7], "cvae": [1.0, 1.01, 0.99]}},
    )
    assert (
        found.reason
        == "cgan is ahead, but there are too few seeds to tell whether it varies too little within classes."
    )


def test_what_varies_too_little_within_classes_does_not_win() -> None:
    scores = {
        "label_agreement": {"cgan": [0.99, 0.99, 0.99], "cvae": [0.9, 0.91, 0.9], "biggan": [0.8, 0.8, 0.81]},
        "class_variety": {"cgan": [0.6, 0.6, 0.6], "cvae": [0.75, 0.8, 0.75], "biggan": [1.4, 1.5, 1.4]},
    }
    found = verdict("condition", scores)  # variety is a share of the real one's, and not of the best contender's
    assert (found.verdict, found.winner, found.runner_up) == ("winner", "cvae", "biggan")
    two = {key: {name: by_name[name] for name in ("cgan", "cvae")} for key, by_name in scores.items()}
    assert verdict("condition", two).winner == "cvae"
    assert verdict("condition", two).reason == "Only cvae can win: cgan varies too little within classes."
    once = {key: {name: row[:1] for name, row in by_name.items()} for key, by_name in two.items()}
    found = verdict("condition", once)
    assert (found.verdict, found.winner, found.leader) == ("undecided", None, "cvae")
    assert found.reason.endswith("; but one seed says nothing about the next.")


def test_the_order_of_contenders_does_not_matter() -> None:
    fd = {"vae": [20.0, 21, 19], "gan": [10.0, 10.4, 9.7], "vaegan": [30.0, 31, 29]}
    turned = dict(reversed(list(fd.items())))
    one, other = verdict("generate-fidelity", {FD: fd}), verdict("generate-fidelity", {FD: turned})
    assert (one.verdict, one.winner, one.runner_up) == (other.verdict, other.winner, other.runner_up)


def test_nobody_wins_where_all_miss_the_gate() -> None:
    """The right class without variety is a collapsed generator, and is none the better for being alone."""
    alone = {"label_agreement": {"cgan": [0.99, 0.98, 0.99]}, "class_variety": {"cgan": [0.05, 0.04, 0.06]}}
    both = {
        "label_agreement": {"cgan": [0.99, 0.98, 0.99], "cvae": [0.80, 0.81, 0.82]},
        "class_variety": {"cgan": [0.05, 0.04, 0.06], "cvae": [0.60, 0.65, 0.62]},
    }
    for scores in (alone, both):
        found = verdict("condition", scores)
        assert (found.verdict, found.winner, found.leader) == ("undecided", None, None)
        assert "cgan varies too little" in found.reason and set(found.cells) == set(scores["label_agreement"])


def test_two_spaces_that_exclude_each_others_best_leave_nobody() -> None:
    scores = {
        "path_length/classifier": {"a": [1.0, 1.1], "b": [2.0, 2.1]},
        "midpoint_precision/classifier": {"a": [0.9, 0.9], "b": [0.6, 0.6]},
        "midpoint_precision/random-conv": {"a": [0.4, 0.4], "b": [0.9, 0.9]},
    }
    assert (verdict("interpolate", scores).verdict, verdict("interpolate", scores).winner) == ("undecided", None)
    distrusted = verdict("interpolate", scores, usable={"precision/random-conv": {"usable": False, "why": "noise"}})
    assert distrusted.winner == "a"


def test_runs_that_failed_are_told_and_count() -> None:
    fd = {"gan": [3.0, 3.1, 3.05], "vae": [6.0, 6.1, 5.9]}
    one = verdict("generate-fidelity", {FD: fd, OTHER_FD: fd}, failed={"gan": 1, "vae": 0})
    assert one.winner == "gan" and "1 of the 4 runs of gan failed" in one.reason
    most = verdict("generate-fidelity", {FD: fd, OTHER_FD: fd}, failed={"gan": 2})
    assert (most.verdict, most.winner, most.leader) == ("undecided", None, "gan")
    assert "2 of the 5 runs of gan failed" in most.reason
    lonely = verdict("generate-fidelity", {FD: {"gan": [3.0, 3.1]}}, failed={"gan": 2})
    assert (lonely.verdict, lonely.winner) == ("undecided", None) and "2 of the 4 runs of gan failed" in lonely.reason
    assert lonely.reason.startswith("Only gan has a result")


def test_one_seed_of_a_hopeless_rival_does_not_undo_a_win() -> None:
    fd = {"gan": [3.0, 3.1, 3.05], "vae": [6.0, 6.1, 5.9], "broken": [200.0]}
    found = verdict("generate-fidelity", {FD: fd, OTHER_FD: fd})
    assert (found.verdict, found.winner, found.runner_up) == ("winner", "gan", "vae")
    close = {**fd, "broken": [6.05]}
    assert verdict("generate-fidelity", {FD: close, OTHER_FD: close}).winner == "gan"
    ahead = verdict("generate-fidelity", {FD: {**fd, "broken": [3.2]}, OTHER_FD: fd})
    assert ahead.verdict == "undecided" and "one seed" in ahead.reason


def test_who_is_not_ranked_is_told_with_every_verdict() -> None:
    agreement = {"cgan": [0.99, 0.98, 0.99], "cvae": [0.90, 0.91, 0.90], "cvaegan": [0.90, 0.91, 0.90]}
    variety = {"cgan": [0.05, 0.04, 0.06], "cvae": [0.9, 0.9, 0.9], "cvaegan": [0.9, 0.9, 0.9]}
    found = verdict("condition", {"label_agreement": agreement, "class_variety": variety})
    assert found.verdict == "too close to call" and found.leader == "cvae"
    assert found.reason.endswith("Not ranked: cgan varies too little within classes.")


def test_ways_between_ends_that_are_alike_do_not_win() -> None:
    """A generator that gives the mean alone has short ways through what looks real."""
    scores = {
        "path_length/classifier": {"vae": [1.0, 1.0], "gan": [1.5, 1.5]},
        "midpoint_precision/classifier": {"vae": [1.0, 1.0], "gan": [0.9, 0.9]},
        "end_distance/classifier": {"vae": [0.01, 0.02], "gan": [0.9, 1.1]},
    }
    found = verdict("interpolate", scores)
    assert found.winner == "gan" and "vae has ends that hardly differ" in found.reason
    blind = verdict("interpolate", scores, usable={"precision/classifier": {"usable": False, "why": "noise"}})
    assert blind.verdict == "undecided" and "Realism half way (classifier) cannot be judged: noise" in blind.reason


def test_a_linear_baseline_does_not_win_by_linear_features() -> None:
    fd = {"fd_inf/pca": {"pca": [1.0, 1.0], "vae": [5.0, 5.1]}}
    distrusted = PASSED | {key: {"usable": False, "why": "noise"} for key in (FD, OTHER_FD)}
    table = {key: planted(by_name) for key, by_name in fd.items()}
    found = decide(USES["generate-fidelity"], table, ("classifier", "pca"), distrusted, ["pca"])
    assert (found.verdict, found.leader, found.winner) == ("undecided", "pca", None) and "linear" in found.reason
    assert decide(USES["generate-fidelity"], table, ("classifier", "pca"), distrusted, []).winner == "pca"


# -- what is written of them -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spaces", "deciding"),
    [
        (["random-conv", "classifier", "pca"], ["classifier", "random-conv"]),
        (["random-conv", "classifier", "pca", "user"], ["user", "classifier"]),
        (["random-conv", "pca", "user"], ["user", "random-conv"]),
        (["random-mlp", "pca"], ["random-mlp", "pca"]),
    ],
)
def test_two_spaces_decide_those_that_mean_most_first(spaces: list[str], deciding: list[str]) -> None:
    assert by_meaning(SimpleNamespace(spaces=dict.fromkeys(spaces))) == deciding  # type: ignore[arg-type]


def test_a_contender_without_a_value_on_some_seed_is_not_ranked() -> None:
    scores = {"vae": {0: Score(1.0, 9), 1: Score(None, 9, reason="no samples")}, "gan": {0: Score(2.0, 9)}}
    assert _valued(scores) == {"gan": {0: Score(2.0, 9)}}


def test_runs_speak_that_did_not_fail_and_are_of_this_budget(images: Dataset, tmp_path: Path) -> None:
    plan = make_plan(images, models=["pca"], seeds=2, budget="1k images", use="reconstruct", device="cpu")
    evaluator: Any = SimpleNamespace(hash="e" * 64)
    for cell in plan.cells:
        run = tmp_path / "runs" / cell.id
        fit(run_plan("pca", images, budget=plan.budget, seed=cell.seed, device="cpu"), run)
        write_scores(run, evaluator, read_json(run / "result.json")["sha256"], plan.uses, {"mse": Score(0.5, 9)})
    finished, damaged = _read_runs(tmp_path, plan, evaluator, ())
    assert [run.cell for run in finished] == plan.cells and damaged == {}
    assert [run.fitted is not None for run in finished] == [True, False]
    finished, damaged = _read_runs(tmp_path, plan, evaluator, {plan.cells[0]})
    assert [run.cell for run in finished] == plan.cells[1:] and damaged == {}
    finished, damaged = _read_runs(tmp_path, replace(plan, budget=Budget.parse("2k images")), evaluator, ())
    assert finished == [] and set(damaged) == set(plan.cells)


def written(use: str, table: Any, *, unfinished: Sequence[Cell] = (), fitted: Any = None, curves: Any = ()) -> Any:
    """What a comparison of vae and gan says of a use."""
    names = ("vae", "gan")
    plan: Any = SimpleNamespace(
        baselines=lambda: [], contenders=[SimpleNamespace(name=name) for name in names], hidden=(), normal=None
    )
    evaluator: Any = SimpleNamespace(self_test=PASSED, dataset=SimpleNamespace(schema=SimpleNamespace(label="")))
    models = dict.fromkeys(names) | (fitted or {})
    return _use(USES[use], plan, unfinished, table, models, SPACES, evaluator, curves, {"seeds": 5, "command": None})


def test_a_run_that_is_missing_counts_against_the_uses_of_its_view_alone() -> None:
    table = {"probe_accuracy": planted({"vae": [0.9, 0.9, 0.9], "gan": [0.5, 0.5, 0.5]})}
    for view, verdict in (("detect", "winner"), ("all", "undecided")):
        unfinished = [Cell("vae", seed, view) for seed in (3, 4)]
        assert written("reduce", table, unfinished=unfinished)["verdict"] == verdict


def test_a_contender_without_a_value_says_why() -> None:
    able: Any = SimpleNamespace(capabilities=lambda: {"encode": None})
    unable: Any = SimpleNamespace(capabilities=lambda: {"encode": "it has no encoder"})
    undefined = {1: Score(None, 9, reason="fewer than two classes")}
    table = {"probe_accuracy": planted({"vae": [0.9, 0.9]}) | {"gan": undefined}}
    for fitted, reason in ((None, "no run finished"), (able, "fewer than two classes"), (unable, "it has no encoder")):
        cells = written("reduce", table, fitted={"gan": fitted})["cells"]
        assert cells["gan"] == {"value": None, "low": None, "high": None, "reason": reason}
        assert cells["vae"]["value"] == pytest.approx(0.9) and cells["vae"]["reason"] is None
    del table["probe_accuracy"]["gan"]
    assert written("reduce", table, fitted={"gan": able})["cells"]["gan"]["reason"] == "not measured"


def test_accuracy_by_number_of_labels_is_the_mean_over_seeds() -> None:
    table = {
        "probe_accuracy": planted({"vae": [0.8, 0.9], "gan": [0.5, 0.6]}),
        "probe_accuracy/50": planted({"vae": [0.7, 0.8]}),
        "probe_accuracy/all": planted({"vae": [0.9, 1.0], "gan": [0.5, 0.6]}),
    }
    found = written("reduce", table)["table"]
    assert found["columns"] == ["contender", "50 labels", "all labels"]
    assert [row[0] for row in found["rows"]] == ["gan", "vae"]
    assert found["rows"][0][1] is None and found["rows"][0][2] == pytest.approx(0.55)
    assert found["rows"][1][1:] == pytest.approx([0.75, 0.95])


def test_what_is_pictured_of_a_contender_was_trained_on_all_data() -> None:
    cells = [Cell("vae", 0, "detect"), Cell("vae", 1, "all"), Cell("vae", 2, "all"), Cell("gan", 0, "all")]
    first = _first_runs([Finished(cell, Path(), 1, None, {}, {}) for cell in cells])
    assert [run.cell.id for run in first] == ["vae-1", "gan-0"]


def test_intervals_of_distances_are_a_share_of_them() -> None:
    evaluator: Any = SimpleNamespace(self_test={}, floor={}, ceilings={})
    far = planted({"vae": [1.0, 1.1, 0.9], "gan": [100.0, 110, 90]})
    scores = _metric(FD, far, evaluator, [])["scores"]
    assert 0 < scores["vae"]["low"] < 1 < scores["vae"]["high"] < 2
    near = planted({"vae": [0.30, 0.31, 0.29], "gan": [0.8, 0.81, 0.79]})
    widths = {
        name: s["high"] - s["low"] for name, s in _metric("probe_accuracy", near, evaluator, [])["scores"].items()
    }
    assert widths["vae"] == pytest.approx(widths["gan"])
