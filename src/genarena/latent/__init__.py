"""Latents and features of fitted models: edit, walk through, invert and mix latents; probe features; density ratios."""

from __future__ import annotations

from .directions import attribute_direction, labelled_latents, linear_labeller, principal_directions
from .editing import Traversal, edit, middle, mix_grid, relabel, traverse, truncation_curve
from .inversion import Inversion, codes_of, invert
from .paths import perceptual_path_lengths
from .probe import ProbeResult, probe
from .ratio import Calibration, calibrate, density_ratio, expected_calibration_error, log_ratio
from .space import Direction, LatentSpace, require_decoder

__all__ = [
    "Calibration",
    "Direction",
    "Inversion",
    "LatentSpace",
    "ProbeResult",
    "Traversal",
    "attribute_direction",
    "calibrate",
    "codes_of",
    "density_ratio",
    "edit",
    "expected_calibration_error",
    "invert",
    "labelled_latents",
    "linear_labeller",
    "log_ratio",
    "middle",
    "mix_grid",
    "perceptual_path_lengths",
    "principal_directions",
    "probe",
    "relabel",
    "require_decoder",
    "traverse",
    "truncation_curve",
]
