"""Generate: do samples look real, and do they cover the data? Two uses, since either can be had without the other."""

from __future__ import annotations

import time

from ..metrics import Metric, Score
from ..metrics.frechet import frechet_distance
from ..metrics.neighbours import manifold_scores, null_k
from .base import Context, Look, Use


def measure(context: Context) -> dict[str, Score]:
    """The evaluator's panel on as many samples as it compares, and the speed of sampling."""
    fitted, evaluator = context.fitted, context.evaluator
    fitted.sample(evaluator.n, context.seed + 1)  # warm-up: the first call pays for allocation
    started = time.perf_counter()
    samples = fitted.sample(evaluator.n, context.seed)
    seconds = time.perf_counter() - started
    speed = Score(evaluator.n / seconds, evaluator.n)
    return {**evaluator.panel(samples, seed=context.seed), "sample_images_per_second": speed}


def watch(look: Look) -> dict[str, float]:
    """Distance of samples to validation examples, and how many of these they cover."""
    numbers = {}
    for space in look.spaces:
        real, fake = look.real[space], look.evaluator.spaces[space](look.samples)
        numbers[f"fd/{space}"] = frechet_distance(real, fake)
        numbers[f"coverage/{space}"] = manifold_scores(real, fake, null_k(len(real), len(fake)))["coverage"]
    return numbers


SPEED = Metric(
    "sample_images_per_second",
    "Sampling speed",
    "examples/s",
    "high",
    "wall clock",
    "New examples drawn in a second; other work on the machine slows it down.",
    evident="a clock",
)

FIDELITY = Use(
    name="generate-fidelity",
    title="Generate: fidelity",
    aim="draw realistic examples",
    question="Whose samples look most like real data?",
    needs=("sample",),
    metrics=lambda spaces: [f"fd_inf/{space}" for space in spaces],
    better="low",
    sesoi=0.1,
    relative=True,
    sesoi_text="10 % of the distance",
    measure=measure,
    command="genarena sample DIR --for generate-fidelity -n 64 --out samples.png",
    catalogue=(SPEED,),
    watch=watch,
)

DIVERSITY = Use(
    name="generate-diversity",
    title="Generate: diversity",
    aim="draw examples as varied as the data",
    question="Whose samples cover the most of the real data?",
    needs=("sample",),
    metrics=lambda spaces: [f"coverage/{space}" for space in spaces],
    better="high",
    sesoi=0.03,
    relative=False,
    sesoi_text="0.03 of the real data covered",
    measure=measure,
    command="genarena sample DIR --for generate-diversity -n 64 --out samples.png",
    watch=watch,
)
