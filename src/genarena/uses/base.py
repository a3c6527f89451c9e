"""What a use is, and what measuring one may look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from ..data import Dataset
from ..fitted import FittedModel
from ..game import Capability
from ..metrics import Evaluator, Metric, Score

View = Literal["all", "detect"]
MOST_WATCHED = 1000  # samples, and validation examples, that a learning curve is measured on


@dataclass(frozen=True)
class Context:
    """One fitted model, what it is measured on and with.

    Attributes
    ----------
    fitted : FittedModel
    dataset : Dataset
        The view of the data that this model was trained on.
    evaluator : Evaluator
    seed : int
        Of every draw made while measuring.
    hidden : tuple of int
        The classes left out of training.
    result : dict
        ``result.json`` of the run.
    """

    fitted: FittedModel
    dataset: Dataset
    evaluator: Evaluator
    seed: int
    hidden: tuple[int, ...]
    result: dict[str, Any]


@dataclass(frozen=True)
class Look:
    """One model in training, and the validation examples that its learning curves are measured on.

    Attributes
    ----------
    fitted : FittedModel
    evaluator : Evaluator
        Whose reference is not looked at: what is measured on the way never sees what scores are measured on.
    spaces : tuple of str
        Ids of the feature spaces that decide, most meaningful first.
    values, labels : numpy.ndarray
        Stored values of up to `MOST_WATCHED` validation examples, and their classes or None.
    real : mapping of str to numpy.ndarray
        Their features by space.
    """

    fitted: FittedModel
    evaluator: Evaluator
    spaces: tuple[str, ...]
    values: np.ndarray
    labels: np.ndarray | None
    real: Mapping[str, np.ndarray]

    @cached_property
    def samples(self) -> np.ndarray:
        """The same draws from the prior at every look, decoded: stored values ``(MOST_WATCHED, ...)``."""
        return self.fitted.sample(MOST_WATCHED)


@dataclass(frozen=True)
class Gate:
    """What a contender must reach, besides the metric that decides, to win.

    Attributes
    ----------
    metrics : callable
        Ids of the evaluator's spaces -> keys of metrics (higher is better); every one must be reached.
    least : float
    of_best : bool
        Whether `least` is a share of the best contender's value, or the value itself.
    missed : str
        What is wrong with those who miss it, after a name: "looks less real half way".
    """

    metrics: Callable[[Sequence[str]], list[str]]
    least: float
    of_best: bool
    missed: str


@dataclass(frozen=True)
class Use:
    """A purpose, how a model is measured for it, and what difference would matter.

    Attributes
    ----------
    name, title, question : str
    aim : str
        What somebody wants to do, after "to".
    needs : tuple of str
        Capabilities of which a model must have one to serve; empty where any model can.
    view : {"all", "detect"}
        Which training data: all of them, or those without the classes that are hidden.
    metrics : callable
        Ids of the evaluator's spaces, most meaningful first -> keys of scores. The first decides; where another
        ranks the leader clearly behind, the verdict is undecided.
    better : {"low", "high"}
    sesoi : float
        Smallest effect of interest: a difference below it does not matter in practice.
    relative : bool
        Whether `sesoi` is a share of the better score or in the metric's unit.
    sesoi_text : str
    measure : callable
        Context -> scores by key.
    command : str
        How a winner is used; ``DIR`` stands for the comparison.
    catalogue : tuple of Metric
        Metrics that this use brings along.
    gates : tuple of Gate
    watch : callable, optional
        Look -> numbers by the key of what they stand for: the use's own score on validation examples while training goes on,
        as learning curves. Without it nobody can say whether a verdict would last.
    grows : bool
        Whether what is measured grows in proportion to the budget, as cost does: nothing that comes to rest.
    needs_labels : bool
    needs_space : str
        Id of the feature space without which it cannot be measured; empty where any will do.
    """

    name: str
    title: str
    aim: str
    question: str
    needs: tuple[Capability, ...]
    metrics: Callable[[Sequence[str]], list[str]]
    better: Literal["low", "high"]
    sesoi: float
    relative: bool
    sesoi_text: str
    measure: Callable[[Context], dict[str, Score]]
    command: str
    view: View = "all"
    catalogue: tuple[Metric, ...] = ()
    gates: tuple[Gate, ...] = ()
    watch: Callable[[Look], dict[str, float]] | None = None
    grows: bool = False
    needs_labels: bool = False
    needs_space: str = ""


def why_not(use: Use, capabilities: Mapping[Capability, str | None], has_labels: bool) -> str | None:
    """The reason a model cannot serve a use, or None."""
    if use.needs_labels and not has_labels:
        return "no labels in the data"
    reasons = [capabilities[need] for need in use.needs]
    return reasons[0] if reasons and all(reasons) else None


def bootstrap_score(
    statistic: Callable[..., float], n: int | tuple[int, ...], seed: int, replicates: int = 40
) -> Score:
    """A score with bootstrap replicates over examples, or over those of each of several groups.

    Parameters
    ----------
    statistic : callable
        Row indices ``(m,)``, or those of each group, -> value. For statistics that duplicates do not bias.
    n : int or tuple of int
        Number of examples, or that of each group.
    seed : int
    replicates : int
    """
    rng = np.random.default_rng(seed)
    sizes = (n,) if isinstance(n, int) else n
    value = statistic(*(np.arange(size) for size in sizes))
    draws = [statistic(*(rng.integers(0, size, size) for size in sizes)) for _ in range(replicates)]
    return Score(value, sum(sizes), tuple(float(value + d - np.mean(draws)) for d in draws))
