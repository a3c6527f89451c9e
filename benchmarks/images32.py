"""BigGAN and StyleGAN at 32 pixels, and editing: ``python benchmarks/images32.py [PART ...]``, JSON lines.

Parts: ``nouns`` (composed avatars) and ``cifar`` (photographs): distance, truncation curve, path length, and style mixing
judged by factor classifiers; ``styles``: mixing where the factors are read from pixels; ``edits``: reconstruct, then edit.
``nouns:5 min`` sets a budget, ``edits:50k images:vae`` a model too; ``nouns:FOLDER`` looks at trained models instead, in
``FOLDER/nouns32-stylegan-0`` and so on, which `genarena train` made (on a GPU, say). ``nouns32`` and ``cifar10-jpeg`` are
looked for in ``$GENARENA_DATA``. docs/results.md keeps the figures.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gans import SEEDS, tell, trained

from genarena import load
from genarena.data import Dataset, open_dataset
from genarena.data.builtin import render_shapes
from genarena.files import read_json
from genarena.fitted import FittedModel
from genarena.latent import (
    Direction,
    LatentSpace,
    attribute_direction,
    edit,
    invert,
    perceptual_path_lengths,
    truncation_curve,
)
from genarena.metrics import Evaluator, FeatureSpace
from genarena.metrics.classifier import train_classifier


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
    for model, amount in amounts.items():
        for seed, fitted, result in runs(model, dataset, name, budget):
            run = {"data": name, "model": model, "seed": seed}
            spent = {"images": result["images"], "cpu_seconds": result["cpu_seconds"]}
            for row in truncation_curve(fitted, evaluator, amount, seed):
                tell({**run, **{k: v if v is None else round(v, 4) for k, v in row.items()}, **spent})
            if model == "stylegan":
                paths(fitted, run)
                for row in mixing(fitted, judges):
                    tell({**run, **row})


def runs(model: str, dataset: Dataset, name: str, budget: str) -> Iterator[tuple[int, FittedModel, dict[str, Any]]]:
    """Seed, model and ``result.json`` of every seed: trained now, or where the budget is a folder, found there."""
    for seed in range(SEEDS):
        with tempfile.TemporaryDirectory() as folder:
            kept = Path(budget) / f"{name}-{model}-{seed}"
            if Path(budget).is_dir():
                yield seed, load(kept), read_json(kept / "result.json")
            else:
                yield seed, *trained(model, dataset, folder, budget=budget, seed=seed)


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


def edits(budget: str = "50k images", *models: str) -> None:
    """Give back real avatars with another background or other glasses: what changes, what stays, what looks real."""
    dataset = open_dataset(images("nouns32"))
    with tempfile.TemporaryDirectory() as folder:
        evaluator = Evaluator.build(dataset, Path(folder), samples=2000)
    judges = factor_judges(dataset)
    originals, train = dataset.values("test")[:EDITED], dataset.values("train")
    for model in models or ("vae", "vaegan", "gan"):
        for seed, fitted, result in runs(model, dataset, "nouns32", budget):
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
                    tell(
                        {
                            **run,
                            "area": round(area([(r["changed"], r["kept"]) for r in rows]), 3),
                            "images": result["images"],
                        }
                    )


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
    for seed, fitted, result in runs("stylegan", dataset, "shapes", budget):
        run = {"data": "coloured shapes", "seed": seed, "images": result["images"]}
        paths(fitted, run)
        for row in mixing(fitted, shape_judges()):
            tell({**run, **row})


def paths(fitted: FittedModel, run: dict[str, Any]) -> None:
    """Path lengths through styles and through noise."""
    for space, noise in (("w", False), ("z", True)):
        lengths = perceptual_path_lengths(fitted, 500, run["seed"], noise=noise)
        error = lengths.std() / len(lengths) ** 0.5
        tell({**run, "path length": space, "mean": float(lengths.mean()), "standard_error": float(error)})


PARTS: dict[str, Callable[..., None]] = {"nouns": nouns, "cifar": cifar, "styles": styles, "edits": edits}

if __name__ == "__main__":
    torch.set_num_threads(1)
    for word in sys.argv[1:] or PARTS:
        part, *arguments = word.split(":")
        PARTS[part](*arguments)
