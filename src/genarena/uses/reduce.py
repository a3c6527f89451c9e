"""Reduce: how much of the classes can a simple classifier read from the code, with few labels or many?"""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ..metrics import Metric, Score
from .base import Context, Look, Use, bootstrap_score

LABELS = (50, 200, None)  # None: all, at most MOST
MOST = 10_000
REPEATS = 5  # draws of a small labelled set
TAUGHT = 1000  # codes that the probe of a learning curve learns from


def probe_accuracy(train: np.ndarray, labels: np.ndarray, test: np.ndarray, truth: np.ndarray, seed: int) -> np.ndarray:
    """Hits of a logistic regression on frozen codes, ``(N_test,)`` of 0 and 1.

    Parameters
    ----------
    train, test : numpy.ndarray
        Codes ``(N, L)``.
    labels, truth : numpy.ndarray
        Class indices ``(N,)``.
    seed : int
    """
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, random_state=seed))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The number of unique classes")  # many classes and few labels are meant
        return (classifier.fit(train, labels).predict(test) == truth).astype(float)


def labelled_subset(labels: np.ndarray, count: int | None, rng: np.random.Generator) -> np.ndarray:
    """Rows of a labelled subset with every class as even as it can be."""
    if count is None or count >= len(labels):
        return rng.permutation(len(labels))[:MOST]
    order = rng.permutation(len(labels))
    rank = np.empty(len(labels))  # how many of its class come before each row, in the shuffled order
    for index in np.unique(labels):
        members = order[labels[order] == index]
        rank[members] = np.arange(len(members))
    return order[np.argsort(rank[order], kind="stable")][:count]


def measure(context: Context) -> dict[str, Score]:
    """Accuracy of a linear probe on test codes, by number of labels, and their mean."""
    dataset, fitted = context.dataset, context.fitted
    labels, truth = dataset.labels("train"), dataset.labels("test")
    if labels is None or truth is None:
        return {}
    if len(np.unique(labels)) < 2:
        return {"probe_accuracy": Score(None, len(truth), reason="the training labels are of one class")}
    rows = np.random.default_rng(context.seed).permutation(len(labels))[:MOST]
    # A conditional model's codes end with the class it guessed: the rest has to speak for itself.
    latent = slice(0, -fitted.model.classes or None)
    codes, labels = fitted.encode(dataset.values("train")[rows])[:, latent], labels[rows]
    test = fitted.encode(dataset.values("test"))[:, latent]
    scores: dict[str, Score] = {}
    hits = []
    for count in LABELS:
        if count is not None and (count >= len(labels) or count < len(np.unique(labels))):
            continue
        repeats = []
        for repeat in range(REPEATS if count else 1):
            chosen = labelled_subset(labels, count, np.random.default_rng([context.seed, repeat]))
            repeats.append(probe_accuracy(codes[chosen], labels[chosen], test, truth, context.seed))
        mean_hits = np.mean(repeats, axis=0)
        hits.append(mean_hits)
        key = f"probe_accuracy/{count or 'all'}"
        scores[key] = bootstrap_score(lambda r, h=mean_hits: float(h[r].mean()), len(truth), context.evaluator.seed)
    overall = np.mean(hits, axis=0)
    scores["probe_accuracy"] = bootstrap_score(lambda r: float(overall[r].mean()), len(truth), context.evaluator.seed)
    return scores


def watch(look: Look) -> dict[str, float]:
    """Accuracy on validation examples of one probe that learnt from a few training examples."""
    dataset, fitted = look.evaluator.dataset, look.fitted
    labels = dataset.labels("train", TAUGHT)
    if labels is None or look.labels is None or len(np.unique(labels)) < 2:
        return {}
    latent = slice(0, -fitted.model.classes or None)
    codes, seen = (fitted.encode(values)[:, latent] for values in (dataset.values("train", TAUGHT), look.values))
    return {"probe_accuracy": float(probe_accuracy(codes, labels, seen, look.labels, 0).mean())}


REDUCE = Use(
    name="reduce",
    title="Reduce",
    aim="get short codes for another program",
    question="Whose code tells a simple classifier most, with few labels and with many?",
    needs=("encode",),
    metrics=lambda spaces: ["probe_accuracy"],
    better="high",
    sesoi=0.01,
    relative=False,
    sesoi_text="one point of accuracy",
    measure=measure,
    command="genarena encode DIR DATA --for reduce --out codes.npz",
    watch=watch,
    catalogue=(
        Metric(
            "probe_accuracy",
            "Probe accuracy",
            "",
            "high",
            "linear probe",
            "Share of test examples a logistic regression on the code classifies right; by number of labels, and on average.",
            (0, 1),
            evident="counts against true labels",
        ),
    ),
    needs_labels=True,
)
