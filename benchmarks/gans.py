"""What the GAN family does on data whose truth is known: ``python benchmarks/gans.py [PART ...]``, JSON lines.

Parts: ``stacked`` (1,000 modes: which tricks keep them), ``transfer`` (learnt features for other classes, of digits or of
another set: ``transfer:fashion-mnist``), ``small`` (augmentation of few examples), ``ablation`` (BigGAN's parts),
``truncation`` (of its noise), ``stability`` (how often games fail), ``gap`` (the duality gap against the true distance) and
``labels`` (conditional models asked for classes; ``labels:200k images:cgan:cvaegan`` names the budget and them).
``fashion-mnist`` is looked for in ``$GENARENA_DATA``. docs/results.md keeps the figures.
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.stats import spearmanr
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from genarena import trainer
from genarena.data import Dataset, open_dataset
from genarena.duality import duality_gap, fresh_discriminator_accuracy
from genarena.errors import TrainingError
from genarena.events import read_events
from genarena.files import read_json
from genarena.fit import fit, plan
from genarena.fitted import FittedModel
from genarena.latent import probe, truncation_curve
from genarena.metrics import Evaluator, FeatureSpace
from genarena.metrics.classifier import train_classifier
from genarena.uses import Context
from genarena.uses.condition import measure

SAMPLES = 26_000  # as in the stacked MNIST of VEEGAN and PacGAN
SEEDS = 3
JUDGED = (
    "fd_inf/classifier",
    "fd_inf/random-conv",
    "precision/random-conv",
    "recall/random-conv",
    "coverage/classifier",
)
STACKED: dict[str, dict[str, Any]] = {
    "dcgan": {},
    "gan": {},
    "gan, packing 2": {"packing": 2},
    "gan, minibatch standard deviation": {"network": {"discriminator_minibatch": "stddev"}},
    "dcgan, packing 2": {"packing": 2},
    "dcgan, R1": {"penalty": "r1", "penalty_weight": 1.0, "network": {"discriminator_norm": "none"}},
    "dcgan, minibatch standard deviation": {"network": {"discriminator_minibatch": "stddev"}},
}


def trained(model: str, dataset: Dataset, folder: str, **options: Any) -> tuple[FittedModel, dict[str, Any]]:
    """A model trained in a folder, on one thread, and ``result.json``."""
    fitted = fit(plan(model, dataset, **options), folder, threads=1)
    return fitted, read_json(Path(folder) / "result.json")


def tell(record: dict[str, Any]) -> None:
    print(json.dumps(record), flush=True)


def stacked(budget: str = "100k images") -> None:
    """Modes of 1,000, reverse KL from the uniform distribution, and the share of samples that are no three digits."""
    dataset = open_dataset("stacked-digits")
    judge = DigitJudge()
    tell({"data": "stacked-digits", "real": judge(dataset.values("test"))})
    for name, settings in STACKED.items():
        for seed in range(SEEDS):
            with tempfile.TemporaryDirectory() as folder:
                fitted, result = trained(
                    name.partition(",")[0], dataset, folder, budget=budget, seed=seed, settings=settings
                )
                found = judge(fitted.sample(SAMPLES, seed=1000 + seed))
            tell({"game": name, "seed": seed, **found, "budget": budget, "cpu_seconds": result["cpu_seconds"]})


class DigitJudge:
    """Reads three digits from the channels of an 8x8 image with scikit-learn's nearest neighbours."""

    def __init__(self) -> None:
        pixels, labels = load_digits(return_X_y=True)
        self.classifier = KNeighborsClassifier(3).fit(pixels, labels)
        nearest = NearestNeighbors(n_neighbors=2).fit(pixels)
        self.neighbours = nearest
        self.far = float(np.quantile(nearest.kneighbors(pixels)[0][:, 1], 0.99))  # of real digits from one another

    def __call__(self, values: np.ndarray) -> dict[str, float]:
        """Of uint8 codes ``(N, 3, 8, 8)``."""
        channels = values.reshape(-1, 64).astype(np.float64)
        digits = self.classifier.predict(channels).reshape(-1, 3)
        junk = (self.neighbours.kneighbors(channels, 1)[0] > self.far).reshape(-1, 3).any(1)
        counts = np.bincount(digits @ [100, 10, 1], minlength=1000)
        share = counts / counts.sum()
        present = share > 0
        kl = float((share[present] * np.log(share[present] * 1000)).sum())
        return {"modes": int(present.sum()), "kl": round(kl, 3), "junk": round(float(junk.mean()), 3), "n": len(values)}


def transfer(name: str = "digits", budget: str = "100k images") -> None:
    """Features learnt on the classes 0 to 4 without labels: a linear probe on 5 to 9, against the same nets untrained."""
    dataset = open_dataset(name)
    truth = dataset.fields["label"].values
    low, high = (
        replace(dataset, splits={split: rows[keep(truth[rows])] for split, rows in dataset.splits.items()})
        for keep in (lambda t: t < 5, lambda t: t >= 5)
    )
    for model in ("dcgan", "gan", "vae"):
        for seed in range(SEEDS):
            with tempfile.TemporaryDirectory() as folder:
                fitted, _ = trained(model, low, folder, budget=budget, seed=seed)
            for found in probe(fitted, high, [50], seed):
                record = {k: round(v, 4) if isinstance(v, float) else v for k, v in found.to_json().items()}
                tell({"model": model, "data": name, "seed": seed, "budget": budget, **record})


def small(budget: str = "100k images") -> None:
    """Few examples: what augmentation of real examples and fakes is worth on 500 of fashion-mnist."""
    whole = open_dataset("fashion-mnist")
    with tempfile.TemporaryDirectory() as folder:
        evaluator = Evaluator.build(whole, Path(folder))
    few = replace(whole, splits={**whole.splits, "train": whole.splits["train"][:500]})
    for augment in ("none", "diffaugment", "ada"):
        for seed, fitted in runs_of("gan", few, budget, augment=augment):
            scores = evaluator.panel(fitted.sample(evaluator.n, seed=1000 + seed), seed=seed)
            found = {k: round(v.value, 4) for k, v in scores.items() if k in JUDGED and v.value is not None}
            tell({"augment": augment, "seed": seed, **found, "budget": budget})


BIGGAN: dict[str, dict[str, Any]] = {
    "default (batches of 64)": {},
    "batches of 256, accumulated": {"accumulate": 4},
    "batches of 16": {"batch_size": 16},
    "no orthogonal regularisation": {"orthogonal": 0.0},
    "noise enters the first layer alone": {"network": {"hierarchical": False}},
    "no shared embedding": {"network": {"shared": None}},
    "one discriminator step": {"discriminator_steps": 1},
}


def ablation(budget: str = "50k images") -> None:
    """BigGAN's components, one left out or changed at a time, and the size of its batches, on digits."""
    dataset = open_dataset("digits")
    with tempfile.TemporaryDirectory() as folder:
        evaluator = Evaluator.build(dataset, Path(folder))
    for name, settings in BIGGAN.items():
        for seed, fitted in runs_of("biggan", dataset, budget, **settings):
            scores = evaluator.panel(fitted.sample(evaluator.n, seed=1000 + seed), seed=seed)
            found = {k: round(v.value, 4) for k, v in scores.items() if k in JUDGED and v.value is not None}
            tell({"biggan": name, "seed": seed, **found, "budget": budget})


def truncation(budget: str = "50k images") -> None:
    """Precision and recall of BigGAN on digits against the largest absolute noise, and their rank correlations with it."""
    dataset = open_dataset("digits")
    with tempfile.TemporaryDirectory() as folder:
        evaluator = Evaluator.build(dataset, Path(folder))
    for seed, fitted in runs_of("biggan", dataset, budget):
        rows = list(truncation_curve(fitted, evaluator, (0.3, 0.5, 0.8, 1.2, None), seed))
        for space in ("classifier", "random-conv"):
            found: dict[str, list[float]] = {
                name: [float(row[f"{name}/{space}"] or 0.0) for row in rows] for name in ("precision", "recall")
            }
            trend = {f"{k} trend": round(float(spearmanr(range(len(rows)), v).statistic), 3) for k, v in found.items()}
            tell({"biggan on": "digits", "seed": seed, "space": space, "budget": budget, **found, **trend})


PLAIN: dict[str, Any] = {"penalty": "none", "betas": (0.5, 0.999)}
STABILITY: dict[str, tuple[str, dict[str, Any]]] = {
    "fully connected": ("gan", {**PLAIN, "network": {"architecture": "mlp"}}),
    "convolutions without batch norm": ("gan", PLAIN),
    "dcgan": ("dcgan", {}),
    "dcgan, spectral norm in the discriminator": ("dcgan", {"network": {"discriminator_norm": "spectral"}}),
    "gan (convolutions, R1)": ("gan", {}),
}
RATES = (2e-4, 1e-3, 5e-3)


def stability(budget: str = "30k images", seeds: int = 4) -> None:
    """How often games fail on digits over learning rates and seeds.

    Failed: it diverged, the discriminator's loss was below 0.01 in a fifth of the rounds, or the distance is over three times
    the best of all games.
    """
    trainer.LOG_SECONDS = 0.0  # every round
    dataset = open_dataset("digits")
    found = []
    with tempfile.TemporaryDirectory() as folder:
        evaluator = Evaluator.build(dataset, Path(folder))
    for name, (model, settings) in STABILITY.items():
        for rate, seed in itertools.product(RATES, range(seeds)):
            run: dict[str, Any] = {"game": name, "rate": rate, "seed": seed, "diverged": False}
            with tempfile.TemporaryDirectory() as folder:
                try:
                    asked = {**settings, "learning_rate": rate}
                    fitted, _ = trained(model, dataset, folder, budget=budget, seed=seed, settings=asked)
                except TrainingError:
                    found.append({**run, "diverged": True})
                    continue
                events = [e for e in read_events(Path(folder) / "events.jsonl") if e["kind"] == "log"]
            losses = np.array([event["numbers"]["loss/discriminator"] for event in events])
            run["won"] = float((losses < 0.01).mean())
            run["fd"] = evaluator.panel(fitted.sample(evaluator.n, seed=1000 + seed), seed=seed)[
                "fd_inf/random-conv"
            ].value
            found.append(run)
    best = min(run["fd"] for run in found if not run["diverged"])
    for name, rate in itertools.product(STABILITY, RATES):
        mine = [run for run in found if (run["game"], run["rate"]) == (name, rate)]
        ended = [run for run in mine if not run["diverged"]]
        counts = {
            "diverged": len(mine) - len(ended),
            "won": sum(run["won"] > 0.2 for run in ended),
            "far": sum(run["fd"] > 3 * best for run in ended),
            "failed": len(mine) - sum(run["won"] <= 0.2 and run["fd"] <= 3 * best for run in ended),
        }
        tell(
            {
                "game": name,
                "rate": rate,
                "runs": len(mine),
                **counts,
                "fd": sorted(round(run["fd"], 2) for run in ended),
            }
        )


CHECKPOINTS = (500, 1000, 2000, 4000, 8000, 16_000, 32_000)  # images


def gap(steps: int = 300, seeds: int = SEEDS) -> None:
    """Does the duality gap tell how far samples are from the data? On ring8, against the exact Wasserstein distance."""
    dataset = open_dataset("ring8")
    for seed in range(seeds):
        found: list[dict[str, float]] = []
        with tempfile.TemporaryDirectory() as folder:
            for images in CHECKPOINTS:
                fitted, _ = trained("gan", dataset, folder, budget=f"{images} images", seed=seed)
                real = dataset.values("test")[:1000]
                apart = cdist(real, fitted.sample(len(real), seed=1000 + seed), "sqeuclidean")
                row = {"images": images, "w2": float(apart[linear_sum_assignment(apart)].mean() ** 0.5)}
                row["gap"] = duality_gap(fitted, dataset, steps, seed).gap
                row["accuracy"] = fresh_discriminator_accuracy(fitted, dataset, steps, seed)
                found.append({k: round(v, 4) for k, v in row.items()})
                tell({"game": "gan on ring8", "seed": seed, "steps": steps, **found[-1]})
        for name in ("gap", "accuracy"):
            rank = spearmanr([row[name] for row in found], [row["w2"] for row in found]).statistic
            tell(
                {
                    "game": "gan on ring8",
                    "seed": seed,
                    "steps": steps,
                    f"rank correlation of {name} and w2": round(float(rank), 3),
                }
            )


def runs_of(
    model: str, dataset: Dataset, budget: str, seeds: int = SEEDS, **settings: Any
) -> Iterator[tuple[int, FittedModel]]:
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            yield seed, trained(model, dataset, folder, budget=budget, seed=seed, settings=settings)[0]


JUDGE = {"width": 32, "images": 900_000}  # of fashion-mnist: twice as wide and six times as long as an evaluator's


def labels(budget: str = "200k images", *models: str) -> None:
    """Agreement with the class asked for, on fashion-mnist, by the evaluator's classifier and by a stronger one.

    Without truncation and with it, which trades variety within classes for agreement.
    """
    dataset = open_dataset("fashion-mnist")
    with tempfile.TemporaryDirectory() as folder:
        evaluator = Evaluator.build(dataset, Path(folder))
    spec: Any = dataset.schema.target
    known: Any = dataset.labels("train")
    _, net, _ = train_classifier(spec, dataset.values("train"), known, 10, 1, **JUDGE)
    judge = FeatureSpace("judge", spec, [], [net], np.zeros(1), np.zeros((1, 1)), trained_on="", detail="")
    shares = [
        space.probabilities(dataset.values("test")).argmax(1) for space in (evaluator.spaces["classifier"], judge)
    ]
    truth = dataset.labels("test")
    tell({"real test examples": [round(float((seen == truth).mean()), 4) for seen in shares]})
    for name in models or ("cvae", "cvaegan", "cgan"):
        for seed, fitted in runs_of(name, dataset, budget):
            for truncation in (None, 1.5, 1.0):
                fitted.latents = partial(FittedModel.latents, fitted, truncation=truncation)  # type: ignore[method-assign]
                scores = measure(Context(fitted, dataset, evaluator, seed, (), {}))
                asked = np.repeat(np.arange(10), 500)
                z = fitted.latents(len(asked), 1000 + seed)
                z[:, -10:] = np.eye(10, dtype=np.float32)[asked]
                agreed = round(float((judge.probabilities(fitted.decode(z)).argmax(1) == asked).mean()), 4)
                found = {k: round(score.value or 0, 4) for k, score in scores.items()}
                run = {"model": name, "seed": seed, "budget": budget, "truncation": truncation}
                tell({**run, "agreement by the stronger judge": agreed, **found})


PARTS: dict[str, Callable[..., None]] = {
    part.__name__: part for part in (stacked, transfer, small, ablation, truncation, stability, gap, labels)
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    for word in sys.argv[1:] or PARTS:
        part, *arguments = word.split(":")
        PARTS[part](*arguments)
