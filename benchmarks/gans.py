"""What the GAN family does on data whose truth is known: ``python benchmarks/gans.py [PART ...]``, JSON lines.

Parts: ``stacked`` (1,000 modes: which tricks keep them), ``transfer`` (learnt features for other classes), ``nouns`` and
``cifar`` (BigGAN and StyleGAN at 32 pixels: distance, truncation curve, path length, and style mixing judged by factor
classifiers), ``styles`` (mixing where the factors are read from pixels), ``edits`` (reconstruct, then edit), ``small``
(augmentation of few examples), ``ablation`` (BigGAN's parts) and ``labels`` (conditional models asked for classes;
``labels:cvaegan`` is one of them). ``nouns32``, ``cifar10-jpeg`` and ``fashion-mnist`` are looked for in ``$GENARENA_DATA``.
docs/results.md keeps the figures.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from genarena.data import Dataset, open_dataset
from genarena.data.builtin import render_shapes
from genarena.files import read_json
from genarena.fit import fit, plan
from genarena.fitted import FittedModel
from genarena.latent import (
    Direction,
    LatentSpace,
    attribute_direction,
    edit,
    invert,
    perceptual_path_lengths,
    probe,
    truncation_curve,
)
from genarena.metrics import Evaluator, FeatureSpace
from genarena.metrics.classifier import train_classifier
from genarena.uses import USES, Context

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


def images(name: str) -> Path:
    """A data set of 32 pixels in ``$GENARENA_DATA``."""
    return (
        Path(os.environ["GENARENA_DATA"]) / name / {"nouns32": "nouns32.npz", "cifar10-jpeg": "cifar10-jpeg.zip"}[name]
    )


def nouns(budget: str = "10 min") -> None:
    """Composed avatars."""
    large("nouns32", budget)


def cifar(budget: str = "8 min") -> None:
    """Photographs."""
    large("cifar10-jpeg", budget)


def large(name: str, budget: str) -> None:
    """BigGAN (told the classes) and StyleGAN: distance, truncation, path length, and mixing of factors where they are known."""
    dataset = open_dataset(images(name))
    with tempfile.TemporaryDirectory() as folder:
        evaluator = Evaluator.build(dataset, Path(folder), samples=2000)
    judges = factor_judges(dataset) if name == "nouns32" else {}
    amounts = {"biggan": (0.3, 0.5, 0.8, 1.2, None), "stylegan": (0.3, 0.5, 0.7, 0.85, None)}
    for seed in range(SEEDS):
        for model in ("biggan", "stylegan"):
            with tempfile.TemporaryDirectory() as folder:
                fitted, result = trained(model, dataset, folder, budget=budget, seed=seed)
            run = {"data": name, "model": model, "seed": seed}
            spent = {"images": result["images"], "cpu_seconds": result["cpu_seconds"]}
            for row in truncation_curve(fitted, evaluator, amounts[model], seed):
                tell({**run, **{k: v if v is None else round(v, 4) for k, v in row.items()}, **spent})
            if model == "stylegan":
                paths(fitted, run)
                for row in mixing(fitted, judges):
                    tell({**run, **row})


Judge = Callable[[np.ndarray], np.ndarray]


def factor_judges(dataset: Dataset) -> dict[str, Judge]:
    """A classifier of each factor of nouns32 that has enough examples a kind."""
    with np.load(images("nouns32"), allow_pickle=False) as file:
        factors, names = file["train_factors"], [str(name) for name in file["factor_names"]]
        held = file["test_factors"]
    spec: Any = dataset.schema.target
    judges: dict[str, Judge] = {}
    for column, name in enumerate(names):
        found, truth = np.unique(factors[:, column], return_inverse=True)
        if len(found) > 50:  # too many kinds to learn from these few examples
            continue
        _, net, _ = train_classifier(spec, dataset.values("train"), truth[dataset.splits["train"]], len(found), 0)
        space = FeatureSpace(name, spec, [], [net], np.zeros(1), np.zeros((1, 1)), trained_on="", detail="")
        judges[name] = lambda values, space=space: space.probabilities(values).argmax(1)
        right = judges[name](dataset.values("test")) == np.searchsorted(found, held[:, column])
        tell({"factor": name, "kinds": len(found), "accuracy": round(float(right.mean()), 4)})
    return judges


def mixing(fitted: FittedModel, judges: dict[str, Judge], pairs: int = 1000) -> Iterator[dict[str, Any]]:
    """How often a mixed avatar has a factor of A (whose coarse styles it has) and of B (fine), by the layer of the change."""
    a, b = fitted.latents(pairs, 1), fitted.latents(pairs, 2)
    alone = [{n: judge(fitted.decode(w)) for n, judge in judges.items()} for w in (a, b)]
    for layer in range(1, fitted.model.generator.layers) if judges else ():
        mixed = fitted.model.mix(torch.from_numpy(a), torch.from_numpy(b), layer).numpy()
        seen = {name: judge(fitted.decode(mixed)) for name, judge in judges.items()}
        agree = {
            f"{name} {which}": round(float((seen[name] == truth[name]).mean()), 3)
            for name in judges
            for which, truth in zip("AB", alone, strict=True)
        }
        yield {"mixing from layer": layer, **agree, "n": pairs}


EDITED = 200  # real test avatars
AMOUNTS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def edits(budget: str = "50k images") -> None:
    """Give back real avatars with another background or other glasses: what changes, what stays, what looks real."""
    dataset = open_dataset(images("nouns32"))
    with tempfile.TemporaryDirectory() as folder:
        evaluator = Evaluator.build(dataset, Path(folder), samples=2000)
    judges = factor_judges(dataset)
    originals, train = dataset.values("test")[:EDITED], dataset.values("train")
    for seed in range(SEEDS):
        for model in ("vae", "vaegan", "gan"):
            with tempfile.TemporaryDirectory() as folder:
                fitted, _ = trained(model, dataset, folder, budget=budget, seed=seed)
            space = LatentSpace.of(fitted, seed=seed)
            encodes = fitted.capabilities()["encode"] is None
            codes = fitted.encode(originals) if encodes else invert(fitted, originals, seed=seed).latents
            known = fitted.encode(train) if encodes else fitted.latents(5000, seed)
            pictured = train if encodes else fitted.decode(known)
            random = space.along(np.random.default_rng(seed).standard_normal(space.draws.shape[1]))
            for factor in ("background", "glasses"):
                seen = judges[factor](pictured)
                target = int(np.bincount(judges[factor](train)).argmax())
                named = attribute_direction(space, known, seen, target)
                for kind, direction in (("attribute", named), ("random", random)):
                    rows = list(edited(fitted, codes, originals, direction, judges, factor, target, evaluator))
                    run = {"model": model, "seed": seed, "factor": factor, "direction": kind}
                    for row in rows:
                        tell({**run, **row})
                    tell({**run, "area": round(area([(r["changed"], r["kept"]) for r in rows]), 3), "budget": budget})


def edited(
    fitted: FittedModel, codes: np.ndarray, originals: np.ndarray, direction: Direction, judges: dict[str, Judge],
    factor: str, target: int, evaluator: Evaluator,
) -> Iterator[dict[str, float]]:  # fmt: skip
    """By amount: the share that shows the target, what else of the original it still shows, and how much of it looks real."""
    before = {name: judge(originals) for name, judge in judges.items()}
    rows = np.flatnonzero(before[factor] != target)
    grid = edit(fitted, codes[rows], direction, AMOUNTS)
    for column, amount in enumerate(AMOUNTS):
        values = grid[:, column]
        kept = [(judge(values) == before[name][rows]).mean() for name, judge in judges.items() if name != factor]
        realism = {f"realism/{k}": round(v.value or 0.0, 3) for k, v in evaluator.realism(values).items()}
        changed = float((judges[factor](values) == target).mean())
        yield {"amount": amount, "changed": round(changed, 3), "kept": round(float(np.mean(kept)), 3), **realism}


def area(points: list[tuple[float, float]]) -> float:
    """Under what is kept against what is changed, from 0 to 1; what no amount reaches counts as nothing kept."""
    best = [
        max((kept for changed, kept in points if changed >= level), default=0.0) for level in np.linspace(0, 1, 101)
    ]
    return float(np.mean(best))


COLOURS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1]], np.float32)


def coloured_shapes(n: int = 9000) -> Dataset:
    """One shape an image, 32 pixels, of six colours; place, size and colour are independent."""
    rng = np.random.default_rng(20260101)
    factors = np.column_stack([rng.integers(3, size=n), *rng.uniform([4, 0, -6, -6], [8, 2 * np.pi, 6, 6], (n, 4)).T])
    colours = COLOURS[rng.integers(6, size=n)]
    return open_dataset(np.rint(render_shapes(factors) * colours[:, :, None, None]).astype(np.uint8))


def shape_judges() -> dict[str, Judge]:
    """Quadrant of the shape's centre, whether it is large, and its colour, read from the pixels."""

    def mask(values: np.ndarray) -> np.ndarray:
        return np.maximum(values.max(1) / 255.0, 1e-3)

    def quadrant(values: np.ndarray) -> np.ndarray:
        weight, axis = mask(values), np.arange(32) - 15.5
        x, y = ((weight.sum(side) * axis).sum(1) for side in (1, 2))
        return (x > 0) + 2 * (y > 0)

    def large(values: np.ndarray) -> np.ndarray:
        area = mask(values).sum((1, 2))
        return (area > AREA).astype(int)

    def colour(values: np.ndarray) -> np.ndarray:
        mean = values.reshape(len(values), 3, -1).mean(2)
        return (mean @ (COLOURS / np.linalg.norm(COLOURS, axis=1, keepdims=True)).T).argmax(1)

    return {"quadrant": quadrant, "large": large, "colour": colour}


AREA = 75.0  # pixels; about the median of the shapes


def styles(budget: str = "45k images") -> None:
    """StyleGAN on coloured shapes: where coarse and fine factors come from when styles are mixed, and path lengths."""
    dataset = coloured_shapes()
    for seed, fitted in runs_of("stylegan", dataset, budget):
        run = {"data": "coloured shapes", "seed": seed, "budget": budget}
        paths(fitted, run)
        for row in mixing(fitted, shape_judges()):
            tell({**run, **row})


def paths(fitted: FittedModel, run: dict[str, Any]) -> None:
    """Path lengths through styles and through noise."""
    for space, noise in (("w", False), ("z", True)):
        lengths = perceptual_path_lengths(fitted, 500, run["seed"], noise=noise)
        error = lengths.std() / len(lengths) ** 0.5
        tell({**run, "path length": space, "mean": float(lengths.mean()), "standard_error": float(error)})


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


def runs_of(
    model: str, dataset: Dataset, budget: str, seeds: int = SEEDS, **settings: Any
) -> Iterator[tuple[int, FittedModel]]:
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            yield seed, trained(model, dataset, folder, budget=budget, seed=seed, settings=settings)[0]


def labels(model: str = "", budget: str = "200k images") -> None:
    """Agreement with the class asked for, on fashion-mnist."""
    dataset = open_dataset("fashion-mnist")
    with tempfile.TemporaryDirectory() as folder:
        evaluator = Evaluator.build(dataset, Path(folder))
    judge, truth = evaluator.spaces["classifier"], dataset.labels("test")
    tell(
        {"real test examples": round(float((judge.probabilities(dataset.values("test")).argmax(1) == truth).mean()), 4)}
    )
    for name in [model] if model else ["cvae", "cvaegan", "cgan"]:
        for seed, fitted in runs_of(name, dataset, budget):
            context = Context(fitted, dataset, evaluator, seed, None, {})
            scores = USES["condition"].measure(context)
            tell(
                {
                    "model": name,
                    "seed": seed,
                    "budget": budget,
                    **{k: round(s.value or 0, 4) for k, s in scores.items()},
                }
            )


PARTS: dict[str, Callable[..., None]] = {
    "stacked": stacked, "transfer": transfer, "nouns": nouns, "cifar": cifar, "edits": edits, "styles": styles, "small": small,
    "ablation": ablation, "labels": labels,
}  # fmt: skip

if __name__ == "__main__":
    torch.set_num_threads(1)
    for word in sys.argv[1:] or PARTS:
        part, *arguments = word.split(":")
        PARTS[part](*arguments)
