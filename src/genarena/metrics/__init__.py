"""The frozen evaluator and its panel of metrics. It is handed samples, and never sees a model."""

from __future__ import annotations

from .catalogue import PANEL
from .evaluator import Evaluator
from .score import Metric, Score
from .spaces import FeatureSpace

__all__ = ["PANEL", "Evaluator", "FeatureSpace", "Metric", "Score"]
