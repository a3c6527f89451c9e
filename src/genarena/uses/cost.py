"""Cost: what does training take? CPU seconds, since wall-clock time on a shared machine is not the model's doing."""

from __future__ import annotations

from ..metrics import Metric, Score
from .base import Context, Use


def measure(context: Context) -> dict[str, Score]:
    """CPU seconds, speed, memory and size of a run."""
    result = context.result
    seconds = max(float(result["seconds"]), 1e-9)
    images = int(result["images"])
    numbers = {
        "cpu_seconds": result["cpu_seconds"],
        "images_per_second": images / seconds,
        "peak_memory": result["peak_memory_mb"],
        "parameters": result["parameters"]["total"],
    }
    return {key: Score(float(value), images) for key, value in numbers.items()}


COST = Use(
    name="cost",
    title="Cost",
    aim="spend little",
    question="Which one is cheapest to train under this budget?",
    needs=(),
    metrics=lambda spaces: ["cpu_seconds"],
    better="low",
    sesoi=0.1,
    relative=True,
    sesoi_text="10 % of the time",
    measure=measure,
    command="genarena doctor DIR --for cost",
    catalogue=(
        Metric(
            "cpu_seconds",
            "Training time",
            "CPU s",
            "low",
            "process clock",
            "Processor seconds that training took.",
            evident="a clock",
        ),
        Metric(
            "images_per_second",
            "Training speed",
            "examples/s",
            "high",
            "wall clock",
            "Examples trained on in a second; other work on the machine slows it down.",
            evident="a clock",
        ),
        Metric(
            "peak_memory",
            "Memory",
            "MB",
            "low",
            "resident set",
            "Memory that training took at most, beyond the loaded program.",
            evident="a count",
        ),
        Metric(
            "parameters",
            "Parameters",
            "",
            None,
            "count",
            "Numbers learned, over all networks of the model.",
            evident="a count",
        ),
    ),
    grows=True,
)
