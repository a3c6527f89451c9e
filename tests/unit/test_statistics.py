"""How sure the intervals are: coverage by simulation, pairing, pooling, bounds."""

from __future__ import annotations

import numpy as np
import pytest

from genarena.comparison.statistics import Block, Interval
from genarena.metrics import Score

TRIALS = 1500


def block_of(table: np.ndarray, **options: object) -> Block:
    """A block of the values ``(C, S)`` of contenders "a", "b" ... on seeds 0, 1 ..."""
    scores = {
        name: {seed: Score(float(value), 100) for seed, value in enumerate(row)}
        for name, row in zip("abcdef", table, strict=False)
    }
    return Block(scores, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("contenders", [3, 4])
def test_the_intervals_cover_the_truth(seeds: int, contenders: int) -> None:
    # The same spread for all is the case in which pooling gives the shortest intervals, and could give too short ones.
    rng = np.random.default_rng([seeds, contenders])
    truth = np.arange(contenders, dtype=float)
    inside = np.zeros(2)
    for _ in range(TRIALS):
        block = block_of(truth[:, None] + rng.normal(size=(contenders, seeds)))
        mean, gap = block.mean("a"), block.difference("b", "a")
        inside += [mean.low <= 0 <= mean.high, gap.low <= 1 <= gap.high]
    coverage = inside / TRIALS
    assert (coverage >= 0.93).all(), coverage
    assert (coverage <= 0.995).all(), coverage  # an interval that is always right says nothing


def test_relative_intervals_cover_the_truth() -> None:
    # Spread in proportion to the value, as of distances and errors.
    rng = np.random.default_rng(0)
    truth = np.array([[1.0], [10.0], [100.0]])
    inside = np.zeros(2)
    for _ in range(TRIALS):
        block = block_of(truth * (1 + 0.1 * rng.normal(size=(3, 3))), relative=True)
        mean, gap = block.mean("a"), block.difference("b", "a")
        inside += [mean.low <= 1 <= mean.high, gap.low <= 9 <= gap.high]
    assert (inside / TRIALS >= 0.93).all(), inside / TRIALS


def test_pooling_as_a_share_keeps_a_small_value_narrow() -> None:
    table = np.array([[1.0, 1.1, 0.9], [100.0, 110.0, 90.0]])
    relative, absolute = block_of(table, relative=True).mean("a"), block_of(table).mean("a")
    assert relative.high - relative.low < 0.1 * (absolute.high - absolute.low)
    assert absolute.high - absolute.low > 10  # the large contender's spread


def test_pairing_removes_what_a_seed_does_to_all() -> None:
    effects = np.array([0.0, 5.0, -5.0])
    noise = 0.01 * np.array([[0, 1, 2], [1, 2, 0], [2, 0, 1]])
    block = block_of(np.array([[1.0], [2.0], [3.0]]) + effects + noise)
    gap, mean = block.difference("b", "a"), block.mean("a")
    assert gap.high - gap.low < 0.2
    assert mean.high - mean.low > 5
    assert gap.low < 1 < gap.high


def test_the_difference_is_antisymmetric_and_zero_against_itself() -> None:
    block = block_of(np.array([[1.0, 2.0, 4.0], [2.0, 2.0, 3.0], [0.0, 5.0, 1.0]]))
    there, back = block.difference("a", "b"), block.difference("b", "a")
    assert there.value == -back.value == 0
    assert there.high - there.low == pytest.approx(back.high - back.low, rel=0.1)


def test_fixed_contenders_are_not_pooled() -> None:
    # A closed form gives the same score on every seed: taken for evidence, it would halve everybody's spread.
    table = np.array([[1.0, 2.0, 3.0], [2.0, 3.0, 1.0], [7.0, 7.0, 7.0]])
    pooled, apart = block_of(table), block_of(table, fixed=["c"])
    assert apart.spread == pytest.approx(1.0)
    assert pooled.spread == pytest.approx(2 / 3)
    assert apart.spread_freedom == 4
    only_fixed = block_of(table[2:], fixed=["a"])
    assert only_fixed.mean("a").low == only_fixed.mean("a").high == 7
    assert block_of(table[:2], fixed=["a", "b"]).spread == 1.0  # where all are, what they say is all there is


def test_a_contender_that_is_wilder_than_the_pool_keeps_its_own_spread() -> None:
    table = np.array([[0.0, 10.0, -10.0], [1.0, 1.1, 0.9], [2.0, 2.1, 1.9], [3.0, 3.1, 2.9]])
    block = block_of(table)
    wild, calm = block.mean("a"), block.mean("b")
    assert block.spread == pytest.approx(np.var(table, axis=1, ddof=1).mean())
    assert wild.high - wild.low > 1.5 * (calm.high - calm.low)


def test_bounds_hold_for_means_and_not_for_differences() -> None:
    block = block_of(np.array([[0.9, 1.0, 0.95], [0.1, 0.0, 0.05]]), bounds=(0.0, 1.0))
    assert block.mean("a").high == 1.0
    assert block.mean("b").low == 0.0
    free = block_of(np.array([[0.9, 1.0, 0.95], [0.1, 0.0, 0.05]]))
    assert free.mean("a").high > 1
    assert free.mean("b").low < 0
    assert block.difference("b", "a").low < -0.9


def test_one_seed_has_the_samples_own_spread_alone() -> None:
    exact = block_of(np.array([[1.0], [2.0]])).mean("a")
    assert (exact.low, exact.value, exact.high) == (1, 1, 1)
    draws = tuple(np.random.default_rng(0).normal(1.0, 0.1, 400))
    block = Block({"a": {0: Score(1.0, 50, draws)}, "b": {0: Score(2.0, 50)}})
    mean = block.mean("a")
    assert mean.low == pytest.approx(1 - 0.196, abs=0.03)
    assert mean.high == pytest.approx(1 + 0.196, abs=0.03)


def test_replicates_of_the_same_parts_are_paired() -> None:
    shared = np.random.default_rng(0).normal(size=200)
    one, other = tuple(5 + shared), tuple(3 + shared)
    paired = Block({"a": {0: Score(5.0, 50, one)}, "b": {0: Score(3.0, 50, other)}}).difference("a", "b")
    assert paired.low == pytest.approx(2)
    assert paired.high == pytest.approx(2)
    shorter = Block({"a": {0: Score(5.0, 50, one)}, "b": {0: Score(3.0, 50, other[:150])}}).difference("a", "b")
    assert shorter.low < -0.3  # the spread of both: sqrt(2) times 1.96 away
    assert shorter.high > 4.3


def test_intervals_are_reproducible() -> None:
    table = np.array([[1.0, 2.0, 4.0], [2.0, 2.5, 3.0]])
    assert block_of(table).mean("a") == block_of(table).mean("a")


def test_only_seeds_that_both_ran_are_compared() -> None:
    scores = {"a": {0: Score(1.0, 9), 1: Score(2.0, 9), 2: Score(9.0, 9)}, "b": {0: Score(0.0, 9), 1: Score(1.0, 9)}}
    block = Block(scores)
    assert block.difference("a", "b").value == 1
    assert block.mean("a").value == 4


def test_a_value_around_zero_does_not_widen_the_others() -> None:
    """A share of zero is no scale: pooled with it, intervals of others were twenty times as wide."""
    others = np.array([[5.0, 5.2, 4.9], [7.0, 7.1, 7.2]])
    with_zero = block_of(np.vstack([others, [0.06, -0.10, 0.05]]), relative=True)
    alone = block_of(others, relative=True)
    assert with_zero.difference("b", "a") == alone.difference("b", "a") and with_zero.mean("a") == alone.mean("a")
    zero = with_zero.mean("c")
    half = 4.303 * np.std([0.06, -0.10, 0.05], ddof=1) / np.sqrt(3)  # t of its own two degrees of freedom
    assert zero.high - zero.low == pytest.approx(2 * half, rel=0.1)


def test_around_zero_is_within_two_standard_deviations() -> None:
    others = np.array([[5.0, 5.2, 4.9], [7.0, 7.1, 7.2], [9.0, 9.2, 9.1]])
    block = block_of(np.vstack([others, [1.0, 3.0, 5.0], [2.0, 3.0, 4.0]]), relative=True)
    assert block.around_zero == {"d"}
    gap = block.difference("a", "d")
    half = 4.303 * np.std(others[0] - [1.0, 3.0, 5.0], ddof=1) / np.sqrt(3)  # t of its own two degrees
    assert block.residual_freedom > 2 and gap.high - gap.low == pytest.approx(2 * half, rel=0.1)


def test_a_relative_difference_has_the_spread_of_both() -> None:
    block = block_of(np.array([[1.0, 1.0, 1.0], [100.0, 100.0, 100.0], [10.0, 12.0, 8.0]]), relative=True)
    half = 2.776 * np.sqrt(block.residual * (1 + 100**2) / 3)  # t of four degrees of freedom
    for first, second in (("a", "b"), ("b", "a")):
        gap = block.difference(first, second)
        assert gap.high - gap.low == pytest.approx(2 * half, rel=0.1)


def test_seeds_do_not_spread_what_is_fitted_in_closed_form() -> None:
    table = np.array([[0.0, 1.0, 2.0], [5.0, 3.0, 4.0], [7.0, 7.0, 7.0]])
    block = block_of(table, fixed=["c"])
    assert block.mean("c") == Interval(7.0, 7.0, 7.0)
    gap = block.difference("c", "a")
    assert gap.low < 6 < gap.high
    apart, both = gap.high - gap.low, block.difference("b", "a")
    assert apart == pytest.approx((both.high - both.low) / np.sqrt(2), rel=0.3)


def test_a_failed_run_leaves_the_seeds_of_the_others() -> None:
    table = np.array([[0.0, 1.0, 2.0], [5.0, 3.0, 4.0], [9.0, 8.0, 7.0]])
    whole = block_of(table[:2])
    scores = {name: dict(by_seed) for name, by_seed in whole.scores.items()} | {"c": {0: Score(9.0, 9)}}
    block = Block(scores)
    assert block.difference("a", "b") == whole.difference("a", "b")
    alone = block.mean("c")  # of one seed: the spread of the others is all that is known
    assert alone.value == 9 and alone.low < 9 - 2 * np.sqrt(block.spread) and alone.high > 9 + 2 * np.sqrt(block.spread)


def test_two_seeds_of_two_contenders_tell_more_of_differences_than_five_of_one() -> None:
    whole = block_of(np.array([[0.0, 1.0, 2.0, 3.0, 5.0], [5.0, 3.0, 4.0, 4.0, 4.0]])).scores
    block = Block({"a": whole["a"], "b": {seed: whole["b"][seed] for seed in range(2)}})
    assert (block.spread_freedom, block.residual_freedom) == (2, 1)


def test_what_test_examples_do_is_not_averaged_over_seeds() -> None:
    """A deterministic contender on one test set: more seeds of the same score say nothing new."""
    rng = np.random.default_rng(0)
    replicates = tuple((0.8 + 0.04 * rng.standard_normal(200)).tolist())
    score = Score(0.8, 500, replicates)
    widths = []
    for seeds in (1, 3, 10):
        found = Block({"pca": {seed: score for seed in range(seeds)}}, fixed=["pca"]).mean("pca")
        widths.append(found.high - found.low)
    assert widths[1] == pytest.approx(widths[0], rel=0.1)
    assert widths[2] == pytest.approx(widths[0], rel=0.1)


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize(("training", "samples", "examples"), [(0.3, 1.0, 0.0), (0.3, 1.0, 0.7), (1.0, 0.0, 1.0)])
def test_the_work_of_samples_is_counted_once_and_that_of_test_examples_once_for_all_seeds(
    seeds: int, training: float, samples: float, examples: float
) -> None:
    rng = np.random.default_rng(seeds)
    trials, names, inside = 600, "abc", np.zeros(2)
    for _ in range(trials):
        scores: dict[str, dict[int, Score]] = {}
        for name in names:  # each feels the test examples in a way of its own
            on_examples, by_part = examples * rng.normal(), examples * rng.normal(size=40)
            for seed in range(seeds):
                value = training * rng.normal() + samples * rng.normal() + on_examples
                parts = value + by_part + samples * rng.normal(size=40)
                scores.setdefault(name, {})[seed] = Score(value, 100, tuple(parts.tolist()))
        block = Block(scores)
        mean, gap = block.mean("a"), block.difference("b", "a")
        inside += [mean.low <= 0 <= mean.high, gap.low <= 0 <= gap.high]
    coverage = inside / trials
    assert (coverage >= 0.93).all() and (coverage <= 0.985).all(), coverage


@pytest.mark.parametrize("seeds", [2, 3])
def test_the_intervals_of_closed_forms_cover_the_truth_too(seeds: int) -> None:
    """Their samples alone differ from seed to seed, and others tell nothing of by how much."""
    rng = np.random.default_rng(seeds)
    trials, inside = 500, np.zeros(2)
    for _ in range(trials):
        scores: dict[str, dict[int, Score]] = {}
        for name in ("pca", "mixture", "a", "b", "c"):
            on_examples, by_part = 0.3 * rng.normal(), 0.3 * rng.normal(size=40)
            for seed in range(seeds):
                value = rng.normal() + on_examples + (rng.normal() if len(name) == 1 else 0.0)
                parts = value + by_part + rng.normal(size=40)
                scores.setdefault(name, {})[seed] = Score(value, 100, tuple(parts.tolist()))
        block = Block(scores, fixed=["pca", "mixture"])
        mean, gap = block.mean("pca"), block.difference("pca", "mixture")
        inside += [mean.low <= 0 <= mean.high, gap.low <= 0 <= gap.high]
    assert (inside / trials >= 0.93).all(), inside / trials


def test_no_scores_are_no_error() -> None:
    block = Block({})
    assert (block.spread, block.spread_freedom, block.residual, block.residual_freedom) == (0.0, 0, 0.0, 0)
