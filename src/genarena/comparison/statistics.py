"""How sure: intervals over seeds and samples.

The unit of replication is the training seed, and nobody trains many. Resampling two or three seeds can produce three or
ten different means and knows nothing of the tails, so the seed level of the hierarchical bootstrap is parametric: Student's t
with the variance between seeds. That variance is the larger of the contender's own and the one pooled over all trained
contenders (the residual of a randomised block design, seeds being the blocks), and the degrees of freedom are the pooled
ones, which is right where seeds spread contenders about alike (docs/architecture.md has the coverage where they do not). The
level of test examples draws from the scores' replicates, which seeds and contenders share by index, since they were measured
against the same parts of the reference.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from ..metrics import Score

DRAWS = 4000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


class Block:
    """One metric's scores of all contenders on the same seeds.

    Parameters
    ----------
    scores : mapping
        Contender -> seed -> score; every score has a value.
    fixed : collection of str
        Contenders fitted in closed form: training seeds do not spread them, so they tell nothing of the spread of others.
    relative : bool
        Whether spread grows with the value (distances, errors, times) and is pooled as a share of it. Contenders whose
        values lie around zero are then left to their own variance.
    bounds : (float or None, float or None)
        Values the metric cannot leave.
    """

    def __init__(
        self,
        scores: Mapping[str, Mapping[int, Score]],
        *,
        fixed: Collection[str] = (),
        relative: bool = False,
        bounds: tuple[float | None, float | None] = (None, None),
    ):
        self.scores = scores
        self.relative = relative
        self.bounds = bounds
        self.fixed = frozenset(fixed) if set(scores) - set(fixed) else frozenset()
        self.around_zero = frozenset(name for name in scores if relative and _around_zero(scores[name]))
        names, seeds = _block(
            {name: by_seed for name, by_seed in scores.items() if name not in self.fixed | self.around_zero}
        )
        table = np.array([[_value(scores[name][seed]) for seed in seeds] for name in names], float)
        table = table.reshape(len(names), len(seeds))
        if relative and table.size:
            table = table / np.maximum(np.abs(table).mean(1, keepdims=True), 1e-12)
        self.spread, self.spread_freedom = _pooled(table, len(table))
        effects = table.mean(0, keepdims=True) if len(table) else 0.0
        self.residual, self.residual_freedom = _pooled(table - effects, len(table) - 1)

    def mean(self, name: str) -> Interval:
        """A contender's mean over its seeds."""
        seeds = sorted(self.scores[name])
        values = np.array([self.scores[name][seed].value for seed in seeds], float)
        replicates = [_replicates(self.scores[name][seed]) for seed in seeds]
        freedom = 0 if name in self.around_zero else self.spread_freedom
        pooled = self.spread * self._share(name, seeds)
        return self._interval(values, replicates, pooled, freedom, trained=name not in self.fixed)

    def difference(self, first: str, second: str) -> Interval:
        """Mean of first - second over the seeds both have."""
        a, b = self.scores[first], self.scores[second]
        seeds = sorted(set(a) & set(b))
        values = np.array([_value(a[seed]) - _value(b[seed]) for seed in seeds], float)
        replicates = [_paired(a[seed], b[seed]) for seed in seeds]
        pooled = self.residual * (self._share(first, seeds) + self._share(second, seeds))
        freedom = 0 if self.around_zero & {first, second} else self.residual_freedom
        trained = not {first, second} <= self.fixed
        return self._interval(values, replicates, pooled, freedom, trained=trained, bounded=False)

    def _share(self, name: str, seeds: Collection[int]) -> float:
        """What a contender's pooled variance is, in units of the pooled one; nothing where that says nothing of it."""
        if name in self.fixed | self.around_zero:
            return 0.0
        return float(np.mean([_value(self.scores[name][seed]) for seed in seeds])) ** 2 if self.relative else 1.0

    def _interval(
        self,
        values: np.ndarray,
        replicates: list[np.ndarray],
        pooled: float,
        freedom: int,
        *,
        trained: bool,
        bounded: bool = True,
    ) -> Interval:
        """The interval of a mean whose seeds vary with at least the pooled variance.

        What closed forms vary by is not pooled, so that a few seeds tell little of it: of these replicates count whole.
        """
        rng = np.random.default_rng(0)
        n = len(values)
        draws = np.full(DRAWS, values.mean())
        own = float(values.var(ddof=1)) if n > 1 else 0.0
        freedom = max(freedom, n - 1)
        if freedom:
            draws += rng.standard_t(freedom, DRAWS) * np.sqrt(max(own, pooled) / n)
        paired = len({len(r) for r in replicates}) == 1
        deviations = np.array(replicates if paired else [rng.choice(r, DRAWS) for r in replicates]) - values[:, None]
        draws += rng.choice(_shared(deviations) if paired and trained else deviations.mean(0), DRAWS)
        low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        lowest, highest = self.bounds if bounded else (None, None)
        value = float(values.mean())
        low = max(min(low, value), -np.inf if lowest is None else lowest)
        high = min(max(high, value), np.inf if highest is None else highest)
        return Interval(value, float(low), float(high))


def _around_zero(by_seed: Mapping[int, Score]) -> bool:
    """Whether zero is within two standard deviations of a contender's values: their spread is a share of nothing."""
    values = np.array([_value(score) for score in by_seed.values()], float)
    return len(values) > 1 and 2 * float(values.std(ddof=1)) > abs(float(values.mean()))


def _block(scores: Mapping[str, Mapping[int, Score]]) -> tuple[list[str], list[int]]:
    """The contenders and the seeds that all of these have, of which most can be learned: a failed run costs one of both."""
    found: list[tuple[list[str], list[int]]] = [([], [])]
    for least in {len(by_seed) for by_seed in scores.values()}:
        names = [name for name, by_seed in scores.items() if len(by_seed) >= least]
        found.append((names, sorted(set.intersection(*(set(scores[name]) for name in names)))))
    return max(found, key=lambda block: ((len(block[0]) - 1) * (len(block[1]) - 1), len(block[0]) * len(block[1])))


def _pooled(table: np.ndarray, contenders: int) -> tuple[float, int]:
    """Variance between seeds within the rows of ``(C, S)``, and its degrees of freedom.

    `contenders` is how many rows are free: one fewer than there are once the seeds' own effects were taken out.
    """
    freedom = max(contenders, 0) * (table.shape[1] - 1)
    if freedom < 1:
        return 0.0, 0
    return float(np.square(table - table.mean(1, keepdims=True)).sum() / freedom), freedom


def _shared(deviations: np.ndarray) -> np.ndarray:
    """What the choice of test examples does to a mean over seeds, ``(R,)``, of deviations of each seed's replicates ``(S, R)``.

    All seeds are measured on the same test examples, and replicate r of each on the same part of them: what a replicate does
    to all seeds alike does not average out. What it does to each is the work of that seed's own samples, which the spread
    over seeds has already; it is taken out, as the variance within the columns of a one-way layout is.
    """
    shared: np.ndarray = deviations.mean(0)
    if len(deviations) > 1 and (whole := shared.var()) > 0:
        own = deviations.var(0, ddof=1).mean() / len(deviations)
        shared = shared * np.sqrt(max(0.0, 1 - own / whole))
    return shared


def _value(score: Score) -> float:
    return 0.0 if score.value is None else score.value


def _replicates(score: Score) -> np.ndarray:
    return np.asarray(score.replicates or (_value(score),), float)


def _paired(a: Score, b: Score) -> np.ndarray:
    """Replicates of a - b: index by index where both were measured on the same parts."""
    left, right = _replicates(a), _replicates(b)
    if len(left) == len(right):
        return left - right
    return (left[:, None] - right[None, :]).ravel()
