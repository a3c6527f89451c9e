"""genarena: VAE or GAN? Trains both families on your data and says, with evidence, which to use for what."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Imported on first use: torch takes seconds, and `genarena --help` should not.
_WHERE = {
    "train": "api",
    "compare": "api",
    "load": "api",
    "open_dataset": "data",
    "Dataset": "data",
    "FittedModel": "fitted",
    "Encoder": "estimators",
    "Detector": "estimators",
    "Evaluator": "metrics",
    "Game": "game",
    "OnePlayerGame": "game",
    "Turn": "game",
    "Stats": "game",
    "GenarenaError": "errors",
}

__all__ = [
    "Dataset",
    "Detector",
    "Encoder",
    "Evaluator",
    "FittedModel",
    "Game",
    "GenarenaError",
    "OnePlayerGame",
    "Stats",
    "Turn",
    "__version__",
    "compare",
    "load",
    "open_dataset",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'genarena' has no attribute '{name}'")
    return getattr(importlib.import_module(f".{_WHERE[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    from .api import compare, load, train
    from .data import Dataset, open_dataset
    from .errors import GenarenaError
    from .estimators import Detector, Encoder
    from .fitted import FittedModel
    from .game import Game, OnePlayerGame, Stats, Turn
    from .metrics import Evaluator
