"""Interpolate: is the way between two examples short and even, and does it stay among real data?

Between codes of test examples where there is an encoder, between draws from the prior where there is none. The length of
a path alone would favour fading one example into the other, so a winner's midpoints must also be about as realistic
(precision) as the best contender's; and that would favour a model whose samples are all alike, so its ends must differ.
"""

from __future__ import annotations

import numpy as np

from ..fitted import FittedModel
from ..metrics import FeatureSpace, Metric, Score
from ..metrics.neighbours import in_manifold, null_k
from ..metrics.panel import mean_score
from .base import Context, Gate, Look, Use

PATHS = 200
PATHS_WATCHED = 50
STEPS = 9


def measure(context: Context) -> dict[str, Score]:
    """Relative path length and largest jump, the precision of midpoints, and how far apart the ends are."""
    fitted, evaluator = context.fitted, context.evaluator
    half = min(PATHS, evaluator.n // 2)
    points = interpolations(fitted, evaluator.reference, half, context.seed)
    scores = evaluator.path(points, seed=evaluator.seed)
    middle = evaluator.realism(points[:, STEPS // 2], seed=evaluator.seed)
    scores |= {f"midpoint_precision/{space}": score for space, score in middle.items()}
    for name, space in evaluator.spaces.items():
        real = _distances(space, evaluator.reference[:half], evaluator.reference[half : 2 * half]).mean()
        ends = _distances(space, points[:, 0], points[:, -1])
        scores[f"end_distance/{name}"] = mean_score(ends / max(real, np.finfo(float).tiny), evaluator.seed)
    return scores


def watch(look: Look) -> dict[str, float]:
    """The same of a few ways between validation examples."""
    half = min(PATHS_WATCHED, len(look.values) // 2)
    points = interpolations(look.fitted, look.values, half, 0)
    lengths = look.evaluator.path(points)
    numbers = {}
    for space in look.spaces:
        found = lengths[f"path_length/{space}"].value
        features, real = look.evaluator.spaces[space], look.real[space]
        middle = in_manifold(real, features(points[:, STEPS // 2]), null_k(len(real), len(real)))
        numbers[f"midpoint_precision/{space}"] = float(middle.mean())
        apart = np.linalg.norm(real[:half] - real[half : 2 * half], axis=1).mean()
        ends = _distances(features, points[:, 0], points[:, -1]).mean()
        numbers[f"end_distance/{space}"] = float(ends / max(apart, np.finfo(float).tiny))
        numbers |= {} if found is None else {f"path_length/{space}": found}
    return numbers


def _distances(space: FeatureSpace, some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Between pairs of stored values ``(N, ...)``, in a feature space: ``(N,)``."""
    return np.linalg.norm(space(some) - space(others), axis=1)


def interpolations(fitted: FittedModel, examples: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Decoded points on `count` ways, stored values ``(count, STEPS, ...)``."""
    if fitted.capabilities()["encode"] is None:
        ends = fitted.encode(examples[: 2 * count])
        return fitted.interpolate(ends[:count], ends[count:], STEPS)
    ends = fitted.latents(2 * count, seed)
    return fitted.interpolate(ends[:count], ends[count:], STEPS, spherical=not fitted.model.straight)


INTERPOLATE = Use(
    name="interpolate",
    title="Interpolate",
    aim="walk from one example to another",
    question="Whose ways between two examples are the most direct through real-looking ones?",
    needs=("encode", "sample"),
    metrics=lambda spaces: [f"path_length/{space}" for space in spaces],
    better="low",
    sesoi=0.05,
    relative=True,
    sesoi_text="5 % of the path",
    measure=measure,
    command="genarena interpolate DIR --for interpolate --out interpolation.png",
    catalogue=(
        Metric(
            "midpoint_precision",
            "Realism half way",
            "",
            "high",
            "Kynkäänniemi et al. 2019",
            "Share of half-way points of interpolations that look like some real example.",
            (0, 1),
            tested_as="precision",
        ),
        Metric(
            "end_distance",
            "Distance of the ends",
            "",
            "high",
            "",
            "Mean distance between the ends of interpolations, over that between as many real examples: about 1 where the "
            "ends are as different as real examples are, 0 where all samples are alike.",
            (0, None),
            evident="a ratio to real examples",
        ),
    ),
    gates=(
        Gate(
            lambda spaces: [f"midpoint_precision/{space}" for space in spaces],
            least=0.8,
            of_best=True,
            missed="looks less real half way",
        ),
        Gate(
            lambda spaces: [f"end_distance/{space}" for space in spaces],
            least=0.5,
            of_best=False,
            missed="has ends that hardly differ",
        ),
    ),
    watch=watch,
)
