"""What the GAN family does on data whose truth is known: ``python benchmarks/gans.py [PART ...]``, JSON lines.

Parts: ``stacked`` (1,000 modes: which tricks keep them), ``transfer`` (learnt features for other classes), ``nouns`` (BigGAN
and StyleGAN at 32 pixels: distance, truncation curve, and style mixing judged by factor classifiers) and ``labels``
(conditional models asked for classes). ``nouns32`` and ``fashion-mnist`` are looked for in ``$GENARENA_DATA``.
docs/results.md keeps the figures.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from genarena.data import Dataset, open_dataset
from genarena.files import read_json
from genarena.fit import fit, plan
from genarena.fitted import FittedModel
from genarena.latent import probe, truncation_curve
from genarena.metrics import Evaluator, FeatureSpace
from genarena.metrics.classifier import train_classifier
from genarena.uses import USES, Context

SAMPLES = 26_000  # as in the stacked MNIST of VEEGAN and PacGAN
SEEDS = 3
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


def transfer(budget: str = "100k images") -> None:
    """Features learnt on the digits 0 to 4 without labels: a linear probe on 5 to 9, against the same nets untrained."""
    digits = open_dataset("digits")
    truth = digits.fields["label"].values
    low, high = (
        replace(digits, splits={name: rows[keep(truth[rows])] for name, rows in digits.splits.items()})
        for keep in (lambda t: t < 5, lambda t: t >= 5)
    )
    for model in ("dcgan", "gan", "vae"):
        for seed in range(SEEDS):
            with tempfile.TemporaryDirectory() as folder:
                fitted, _ = trained(model, low, folder, budget=budget, seed=seed)
            for found in probe(fitted, high, [50], seed):
                record = {k: round(v, 4) if isinstance(v, float) else v for k, v in found.to_json().items()}
                tell({"model": model, "seed": seed, "budget": budget, **record})


def nouns(budget: str = "12 min") -> None:
    """BigGAN (told the glasses) and StyleGAN on composed avatars: distance, truncation, and mixing of factors."""
    path = Path(os.environ["GENARENA_DATA"]) / "nouns32" / "nouns32.npz"
    dataset = open_dataset(path)
    with tempfile.TemporaryDirectory() as folder:
        evaluator = Evaluator.build(dataset, Path(folder), samples=2000)
    amounts = {"biggan": (0.3, 0.5, 0.8, 1.2, None), "stylegan": (0.3, 0.5, 0.7, 0.85, None)}
    for model in ("biggan", "stylegan"):
        with tempfile.TemporaryDirectory() as folder:
            fitted, result = trained(model, dataset, folder, budget=budget)
        spent = {"images": result["images"], "cpu_seconds": result["cpu_seconds"]}
        for row in truncation_curve(fitted, evaluator, amounts[model]):
            tell({"model": model, **{k: v if v is None else round(v, 4) for k, v in row.items()}, **spent})
        if model == "stylegan":
            mixing(fitted, dataset, path)


def mixing(fitted: FittedModel, dataset: Dataset, path: Path, pairs: int = 1000) -> None:
    """How often a mixed avatar has a factor of A (whose coarse styles it has) and of B (fine), by the layer of the change."""
    with np.load(path, allow_pickle=False) as file:
        factors, names = file["train_factors"], [str(name) for name in file["factor_names"]]
        held = file["test_factors"]
    spec: Any = dataset.schema.target
    judges = {}
    for column, name in enumerate(names):
        found, truth = np.unique(factors[:, column], return_inverse=True)
        if len(found) > 50:  # too many kinds to learn from these few examples
            continue
        _, net, _ = train_classifier(spec, dataset.values("train"), truth[dataset.splits["train"]], len(found), 0)
        judges[name] = FeatureSpace(name, spec, [], [net], np.zeros(1), np.zeros((1, 1)), trained_on="", detail="")
        right = judges[name].probabilities(dataset.values("test")).argmax(1) == np.searchsorted(found, held[:, column])
        tell({"factor": name, "kinds": len(found), "accuracy": round(float(right.mean()), 4)})
    a, b = fitted.latents(pairs, 1), fitted.latents(pairs, 2)
    alone = [{n: judge.probabilities(fitted.decode(w)).argmax(1) for n, judge in judges.items()} for w in (a, b)]
    for layer in range(1, fitted.model.generator.layers):
        mixed = fitted.model.mix(torch.from_numpy(a), torch.from_numpy(b), layer).numpy()
        seen = {name: judge.probabilities(fitted.decode(mixed)).argmax(1) for name, judge in judges.items()}
        agree = {
            f"{name} {which}": round(float((seen[name] == truth[name]).mean()), 3)
            for name in judges
            for which, truth in zip("AB", alone, strict=True)
        }
        tell({"mixing from layer": layer, **agree, "n": pairs})


def runs_of(
    model: str, dataset: Dataset, budget: str, seeds: int = SEEDS, **settings: Any
) -> Iterator[tuple[int, FittedModel]]:
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            yield seed, trained(model, dataset, folder, budget=budget, seed=seed, settings=settings)[0]


def labels(budget: str = "200k images") -> None:
    """Agreement with the class asked for, on fashion-mnist."""
    dataset = open_dataset("fashion-mnist")
    with tempfile.TemporaryDirectory() as folder:
        evaluator = Evaluator.build(dataset, Path(folder))
    judge, truth = evaluator.spaces["classifier"], dataset.labels("test")
    tell(
        {"real test examples": round(float((judge.probabilities(dataset.values("test")).argmax(1) == truth).mean()), 4)}
    )
    for model in ("cvae", "cvaegan", "cgan"):
        for seed, fitted in runs_of(model, dataset, budget):
            context = Context(fitted, dataset, evaluator, seed, None, {})
            scores = USES["condition"].measure(context)
            tell(
                {
                    "model": model,
                    "seed": seed,
                    "budget": budget,
                    **{k: round(s.value or 0, 4) for k, s in scores.items()},
                }
            )


if __name__ == "__main__":
    torch.set_num_threads(1)
    for part in sys.argv[1:] or ["stacked", "transfer", "nouns", "labels"]:
        {"stacked": stacked, "transfer": transfer, "nouns": nouns, "labels": labels}[part]()
