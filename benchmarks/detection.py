"""Who notices what is unlike the training set: ``python benchmarks/detection.py --data $GENARENA_DATA/adbench``.

Trains each model with each seed on the normal rows of every set of ADBench (Han et al. 2022) in a folder of its ``.npz`` files
(X, and y with 1 for anomalies), with the library's own splits and defaults, and prints the area under the ROC curve of its
anomaly score on the test split, normal rows against all anomalies there: mean and standard deviation over seeds.

Beside them, on the same rows, standardised: an isolation forest (Liu et al. 2008), the Mahalanobis distance with a shrunk
covariance (Ledoit & Wolf 2004), and the distance to the fifth-nearest training row. ``--images NAME`` hides one class after
another of a set of images instead.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
from sklearn.covariance import LedoitWolf
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from genarena.data import Dataset, open_dataset
from genarena.fit import fit, plan
from genarena.fitted import FittedModel

MODELS = ("pca", "autoencoder", "vae", "gan", "vaegan")
BASELINES = ("isolation forest", "Mahalanobis", "5th neighbour")
MOST_IMAGES = 2000  # test images scored

Scores = dict[str, list[float]]  # contender -> area by seed


def questions(arguments: argparse.Namespace) -> Iterator[tuple[str, Dataset, int]]:
    """Name, data and hidden class of each question."""
    if arguments.images:
        dataset = open_dataset(arguments.images)
        for hidden in arguments.classes or range(len(dataset.schema.label.classes)):  # type: ignore[union-attr]
            yield f"{arguments.images} {hidden}", dataset, hidden
        return
    for path in sorted(arguments.data.glob("*.npz"), key=lambda p: p.stem.partition("_")[2].lower()):
        name = path.stem.partition("_")[2]
        if arguments.sets and name not in arguments.sets:
            continue
        with np.load(path, allow_pickle=False) as stored:
            yield name, open_dataset((stored["X"].astype(np.float64), stored["y"].astype(np.int64))), 1


def baselines(train: np.ndarray, test: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Anomaly scores ``(N,)`` of what needs no generative model."""
    neighbours = NearestNeighbors(n_neighbors=min(5, len(train))).fit(train)
    return {
        "isolation forest": -IsolationForest(random_state=seed).fit(train).score_samples(test),
        "Mahalanobis": LedoitWolf().fit(train).mahalanobis(test),
        "5th neighbour": neighbours.kneighbors(test)[0][:, -1],
    }


def areas(dataset: Dataset, hidden: int, arguments: argparse.Namespace) -> Scores:
    """Areas of all contenders on one question."""
    view = dataset.without_classes([hidden])
    most = MOST_IMAGES if arguments.images else None
    test, strange = view.values("test", most), view.labels("test", most) == hidden
    found: Scores = {}

    def note(name: str, score: np.ndarray) -> None:
        found.setdefault(name, []).append(float(roc_auc_score(strange, score)))

    for seed in range(arguments.seeds):
        normalised: np.ndarray | None = None
        for model in arguments.models:
            settings = {"batch_size": min(64, len(view.splits["train"]))} if model != "pca" else {}
            with tempfile.TemporaryDirectory() as folder:
                decided = plan(model, view, budget=arguments.budget, seed=seed, settings=settings, device="cpu")
                fitted = fit(decided, folder, threads=1, pictures=False)
            note(model, fitted.anomaly_score(test))
            normalised = standardised(fitted, test)
        if not arguments.images and normalised is not None:
            for name, score in baselines(standardised(fitted, view.values("train")), normalised, seed).items():
                note(name, score)
    return found


def standardised(fitted: FittedModel, values: np.ndarray) -> np.ndarray:
    """Rows as networks see them."""
    kind = fitted.kind
    return kind.normalise(kind.to_tensor(values), fitted.spec).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of ADBench's .npz files")
    parser.add_argument("--sets", nargs="*", help="names of sets, such as cardio (default: all)")
    parser.add_argument("--images", help="a set of images instead, such as digits or mnist")
    parser.add_argument("--classes", nargs="*", type=int, help="classes to hide, with --images (default: all)")
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--budget", help="of each run (default: the library's, 20 epochs within 50k and 200k images)")
    parser.add_argument("--json", type=Path, help="also write the areas by seed here")
    arguments = parser.parse_args()
    if (arguments.data is None) == (arguments.images is None):
        parser.error("give --data or --images")
    contenders = [*arguments.models, *(() if arguments.images else BASELINES)]
    print(
        f"{date.today()}, {platform.machine()}, {arguments.seeds} seeds, {arguments.budget or 'the default budget'} a run\n"
    )
    print("| hidden | rows | anomalies | " + " | ".join(contenders) + " |")
    print("|---" * (3 + len(contenders)) + "|")
    every: dict[str, Scores] = {}
    started = time.perf_counter()
    for name, dataset, hidden in questions(arguments):
        every[name] = areas(dataset, hidden, arguments)
        strange = int((dataset.labels("test") == hidden).sum())  # type: ignore[union-attr]
        cells = [f"{np.mean(every[name][c]):.3f} ± {np.std(every[name][c]):.3f}" for c in contenders]
        print(f"| {name} | {len(dataset.splits['test'])} | {strange} | " + " | ".join(cells) + " |", flush=True)
    means = [f"{np.mean([np.mean(scores[c]) for scores in every.values()]):.3f}" for c in contenders]
    print("| mean | | | " + " | ".join(means) + " |")
    print(f"{time.perf_counter() - started:.0f} s", file=sys.stderr)
    if arguments.json:
        arguments.json.write_text(json.dumps(every, indent=1))


if __name__ == "__main__":
    main()
