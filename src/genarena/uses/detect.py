"""Detect: does an example of a class that training never saw score as strange?"""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score

from ..metrics import Metric, Score
from .base import Context, Use, bootstrap_score


def hidden_class(classes: int, seed: int) -> int:
    """The class left out in the run of a seed: all contenders of a seed face the same, and every seed another."""
    return int(np.random.default_rng(0).permutation(classes)[seed % classes])


def measure(context: Context) -> dict[str, Score]:
    """Area under the ROC curve of the anomaly score, hidden class against the others, on test examples."""
    truth = context.dataset.labels("test")
    if truth is None or context.hidden is None:
        return {}
    strange = truth == context.hidden
    if strange.all() or not strange.any():
        return {"auroc": Score(None, len(truth), reason="the test split lacks the hidden class, or has nothing else")}
    score = context.fitted.anomaly_score(context.dataset.values("test"))
    if not np.isfinite(score).all():
        return {"auroc": Score(None, len(truth), reason="some anomaly scores are not finite")}

    known, unknown = score[~strange], score[strange]

    def area(some: np.ndarray, others: np.ndarray) -> float:
        return _auroc(known[some], unknown[others])

    return {"auroc": bootstrap_score(area, (len(known), len(unknown)), context.evaluator.seed)}


def _auroc(known: np.ndarray, unknown: np.ndarray) -> float:
    truth = np.repeat([0, 1], [len(known), len(unknown)])
    return float(roc_auc_score(truth, np.concatenate([known, unknown])))


DETECT = Use(
    name="detect",
    title="Detect",
    question="Which one notices examples of a kind it never saw?",
    needs=("anomaly_score",),
    metrics=lambda spaces: ["auroc"],
    better="high",
    sesoi=0.02,
    relative=False,
    sesoi_text="0.02 of the area under the ROC curve",
    measure=measure,
    command="genarena detect DIR DATA --for detect --out scores.csv",
    view="detect",
    catalogue=(
        Metric(
            "auroc",
            "Detection AUROC",
            "",
            "high",
            "area under the ROC curve",
            "Chance that an example of the hidden class scores stranger than one of the others: 0.5 is guessing, 1 is always.",
            (0, 1),
        ),
    ),
    needs_labels=True,
)
