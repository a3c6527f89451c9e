"""The Inception Score against closed forms, and the use "condition" on samples whose truth is known."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from genarena.data import Dataset, open_dataset
from genarena.fitted import FittedModel
from genarena.metrics import Evaluator
from genarena.metrics.inception import inception_score, intra_class_scores
from genarena.metrics.score import Undefined
from genarena.uses import Context
from genarena.uses.condition import _mean_distance, _within_classes, measure


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_sure_and_even_predictions_score_the_number_of_classes(classes: int) -> None:
    assert inception_score(np.eye(classes)) == pytest.approx(classes)


def test_constant_predictions_score_one() -> None:
    assert inception_score(np.tile([0.7, 0.2, 0.1], (50, 1))) == pytest.approx(1)
    assert inception_score(np.tile([1.0, 0.0, 0.0], (50, 1))) == pytest.approx(1)


def test_two_unsure_classes_in_closed_form() -> None:
    """p = (a, 1 - a) and (1 - a, a) in equal shares: log 2 minus the entropy of (a, 1 - a)."""
    a = 0.9
    p = np.array([[a, 1 - a], [1 - a, a]])
    entropy = -(a * np.log(a) + (1 - a) * np.log(1 - a))
    assert inception_score(p) == pytest.approx(np.exp(np.log(2) - entropy))


def test_no_samples_have_no_score() -> None:
    with pytest.raises(Undefined, match="no samples"):
        inception_score(np.empty((0, 3)))


def test_within_a_class_the_score_shows_mixed_samples() -> None:
    p = np.eye(2)[[0, 0, 0, 0, 1, 0, 1, 0]]
    scores = intra_class_scores(p, np.array([0, 0, 0, 0, 1, 1, 1, 1]))
    assert scores == pytest.approx({0: 1.0, 1: 2.0})


# -- the use -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dataset(bars: tuple[np.ndarray, np.ndarray]) -> Dataset:
    return open_dataset(bars)


@pytest.fixture(scope="module")
def evaluator(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Evaluator:
    return Evaluator.build(dataset, tmp_path_factory.mktemp("evaluator"))


class Copier:
    """Answers a class with real training examples: of that class, of a wrong one, or with one and the same."""

    def __init__(self, dataset: Dataset, *, shift: int = 0, one: bool = False):
        self.values, self.truth = dataset.values("train"), dataset.labels("train")
        self.shift, self.one = shift, one
        classes = len(dataset.schema.label.classes)  # type: ignore[union-attr]
        self.model = SimpleNamespace(classes=classes, frequencies=torch.full((classes,), 1 / classes))

    with_classes = FittedModel.with_classes

    def latents(self, n: int, seed: int) -> np.ndarray:
        return np.random.default_rng(seed).random((n, 1 + self.model.classes), dtype=np.float32)

    def decode(self, z: np.ndarray) -> np.ndarray:
        wanted = (z[:, 1:].argmax(1) + self.shift) % self.model.classes
        pools = [self.values[self.truth == index] for index in range(self.model.classes)]
        return np.stack(
            [pools[w][0 if self.one else int(u * len(pools[w]))] for w, u in zip(wanted, z[:, 0], strict=True)]
        )


def scores_of(copier: Copier, dataset: Dataset, evaluator: Evaluator) -> dict[str, Any]:
    context = Context(copier, dataset, evaluator, 0, (), {})  # type: ignore[arg-type]
    return {name: score.value for name, score in measure(context).items()}


def test_real_examples_of_the_class_are_right_varied_and_useful(dataset: Dataset, evaluator: Evaluator) -> None:
    scores = scores_of(Copier(dataset), dataset, evaluator)
    assert scores["label_agreement"] > 0.95
    assert 0.8 < scores["class_variety"] < 1.2
    assert scores["training_value"] > 0.9
    assert scores["inception_score_within"] < 1.1


def test_examples_of_another_class_are_wrong_and_useless(dataset: Dataset, evaluator: Evaluator) -> None:
    right = scores_of(Copier(dataset), dataset, evaluator)
    scores = scores_of(Copier(dataset, shift=1), dataset, evaluator)
    assert scores["label_agreement"] < 0.05
    assert scores["training_value"] < 0.2
    assert scores["class_fd"] > 3 * right["class_fd"]


def test_one_example_a_class_is_right_but_has_no_variety(dataset: Dataset, evaluator: Evaluator) -> None:
    scores = scores_of(Copier(dataset, one=True), dataset, evaluator)
    assert scores["label_agreement"] > 0.95
    assert scores["class_variety"] < 0.05


def test_a_class_that_training_never_saw_is_not_asked_for(dataset: Dataset, evaluator: Evaluator) -> None:
    copier = Copier(dataset)
    copier.model.frequencies[1] = 0
    known = copier.truth != 1  # type: ignore[operator]
    copier.values, copier.truth = copier.values[known], copier.truth[known]  # type: ignore[index]
    assert scores_of(copier, dataset, evaluator)["label_agreement"] > 0.95


def test_every_class_is_asked_for_where_there_are_more_than_samples(dataset: Dataset, evaluator: Evaluator) -> None:
    few = copy(evaluator)
    few.n = 2
    context = Context(Copier(dataset), dataset, few, 0, (), {})  # type: ignore[arg-type]
    scores = measure(context)
    assert scores["label_agreement"].n == 3 and scores["label_agreement"].value == 1
    assert scores["class_variety"].value is None and "two test examples" in str(scores["class_variety"].reason)
    # three real examples seldom tell the classes as well as one sample of each
    worth = [measure(replace(context, seed=seed))["training_value"].value or 0 for seed in range(6)]
    assert max(worth) > 1.2


def test_training_value_is_relative_to_real_examples(dataset: Dataset, evaluator: Evaluator) -> None:
    label = dataset.fields["label"]
    rows = dataset.splits["train"]
    mixed = label.values.copy()
    mixed[rows] = np.random.default_rng(0).permutation(mixed[rows])
    noisy = replace(dataset, fields={**dataset.fields, "label": replace(label, values=mixed)})
    context = Context(Copier(dataset), noisy, evaluator, 0, (), {})  # type: ignore[arg-type]
    assert measure(context)["training_value"].value > 1.5  # type: ignore[operator]


def test_a_class_of_one_example_has_no_spread() -> None:
    rng = np.random.default_rng(0)
    x, truth = rng.normal(size=(41, 3)), np.repeat([0, 1], [40, 1])
    y, labels = 2 * x[:40] + 5, np.repeat([0, 1], 20)
    scores = _within_classes(x, truth, y, labels, 0)
    alone = _within_classes(x[:40], truth[:40], y[:20], labels[:20], 0)
    assert scores["class_variety"].value == alone["class_variety"].value
    assert scores["class_fd"].value == alone["class_fd"].value


@pytest.mark.parametrize("count", [20, 200])
def test_the_mean_distance_is_one_of_pairs_of_different_rows(count: int) -> None:
    assert _mean_distance(np.eye(count), 0) == pytest.approx(np.sqrt(2))
    values = np.random.default_rng(0).normal(size=(count, 1))
    every = np.abs(values - values.T).sum() / (count * (count - 1))
    assert _mean_distance(values, 0) == pytest.approx(every, rel=0.1)
