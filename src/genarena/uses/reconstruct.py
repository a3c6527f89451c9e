"""Reconstruct: how much of an unseen example survives the bottleneck?"""

from __future__ import annotations

from ..metrics import Score
from .base import Context, Look, Use


def measure(context: Context) -> dict[str, Score]:
    """Errors on test examples, in values and in features."""
    originals = context.evaluator.reference
    return context.evaluator.reconstruction(
        originals, context.fitted.reconstruct(originals), seed=context.evaluator.seed
    )


def watch(look: Look) -> dict[str, float]:
    """The same errors on validation examples."""
    scores = look.evaluator.reconstruction(look.values, look.fitted.reconstruct(look.values))
    values = {key: scores[key].value for key in RECONSTRUCT.metrics(look.spaces)}
    return {key: value for key, value in values.items() if value is not None}


RECONSTRUCT = Use(
    name="reconstruct",
    title="Reconstruct",
    aim="rebuild examples from short codes",
    question="Which one gives unseen examples back most faithfully?",
    needs=("reconstruct",),
    metrics=lambda spaces: ["mse", f"feature_distance/{spaces[0]}"],
    better="low",
    sesoi=0.1,
    relative=True,
    sesoi_text="10 % of the error",
    measure=measure,
    command="genarena reconstruct DIR DATA --for reconstruct --out reconstructions.png",
    watch=watch,
)
