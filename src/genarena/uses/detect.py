"""Detect: does an example of a class that training never saw score as strange?

Every seed is asked the same question: classes are hidden from the train and val splits of all its runs, and what is measured
is how well they are told from the rest of the test split.
"""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score

from ..data import Dataset
from ..errors import UsageError, did_you_mean
from ..metrics import Metric, Score
from .base import Context, Use, bootstrap_score


def hidden_classes(dataset: Dataset, normal: str | int | None = None) -> tuple[int, ...]:
    """Which classes are hidden from training, by index; none where that leaves no question.

    All but `normal` where it is given. Else those that training never sees anyway, since the test split alone has them (defects
    beside faultless parts). Else the rarest in the train split, of equally rare ones the last.

    Raises
    ------
    UsageError
        Where `normal` is no class, nothing can be learned of it, or the test split cannot tell it from others.
    """
    label = dataset.schema.label
    if label is None:
        if normal is None:
            return ()
        raise UsageError(f"normal='{normal}': '{dataset.name}' has no labels, so no class can be hidden.")
    counts = {
        split: np.bincount(np.asarray(dataset.labels(split)), minlength=len(label.classes)) for split in dataset.splits
    }
    train, test = counts["train"] > 0, counts["test"] > 0
    if normal is not None:
        chosen = _class_named(normal, label.classes)
        hidden = tuple(index for index in range(len(label.classes)) if index != chosen)
        if not train[chosen]:
            raise UsageError(f"normal='{normal}': the train split has no example of it to learn from.")
        if not test[chosen] or not test[list(hidden)].any():
            raise UsageError(f"normal='{normal}': the test split needs examples of it and of another class.")
        return hidden
    unseen = np.flatnonzero(test & ~train)
    if unseen.size:
        return tuple(unseen.tolist()) if (test & train).any() else ()
    rarest = min(np.flatnonzero(test), key=lambda index: (counts["train"][index], -index))
    rest = np.arange(len(label.classes)) != rarest
    return (int(rarest),) if (train & rest).any() and (test & rest).any() else ()


def _class_named(name: str | int, classes: tuple[str, ...]) -> int:
    if str(name) in classes:
        return classes.index(str(name))
    raise UsageError(f"normal='{name}' is no class of these data.{did_you_mean(str(name), classes)}")


def measure(context: Context) -> dict[str, Score]:
    """Area under the ROC curve of the anomaly score, hidden classes against the others, on test examples."""
    truth = context.dataset.labels("test")
    if truth is None or not context.hidden:
        return {}
    strange = np.isin(truth, context.hidden)
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
    aim="notice what is unlike the data",
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
            "Chance that an example of a hidden class scores stranger than one of the others: 0.5 is guessing, 1 is always.",
            (0, 1),
            evident="counts against true labels",
        ),
    ),
    needs_labels=True,
)
