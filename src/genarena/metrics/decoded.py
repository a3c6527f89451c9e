"""Scores of what a decoder gives back: reconstructions of test examples, and interpolations between them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..data.fields import ImageSpec
from .chunks import by_chunk
from .panel import mean_score
from .path import path_lengths
from .reconstruction import feature_distances, psnr, squared_errors, structural_similarities
from .score import Score, Undefined
from .spaces import FeatureSpace, TargetSpec, normalise


def reconstruction_scores(
    spec: TargetSpec, spaces: Mapping[str, FeatureSpace], originals: np.ndarray, reconstructions: np.ndarray, seed: int
) -> dict[str, Score]:
    """Errors of reconstructions ``(N, ...)`` in the data's own numbers, in structure and in every feature space."""
    scores: dict[str, Score] = {}
    with np.errstate(all="ignore"):  # reconstructions that are not finite give a score without a value
        if isinstance(spec, ImageSpec):
            top = spec.levels - 1
            errors = by_chunk(lambda x, y: squared_errors(x / top, y / top), originals, reconstructions)
            likeness = by_chunk(lambda x, y: structural_similarities(x / top, y / top), originals, reconstructions)
            scores["psnr"] = mean_score(errors, seed, psnr)
            scores["ssim"] = mean_score(likeness, seed)
        else:
            x, y = (normalise(values, spec).numpy() for values in (originals, reconstructions))
            errors = squared_errors(x, y)
        scores["mse"] = mean_score(errors, seed)
        for name, space in spaces.items():
            try:
                distances = feature_distances(space(originals), space(reconstructions))
                scores[f"feature_distance/{name}"] = mean_score(distances, seed)
            except Undefined as error:
                scores[f"feature_distance/{name}"] = Score(None, len(originals), reason=str(error))
    return scores


def path_scores(spaces: Mapping[str, FeatureSpace], points: np.ndarray, seed: int) -> dict[str, Score]:
    """Relative length and largest jump of paths ``(P, T, ...)`` in every feature space."""
    flat = points.reshape(-1, *points.shape[2:])
    scores: dict[str, Score] = {}
    for name, space in spaces.items():
        keys = (f"path_length/{name}", f"max_jump/{name}")
        try:
            if not len(flat):
                raise Undefined("no interpolations")
            results = path_lengths(space(flat).reshape(*points.shape[:2], -1))
            scores |= {key: mean_score(result, seed) for key, result in zip(keys, results, strict=True)}
        except Undefined as error:
            scores |= {key: Score(None, len(points), reason=str(error)) for key in keys}
    return scores
