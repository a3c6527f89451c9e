"""Measure one finished run for every use, and picture it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..best import CRITERION
from ..checkpoint import RunFolder
from ..data import Dataset, ImageSpec
from ..errors import GenarenaError
from ..files import Record, read_record, replacing, write_json
from ..fit import Monitor
from ..fitted import FittedModel
from ..metrics import Evaluator, Score
from ..metrics.frechet import frechet_distance
from ..metrics.score import ScoreRecord, Undefined
from ..metrics.spaces import FeatureSpace, NetRecord
from ..uses import METRICS, USES, Context, why_not
from ..uses.base import MOST_WATCHED, Look
from ..uses.interpolate import interpolations

LEAST_WATCHED = 10  # validation examples of a learning curve


class ScoresRecord(Record):
    """``scores/<evaluator>.json`` of a run."""

    evaluator: str
    model: str
    uses: list[str]
    scores: dict[str, ScoreRecord]


def scores_path(run: Path, evaluator_hash: str) -> Path:
    """Where a run's scores by one evaluator lie."""
    return run / "scores" / f"{evaluator_hash[:16]}.json"


def measure_run(context: Context, uses: Iterable[str]) -> dict[str, Score]:
    """Scores of a run for those uses it can serve; uses that share a measurement share its cost."""
    capabilities = context.fitted.capabilities()
    has_labels = context.dataset.schema.label is not None
    scores: dict[str, Score] = {}
    done = set()
    for name in uses:
        use = USES[name]
        if use.measure in done or why_not(use, capabilities, has_labels):
            continue
        done.add(use.measure)
        scores.update(use.measure(context))
    return scores


def measure_model(fitted: FittedModel, evaluator: Evaluator, seed: int = 0) -> dict[str, Score]:
    """Scores of a model on its own, for every use that needs no training of its own."""
    context = Context(fitted, evaluator.dataset, evaluator, seed, (), {})
    return measure_run(context, [use.name for use in USES.values() if use.view == "all" and use.name != "cost"])


def write_scores(
    run: Path, evaluator: Evaluator, model_sha256: str, uses: Iterable[str], scores: dict[str, Score]
) -> None:
    """Save scores with the hashes of what was measured and of what measured it, and the uses they serve."""
    path = scores_path(run, evaluator.hash)
    path.parent.mkdir(exist_ok=True)
    record = {
        "evaluator": evaluator.hash,
        "model": model_sha256,
        "uses": sorted(uses),
        "scores": {key: score.to_json() for key, score in scores.items()},
    }
    write_json(path, record)


def weights_of(result: dict[str, Any], checkpoint: str) -> tuple[str, str]:
    """Which weights of a run are measured where `checkpoint` is asked for, ``last`` or ``best``, and their sha256.

    A run that kept no best ones (it does not sample, or learned in one go) is measured by its last.
    """
    if checkpoint == "best" and result.get("best"):
        return "best", result["best"]["sha256"]
    return "last", result["sha256"]


def read_scores(
    run: Path, evaluator_hash: str, uses: Iterable[str] = (), checkpoint: str = "last"
) -> dict[str, Score] | None:
    """Scores of the weights that are there now, or None where they were not measured for all of these uses."""
    path = scores_path(run, evaluator_hash)
    if not path.exists() or not (run / "result.json").exists():
        return None
    try:
        record = read_record(path, ScoresRecord)
        digest = weights_of(RunFolder(run).read_result(), checkpoint)[1]
    except GenarenaError:  # damaged: measured again
        return None
    if record["evaluator"] != evaluator_hash or record["model"] != digest or not set(uses) <= set(record["uses"]):
        return None
    if any(key.partition("/")[0] not in METRICS for key in record["scores"]):  # another release's
        return None
    return {key: Score.from_json(entry) for key, entry in record["scores"].items()}


def by_meaning(evaluator: Evaluator) -> list[str]:
    """Feature spaces, the one that knows the classes first, a user's own before ours."""
    order = {"user": 0, "classifier": 1}
    named = sorted(evaluator.spaces, key=lambda name: order.get(name, 2))
    # Two spaces decide a use: whitened pixels are a third opinion, for the table, where there are two others.
    return [name for name in named if name != "pca"][:2] if len(named) > 2 else named


def monitor(evaluator: Evaluator, uses: Collection[str]) -> Monitor:
    """Learning curves: what the uses watch on validation examples, and the distance that chooses the best weights.

    None of it sees the reference that scores are measured against.
    """
    distance = validation_monitor(evaluator.dataset, next(iter(evaluator.spaces.values())))
    dataset, spaces = evaluator.dataset, tuple(by_meaning(evaluator))
    if len(dataset.splits["val"]) < LEAST_WATCHED:
        return distance
    values, labels = dataset.values("val", MOST_WATCHED), dataset.labels("val", MOST_WATCHED)
    real = {space: evaluator.spaces[space](values) for space in spaces}
    watches = {use.watch: use for use in (USES[name] for name in uses) if use.watch and use.view == "all"}

    def read(fitted: FittedModel, images: int) -> dict[str, float]:
        look = Look(fitted, evaluator, spaces, values, labels, real)
        numbers = distance(fitted, images)
        for watch, use in watches.items():
            if why_not(use, fitted.capabilities(), labels is not None) is None:
                with contextlib.suppress(Undefined, np.linalg.LinAlgError):  # a curve has no point there
                    numbers |= watch(look)
        return numbers

    return read


def validation_monitor(dataset: Dataset, space: FeatureSpace | None = None) -> Monitor:
    """The plain Fréchet distance of samples to the val split, as ``fd``; nothing without such a split.

    Infinite where it is undefined, so that such a state is never the best one.

    Parameters
    ----------
    dataset : Dataset
    space : FeatureSpace, optional
        Where it is measured; by default in a small random one.
    """
    dataset = dataset.of_trained_classes()
    if len(dataset.splits["val"]) < 2:
        return lambda fitted, images: {}
    space = space or random_space(dataset.schema.target)
    reference = space(dataset.values("val", MOST_WATCHED))

    def read(fitted: FittedModel, _images: int) -> dict[str, float]:
        if fitted.capabilities()["sample"] is not None:
            return {}
        try:
            return {CRITERION: frechet_distance(reference, space(fitted.sample(MOST_WATCHED)))}
        except (Undefined, np.linalg.LinAlgError):
            return {CRITERION: math.inf}

    return read


def random_space(spec: Any) -> FeatureSpace:
    """Features of one random network, as they are."""
    dim = 96
    record = NetRecord.random(spec, 0, dim)
    unchanged = {"mean": np.zeros(dim), "components": np.eye(dim)}
    return FeatureSpace(
        record.kind,
        spec,
        [record],
        [record.build(spec)],
        **unchanged,
        trained_on="nothing (random weights)",
        detail="one network",
    )


def draw_pictures(run: Path, fitted: FittedModel, evaluator: Evaluator, seed: int) -> None:
    """Grids for the report: samples, reconstructions, interpolations, nearest training examples."""
    folder = run / "pictures"
    folder.mkdir(exist_ok=True)
    capabilities = fitted.capabilities()
    spec, kind = fitted.spec, fitted.kind

    def save(name: str, values: np.ndarray, columns: int) -> None:
        with replacing(folder / f"{name}.png") as partial:
            Image.fromarray(kind.picture(values, spec, columns)).save(partial)

    if capabilities["sample"] is None:
        save("samples", fitted.gallery(kind.picture_count(spec), seed), 8)
    if not isinstance(spec, ImageSpec):
        return
    originals = evaluator.reference[:16]
    if capabilities["reconstruct"] is None:
        save("reconstructions", alternate(originals, fitted.reconstruct(originals), 8), 8)
    if capabilities["sample"] is None or capabilities["encode"] is None:
        paths = interpolations(fitted, evaluator.reference, 6, seed)
        save("interpolations", paths.reshape(-1, *spec.shape), paths.shape[1])
    if capabilities["sample"] is None:
        samples = fitted.sample(16, seed)
        save("nearest", alternate(samples, evaluator.nearest_training(samples), 8), 8)


def alternate(first: np.ndarray, second: np.ndarray, columns: int) -> np.ndarray:
    """Rows of `columns` of the first, each followed by its row of the second."""
    rows = [
        part
        for start in range(0, len(first), columns)
        for part in (first[start : start + columns], second[start : start + columns])
    ]
    return np.concatenate(rows)


def real_picture(dataset: Dataset, evaluator: Evaluator, path: Path) -> None:
    """Real test examples, drawn as samples are."""
    from ..kinds import kind_of

    spec = dataset.schema.target
    kind = kind_of(spec)
    values = evaluator.reference[: kind.picture_count(spec)]
    with replacing(path) as partial:
        Image.fromarray(kind.picture(values, spec, 8)).save(partial)
