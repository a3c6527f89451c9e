"""Condition: are examples that were asked for of a class of that class, and as varied as its real ones?

The evaluator's own classifier judges, which no model was trained against.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from ..metrics import Metric, Score
from ..metrics.frechet import frechet_distance
from ..metrics.inception import intra_class_scores
from ..metrics.panel import mean_score
from ..metrics.score import Undefined
from .base import MOST_WATCHED, Context, Gate, Look, Use
from .reduce import probe_accuracy

MOST_PAIRS = 2000
TRAINED_ON = 2000  # samples that a classifier learns from


def measure(context: Context) -> dict[str, Score]:
    """Agreement with the label, and within classes: variety and distance to real examples; and use as training data."""
    fitted, evaluator, dataset = context.fitted, context.evaluator, context.dataset
    truth = dataset.labels("test")
    space = evaluator.spaces.get("classifier")
    if space is None or truth is None:
        return {"label_agreement": Score(None, 0, reason="there is no classifier of these labels to judge by")}
    seen = np.flatnonzero(fitted.model.frequencies.cpu().numpy() > 0)
    labels = np.repeat(seen, max(1, evaluator.n // len(seen)))
    samples = fitted.decode(fitted.with_classes(fitted.latents(len(labels), context.seed), labels))
    probabilities = space.probabilities(samples)
    scores = {"label_agreement": mean_score((probabilities.argmax(1) == labels).astype(float), evaluator.seed)}
    inner = intra_class_scores(probabilities, labels)
    scores["inception_score_within"] = Score(float(np.mean(list(inner.values()))), len(labels))
    real = dataset.values("test")
    scores |= _within_classes(space(real), truth, space(samples), labels, context.seed)
    scores["training_value"] = _training_value(context, samples, labels)
    return scores


def _within_classes(
    real: np.ndarray, truth: np.ndarray, fake: np.ndarray, labels: np.ndarray, seed: int
) -> dict[str, Score]:
    """Of features ``(N, D)``: mean pairwise distance relative to real examples, and Fréchet distance, mean over classes."""
    spread, distance = [], []
    for index in np.unique(labels):
        x, y = real[truth == index], fake[labels == index]
        if min(len(x), len(y)) < 2:
            continue
        spread.append(_mean_distance(y, seed) / max(_mean_distance(x, seed), 1e-12))
        distance.append(frechet_distance(x, y))
    if not spread:
        reason = "no class has two test examples and two samples"
        return {name: Score(None, len(labels), reason=reason) for name in ("class_variety", "class_fd")}
    return {
        "class_variety": Score(float(np.mean(spread)), len(labels)),
        "class_fd": Score(float(np.mean(distance)), len(labels)),
    }


def _mean_distance(features: np.ndarray, seed: int) -> float:
    """Mean distance of up to `MOST_PAIRS` pairs of rows."""
    n = len(features)
    if n * (n - 1) // 2 <= MOST_PAIRS:
        rows = np.array(list(combinations(range(n), 2)))
    else:
        rng = np.random.default_rng(seed)
        first = rng.integers(0, n, MOST_PAIRS)
        rows = np.stack([first, (first + rng.integers(1, n, MOST_PAIRS)) % n], 1)
    return float(np.linalg.norm(features[rows[:, 0]] - features[rows[:, 1]], axis=1).mean())


def _training_value(context: Context, samples: np.ndarray, labels: np.ndarray) -> Score:
    """Test accuracy of a linear classifier that learnt from samples, over that of one that learnt from as many real examples.

    The classification accuracy score of Ravuri & Vinyals (2019), on features of the space without labels.
    """
    dataset, evaluator = context.dataset, context.evaluator
    space = next(iter(evaluator.spaces.values()))
    rng = np.random.default_rng(context.seed)
    known, truth = dataset.labels("train"), dataset.labels("test")
    if known is None or truth is None:
        raise Undefined("no labels")
    n = min(TRAINED_ON, len(samples), len(known))
    rows, chosen = rng.permutation(len(known))[:n], rng.permutation(len(samples))[:n]
    if min(len(np.unique(known[rows])), len(np.unique(labels[chosen]))) < 2:
        return Score(None, n, reason="fewer than two classes among the training examples")
    test = space(dataset.values("test"))
    by_real = probe_accuracy(space(dataset.values("train")[rows]), known[rows], test, truth, context.seed)
    by_fake = probe_accuracy(space(samples[chosen]), labels[chosen], test, truth, context.seed)
    baseline = max(float(by_real.mean()), 1e-12)
    return mean_score(by_fake / baseline, evaluator.seed)


def watch(look: Look) -> dict[str, float]:
    """Agreement and variety of a few samples of each class, against validation examples."""
    space = look.evaluator.spaces.get("classifier")
    if space is None or look.labels is None:
        return {}
    seen = np.flatnonzero(look.fitted.model.frequencies.cpu().numpy() > 0)
    labels = np.repeat(seen, max(2, MOST_WATCHED // len(seen)))
    samples = look.fitted.decode(look.fitted.with_classes(look.fitted.latents(len(labels), 0), labels))
    right = space.probabilities(samples).argmax(1) == labels
    within = _within_classes(space(look.values), look.labels, space(samples), labels, 0)
    variety = within["class_variety"].value
    return {"label_agreement": float(right.mean()), **({} if variety is None else {"class_variety": variety})}


CONDITION = Use(
    name="condition",
    title="Generate a wanted class",
    aim="draw examples of a wanted class",
    question="Whose examples of a class are what was asked for?",
    needs=("condition",),
    metrics=lambda spaces: ["label_agreement"],
    better="high",
    sesoi=0.02,
    relative=False,
    sesoi_text="two points of agreement",
    measure=measure,
    command="genarena sample DIR --for condition --label CLASS -n 64 --out samples.png",
    catalogue=(
        Metric(
            "label_agreement",
            "Right class",
            "",
            "high",
            "Mirza & Osindero 2014",
            "Share of samples that the evaluator's classifier puts into the class that was asked for.",
            (0, 1),
            evident="the classifier proved itself on held-out examples",
        ),
        Metric(
            "class_variety",
            "Variety within classes",
            "",
            "one",
            "mean pairwise distance",
            "Mean distance between samples of a class over that between its real examples: far below 1 repeats itself.",
            evident="a ratio to real examples",
        ),
        Metric(
            "class_fd",
            "FD within classes",
            "",
            "low",
            "Heusel et al. 2017",
            "Fréchet distance between the samples and the real examples of a class, mean over the classes.",
        ),
        Metric(
            "inception_score_within",
            "Class score within classes",
            "",
            "one",
            "Salimans et al. 2016",
            "The class score of the samples of one class, mean over classes: 1 where they look like one class.",
        ),
        Metric(
            "training_value",
            "Use as training data",
            "",
            "high",
            "Ravuri & Vinyals 2019",
            "Accuracy of a classifier that learnt from samples, as a share of that of one that learnt from real examples.",
            evident="counts against true labels",
        ),
    ),
    gates=(Gate(lambda spaces: ["class_variety"], 0.7, False, "varies too little within classes"),),
    watch=watch,
    needs_labels=True,
    needs_space="classifier",
)
